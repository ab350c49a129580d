"""An answer that goes out whole is, byte for byte, what uvicorn would have sent for the same two messages, and leaves
the connection as that would."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from phaya import wire
from phaya.connections import Connection
from phaya.serving import listen, serving
from raw import answered

pytestmark = pytest.mark.anyio

BODY = b'{"said":"yes"}'
LINES = b'content-type: application/json\r\netag: W/"x"\r\n'
IDLE = 1.0


class Brief(Connection):
    """The same, which is closed after a second of silence."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.timeout_keep_alive = IDLE


class Speaker:
    """Answers at `/whole/…` in one piece, at `/parts/…` the same by two messages; `late` first waits twice as long as a
    connection may be silent, `gone` until the client has left, `much` says eight megabytes, `known` says 304."""

    def __init__(self) -> None:
        self.took: list[bool] = []
        self.ended = asyncio.Semaphore(0)
        self.cycles: list[weakref.ref[Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.cycles.append(weakref.ref(send.__self__))  # type: ignore[attr-defined]
        _, way, what = scope["path"].split("/")
        if what == "late":
            await asyncio.sleep(2 * IDLE)
        if what == "gone":
            while (await receive())["type"] != "http.disconnect":
                continue
        body = {"much": b"x" * 8_000_000, "known": b""}.get(what, BODY)
        said = LINES + (b"" if what == "known" else b"content-length: %d\r\n" % len(body))
        status = 304 if what == "known" else 200
        if way == "parts":
            await send({"type": "http.response.start", "status": status, "headers": wire.headers(said)})
            await send({"type": "http.response.body", "body": body})
        else:
            message = {"type": wire.WHOLE, "status": status, "lines": said, "body": body}
            await wire.send_whole(self._watched(scope), send, message, b"")
        self.ended.release()

    def _watched(self, scope: Scope) -> Scope:
        take: wire.Take = scope["extensions"][wire.WHOLE]

        def taken(status: int, lines: bytes, body: bytes) -> bool:
            self.took.append(take(status, lines, body))
            return self.took[-1]

        return {**scope, "extensions": {wire.WHOLE: taken}}


@pytest.fixture(scope="module")
async def speaker() -> AsyncGenerator[tuple[Speaker, int]]:
    app = Speaker()
    with listen("127.0.0.1", 0) as listener:
        async with serving(app, listener, Brief):
            yield app, listener.getsockname()[1]


async def told(port: int, sent: bytes) -> bytes:
    """What is answered until the connection ends, without the time."""
    whole = await answered(port, sent)
    assert b"\r\ndate: " in whole
    return re.sub(rb"(?<=\r\ndate: )[^\r]*", b"", whole)


@pytest.mark.parametrize(
    ("sent", "whole"),
    [
        (b"GET /WAY/x HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET /WAY/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", True),
        (b"GET /WAY/x HTTP/1.0\r\n\r\n", True),
        (b"GET /WAY/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET /WAY/known HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"HEAD /WAY/x HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"POST /WAY/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", True),
        (b"POST /WAY/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", True),
        (b"POST /WAY/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True),
        (b"GET /WAY/x HTTP/1.1\r\nHost: x\r\n\r\nGET /WAY/known HTTP/1.1\r\nHost: x\r\n\r\n" * 3, True),
        (b"GET /WAY/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /WAY/x HTTP/1.1\r\nHost: x\r\n\r\n", True),
    ],
)
async def test_whole_and_in_parts_the_same_bytes_are_sent(
    speaker: tuple[Speaker, int], sent: bytes, whole: bool
) -> None:
    app, port = speaker
    app.took.clear()

    once, twice = [await told(port, sent.replace(b"/WAY/", way)) for way in (b"/whole/", b"/parts/")]

    assert once == twice
    assert set(app.took) == {whole}


async def test_answers_that_are_asked_for_together_come_in_their_order(speaker: tuple[Speaker, int]) -> None:
    asked = [b"whole/x", b"parts/x", b"whole/known", b"whole/x", b"parts/known", b"whole/x"]

    answer = await told(speaker[1], b"".join(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % one for one in asked))

    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"304" if b"known" in one else b"200" for one in asked]


async def test_an_answer_waits_for_a_client_that_does_not_read_the_one_before_it(speaker: tuple[Speaker, int]) -> None:
    app, port = speaker
    app.took.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /whole/much HTTP/1.1\r\nHost: x\r\n\r\nGET /whole/x HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(20):
        while len(app.took) < 2:
            await asyncio.sleep(0.01)
        whole = await reader.read()
    writer.transport.abort()

    assert app.took == [True, False]
    assert whole.count(b"HTTP/1.1 200 OK") == 2
    assert whole.endswith(b"\r\n\r\n" + BODY)


@pytest.mark.parametrize("half", [True, False])
async def test_nobody_is_answered_who_has_left(speaker: tuple[Speaker, int], half: bool) -> None:
    app, port = speaker
    app.took.clear()
    while not app.ended.locked():
        await app.ended.acquire()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /whole/gone HTTP/1.1\r\nHost: x\r\n\r\n")
    await writer.drain()
    writer.write_eof() if half else writer.transport.abort()

    await asyncio.wait_for(app.ended.acquire(), 10)

    assert app.took == [False]
    assert not half or await reader.read() == b""
    writer.transport.abort()


async def test_a_connection_is_closed_when_it_is_silent_and_not_while_it_is_answered(
    speaker: tuple[Speaker, int],
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", speaker[1])
    async with asyncio.timeout(20):
        writer.write(b"GET /whole/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(BODY)
        writer.write(b"GET /whole/late HTTP/1.1\r\nHost: x\r\n\r\n")  # the timer of the first ends meanwhile
        await reader.readuntil(BODY)

        assert await reader.read() == b""
    writer.transport.abort()


@pytest.mark.parametrize("way", [b"whole", b"parts"])
async def test_a_request_leaves_nothing_to_the_collector_of_garbage(speaker: tuple[Speaker, int], way: bytes) -> None:
    app, port = speaker
    app.cycles.clear()
    gc.disable()
    try:
        await told(port, b"GET /%b/x HTTP/1.1\r\nHost: x\r\n\r\n" % way * 5)
        # A connection knows its last request, and lives until the server has seen its end.
        left = sum(cycle() is not None for cycle in app.cycles)
    finally:
        gc.enable()

    assert len(app.cycles) == 5
    assert left <= 1


async def test_what_a_whole_answer_relies_on_in_uvicorn_is_as_it_was() -> None:
    """Where this fails after an update, read `RequestResponseCycle` and `connections._take` side by side."""
    known = {
        *("scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event"),
        *("on_response", "disconnected", "keep_alive", "waiting_for_100_continue", "body", "more_body"),
        *("response_started", "response_complete", "chunked_encoding", "expected_content_length"),
    }
    seen: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        cycle = cast("Any", send.__self__)  # type: ignore[attr-defined]
        if scope["path"] == "/whole":
            assert scope["extensions"][wire.WHOLE](200, b"content-length: 2\r\n", b"hi")
        else:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"hi"})
        seen.append(dict(cast("dict[str, Any]", cycle.__dict__)))

    with listen("127.0.0.1", 0) as listener:
        async with serving(app, listener):
            for path in (b"whole", b"parts"):
                await told(listener.getsockname()[1], b"GET /%b HTTP/1.0\r\n\r\n" % path)

    whole, parts = seen
    # Only how the rest of a body is to be written differs, and there is none.
    same = (
        "response_started",
        "response_complete",
        "waiting_for_100_continue",
        "keep_alive",
        "expected_content_length",
    )
    assert set(whole) == set(parts) == known
    assert [whole[name] for name in same] == [parts[name] for name in same]
    assert whole["message_event"].is_set()
    assert parts["message_event"].is_set()


async def test_a_server_that_takes_no_whole_answers_gets_asgis_own_messages() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    message = {"type": wire.WHOLE, "status": 200, "lines": LINES, "body": BODY}
    await wire.send_whole({"type": "http"}, send, message, b"x-request-id: me\r\n")

    headers = [(b"content-type", b"application/json"), (b"etag", b'W/"x"'), (b"x-request-id", b"me")]
    assert sent == [
        {"type": "http.response.start", "status": 200, "headers": headers},
        {"type": "http.response.body", "body": BODY},
    ]


BYTES = st.text("aZ-: \r\n\t\0\x7fé", max_size=6).map(lambda text: text.encode("latin-1"))


@given(st.lists(st.tuples(BYTES, BYTES), max_size=3))
async def test_headers_become_as_many_lines_or_none(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        lines = wire.lines(headers)
    except ValueError:
        assert any(
            re.fullmatch(rb"[a-zA-Z-]+", name) is None or re.search(rb"[\r\n\0\x7f]", value) for name, value in headers
        )
        return

    assert wire.headers(lines) == [(name.lower(), value) for name, value in headers]
    assert lines.count(b"\n") == lines.count(b"\r") == len(headers)
