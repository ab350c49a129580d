"""Whoever keeps a connection open without getting on with it is shown the door; whoever is only slow is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from phaya.connections import HEAD_BYTES, Connection
from phaya.serving import listen, serving

pytestmark = pytest.mark.anyio

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"


class Hasty(Connection):
    """The same, with little patience."""

    head_seconds = 0.4
    silence = 0.4
    reading_seconds = 0.4
    pace = 2000


class Echo:
    """Tells who asks and how long the body was; `/much` answers without end; `/late` reads late."""

    def __init__(self) -> None:
        self.gone = 0
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if scope["path"] == "/much":
            try:
                await StreamingResponse(self.much())(scope, receive, send)
            finally:
                self.ended.set()
            return
        if scope["path"] == "/late":
            await asyncio.sleep(1)
        try:
            body = await request.body()
        except ClientDisconnect:
            self.gone += 1
            return
        await PlainTextResponse(f"{len(body)}")(scope, receive, send)

    async def much(self) -> AsyncGenerator[bytes]:
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)


@pytest.fixture(scope="module")
async def echo() -> AsyncGenerator[tuple[Echo, int]]:
    app = Echo()
    with listen("127.0.0.1", 0) as listener:
        async with serving(app, listener, Hasty):
            yield app, listener.getsockname()[1]


async def told(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What is answered to the pieces of a request until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("pieces", [(), (b"GET / HT",), (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"a")])
async def test_a_head_that_does_not_come_is_waited_for_shortly(echo: tuple[Echo, int], pieces: tuple[bytes]) -> None:
    assert (await told(echo[1], *pieces)).startswith(b"HTTP/1.1 408 ")


async def test_a_head_that_trickles_is_not_waited_for_longer(echo: tuple[Echo, int]) -> None:
    pieces = [b"GET / HTTP/1.1\r\n", *(b"X-A%d: a\r\n" % number for number in range(30))]
    async with asyncio.timeout(3):
        answer = await told(echo[1], *pieces, pause=0.05)

    assert not answer.startswith(b"HTTP/1.1 200")


async def test_the_next_head_of_a_connection_has_the_same_time(echo: tuple[Echo, int]) -> None:
    answer = await told(echo[1], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HT", pause=0.1)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


async def test_a_body_that_stops_is_not_waited_for(echo: tuple[Echo, int]) -> None:
    app, port = echo
    before = app.gone

    assert (await told(port, POST, b"x" * 100)).startswith(b"HTTP/1.1 408 ")
    await asyncio.sleep(0.05)
    assert app.gone == before + 1


async def test_a_body_that_trickles_is_not_waited_for(echo: tuple[Echo, int]) -> None:
    answer = await told(echo[1], POST, *[b"x"] * 40, pause=0.05)

    assert not answer.startswith(b"HTTP/1.1 200")


async def test_a_body_that_comes_slowly_but_steadily_is_taken(echo: tuple[Echo, int]) -> None:
    post = POST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = await told(echo[1], post, *[b"x" * 250] * 8, pause=0.1)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"2000")


async def test_a_body_that_we_are_slow_to_read_is_not_its_senders_fault(echo: tuple[Echo, int]) -> None:
    head = b"POST /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8000000\r\n\r\n"

    answer = await told(echo[1], head, b"x" * 8_000_000)

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * HEAD_BYTES + b"\r\n\r\n",
        b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-A: a\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * 2 * HEAD_BYTES,
    ],
)
async def test_a_huge_head_is_refused(echo: tuple[Echo, int], head: bytes) -> None:
    answer = await told(echo[1], *(head[start : start + 16_384] for start in range(0, len(head), 16_384)))

    assert answer.startswith(b"HTTP/1.1 431 ") or not answer  # it was still sending when it was refused


async def test_what_is_no_http_is_refused(echo: tuple[Echo, int]) -> None:
    assert (await told(echo[1], b"\x16\x03\x01\x02\x00\x01\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_an_answer_that_nobody_reads_is_ended(echo: tuple[Echo, int]) -> None:
    app, port = echo
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readexactly(1)

    await asyncio.wait_for(app.ended.wait(), 10)
    writer.transport.abort()


async def test_nobody_says_who_a_client_is_unless_trusted() -> None:
    async def who(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await PlainTextResponse(f"{scope['client'][0]} {scope['scheme']}")(scope, receive, send)

    class App:
        """An app with the setting."""

        def __init__(self, *proxies: str) -> None:
            self.state = self
            self.trusted_proxies = proxies
            self.parting = None

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await who(scope, receive, send)

    found: list[bytes] = []
    for app in (App(), App("10.0.0.0/8"), App("127.0.0.0/8")):
        with listen("127.0.0.1", 0) as listener:
            async with serving(app, listener):
                ask = (
                    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-Proto: https\r\n"
                    b"X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n\r\n"
                )
                found.append((await told(listener.getsockname()[1], ask)).rpartition(b"\r\n")[2])

    assert found == [b"127.0.0.1 http", b"127.0.0.1 http", b"203.0.113.7 https"]
