"""What hostile name servers and web servers try against the guard, and against who waits beside it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import resource
import socket
import sys
import threading
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from socket import AF_INET, AF_INET6, AddressFamily
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from phaya.addresses import FetchFailed, Guard
from phaya.clock import SystemClock
from phaya.lookups import Found, Lookups
from phaya.providers.gateway import Gateway
from phaya.receivers import Receivers
from test_addresses import LIMIT, Names, answering, failure, fetching, serving

pytestmark = pytest.mark.anyio
HERE = ip_network("127.0.0.1/32")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # the server's loop


@asynccontextmanager
async def saying(payload: bytes) -> AsyncGenerator[int]:
    """A server on loopback that answers any request with these very bytes; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(payload)
            await writer.drain()
        except (OSError, EOFError):
            pass  # the other side had enough
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


class NameServer:
    """A look-up that blocks until it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = threading.Event()

    def __call__(self, host: str, port: int, family: AddressFamily) -> list[Found]:
        self.asked += 1
        self.go.wait(30)
        raise OSError("no such name")


async def test_slow_names_hold_nothing_else_up(tmp_path: Path) -> None:
    """Neither work in threads nor another name server's answer; and they are given up in time."""
    slow = NameServer()
    try:
        async with fetching(Guard(), Lookups(slow, seconds=0.5, most=50)) as fetcher:
            fetches = [
                asyncio.create_task(failure(fetcher, f"http://slow{number}.example/", tmp_path / str(number)))
                for number in range(60)
            ]
            while slow.asked < 50:
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(lambda: "free") == "free"
            assert not any(fetch.done() for fetch in fetches)
            failed = await asyncio.gather(*fetches)
    finally:
        slow.go.set()

    assert {(one.message, one.transient) for one in failed} == {("it names a host that is not known", True)}
    assert slow.asked == 50
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "lookup")


async def test_an_address_that_names_an_interface_of_ours_is_none() -> None:
    def look(host: str, port: int, family: AddressFamily) -> list[Found]:
        stream = socket.SOCK_STREAM
        return [
            (AF_INET6, stream, 6, "", ("fe80::1", port, 0, 2)),
            (AF_INET6, stream, 6, "", ("2606:4700::1111", port, 0, 0)),
            (AF_INET, stream, 6, "", ("1.1.1.1", port)),
        ]

    found = await Lookups(look).resolve("some.example", 80)

    assert [one["host"] for one in found] == ["2606:4700::1111", "1.1.1.1"]


@pytest.mark.parametrize("addresses", ["10.0.0.1 127.0.0.1", "127.0.0.1 127.0.0.2 169.254.169.254"])
async def test_of_several_addresses_only_a_permitted_one_is_connected(tmp_path: Path, addresses: str) -> None:
    async with serving(answering()) as port:
        guard = Guard(origins={("127.0.0.1", port)})
        async with fetching(guard, Names(mixed_example=[addresses])) as fetcher:
            fetched = await fetcher.fetch(f"http://mixed.example:{port}/", tmp_path / "file", limit=LIMIT)

    assert fetched.bytes_count == 5


async def test_a_name_is_looked_up_once_for_each_connection(tmp_path: Path) -> None:
    """What is checked is what is connected: a second, other answer is never asked for in between."""
    async with serving(answering()) as port:
        guard = Guard(origins={("127.0.0.1", port)})
        names = Names(turning_example=["127.0.0.1", "127.0.0.2"])
        async with fetching(guard, names) as fetcher:
            url = f"http://turning.example:{port}/"
            fetched = await fetcher.fetch(url, tmp_path / "first", limit=LIMIT)
            failed = await failure(fetcher, url, tmp_path / "second")

    assert fetched.bytes_count == 5
    assert failed.message == "the address is not public"


async def test_a_redirect_to_itself_ends(tmp_path: Path) -> None:
    asked: list[str] = []

    async def again(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPFound("/")

    async with serving(again) as port, fetching(Guard(origins={("127.0.0.1", port)})) as fetcher:
        failed = await failure(fetcher, f"http://127.0.0.1:{port}/", tmp_path / "file")

    assert (failed.message, len(asked)) == ("it redirects more than 3 times", 4)


HEAD = b"HTTP/1.1 200 OK\r\n"
HOSTILE = {
    "a hundred thousand headers": HEAD + b"".join(b"X-%d: y\r\n" % one for one in range(100_000)) + b"\r\nhi",
    "a header of ten megabytes": HEAD + b"X: " + b"y" * 10_000_000 + b"\r\n\r\nhi",
    "a status line without end": b"HTTP/1.1 200 " + b"O" * 10_000_000,
    "trailers without end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"T: y\r\n" * 200_000,
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "chunks and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\nhi",
    "a length beyond the body": HEAD + b"Content-Length: 900\r\n\r\nhi",
    "a chunk beyond the body": HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFF\r\nhi",
    "a chunk of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhi\r\n",
    "broken compression": HEAD + b"Content-Encoding: deflate\r\nContent-Length: 2\r\n\r\nhi",
    "Brotli": HEAD + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\nhi",
    "Zstandard": HEAD + b"Content-Encoding: zstd\r\nContent-Length: 2\r\n\r\nhi",
    "no HTTP": b"SSH-2.0-OpenSSH_10.0\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_answer_is_a_broken_one(tmp_path: Path, payload: bytes) -> None:
    async with saying(payload) as port, fetching(Guard(networks=[HERE])) as fetcher:
        failed = await failure(fetcher, f"http://127.0.0.1:{port}/", tmp_path / "file")

    assert (failed.message, failed.transient) == ("it gave a broken answer", True)


@pytest.mark.parametrize("name", ["a hundred thousand headers", "a header of ten megabytes", "no HTTP", "nothing"])
async def test_a_hostile_answer_to_a_webhook_is_a_miss(name: str) -> None:
    receivers = Receivers([HERE], SystemClock())
    try:
        async with saying(HOSTILE[name]) as port:
            with pytest.raises(FetchFailed, match="it gave a broken answer"):
                await receivers.send(f"http://127.0.0.1:{port}/", {}, b"{}")
    finally:
        await receivers.close()


async def test_of_an_answer_to_a_webhook_no_body_is_read() -> None:
    receivers = Receivers([HERE], SystemClock())
    try:
        async with saying(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(50_000_000))) as port:
            answer = await receivers.send(f"http://127.0.0.1:{port}/", {}, b"{}")
    finally:
        await receivers.close()

    assert answer.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_decompression_bomb_takes_no_memory(tmp_path: Path, encoding: str) -> None:
    bomb = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding](bytes(200_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    handler = answering(body=bomb, Content_Encoding=encoding)
    async with serving(handler) as port, fetching(Guard(networks=[HERE])) as fetcher:
        with pytest.raises(FetchFailed, match="larger than 10 MB"):
            await fetcher.fetch(f"http://127.0.0.1:{port}/", tmp_path / "file", limit=10_000_000)

    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 60_000_000


async def test_a_body_that_drips_is_left_in_time(tmp_path: Path) -> None:
    """Each byte comes long before a read is given up."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    async with serving(drip) as port, fetching(Guard(networks=[HERE]), total=0.4) as fetcher:
        failed = await failure(fetcher, f"http://127.0.0.1:{port}/", tmp_path / "file")

    assert failed.message == "it took longer than 0.4 s"


async def test_slow_servers_do_not_keep_another_fetch_waiting(tmp_path: Path) -> None:
    release = asyncio.Event()
    waiting: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/slow":
            waiting.append(request.path)
            await release.wait()
        return web.Response(body=b"hello")

    async with serving(answer) as port, fetching(Guard(networks=[HERE]), total=20, read=20) as fetcher:
        url = f"http://127.0.0.1:{port}"
        slow = [
            asyncio.create_task(fetcher.fetch(f"{url}/slow", tmp_path / str(one), limit=LIMIT)) for one in range(150)
        ]
        while len(waiting) < 150:
            await asyncio.sleep(0.01)
        fetched = await fetcher.fetch(f"{url}/fast", tmp_path / "fast", limit=LIMIT)
        release.set()
        await asyncio.gather(*slow)

    assert fetched.bytes_count == 5


async def through(gateway: Gateway, head: str, *, login: bool = True) -> bytes:
    """What the gateway answers to a request."""
    parts = urlsplit(gateway.url)
    name = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"{head}\r\n{f'Proxy-Authorization: Basic {name}' if login else 'X: y'}\r\n\r\n".encode())
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def test_the_gateway_carries_what_the_guard_permits() -> None:
    seen: list[tuple[str, str, list[str]]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.path_qs, request.headers["Host"], sorted(request.headers)))
        return web.Response(body=b"hello")

    names = Names(films_example=["127.0.0.1"])
    async with serving(answer) as port, Gateway(Guard(origins={("127.0.0.1", port)}), names) as gateway:
        head = f"GET http://films.example:{port}/a%2Fb?c=d HTTP/1.1\r\nHost: films.example:{port}"
        said = await through(gateway, head)

    assert said.startswith(b"HTTP/1.1 200 OK")
    assert said.endswith(b"hello")
    assert seen == [("/a%2Fb?c=d", f"films.example:{port}", ["Connection", "Host"])]
    assert gateway.refused == []


@pytest.mark.parametrize(
    "head",
    [
        "CONNECT 127.0.0.1:443 HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1",
        "CONNECT 2130706433:443 HTTP/1.1",
        "CONNECT inside.example:443 HTTP/1.1",
        "CONNECT films.example:22 HTTP/1.1",
        "CONNECT user@films.example:443 HTTP/1.1",
        "GET http://169.254.169.254/latest/meta-data/ HTTP/1.1",
        "GET http://inside.example/ HTTP/1.1",
        "GET http://mixed.example/ HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET ftp://films.example/ HTTP/1.1",
    ],
)
async def test_the_gateway_connects_nothing_that_the_guard_does_not_permit(head: str) -> None:
    names = Names(
        inside_example=["10.0.0.1"], mixed_example=["127.0.0.1 ::1 169.254.169.254"], films_example=["127.0.0.1"]
    )
    async with Gateway(Guard(), names) as gateway:
        said = await through(gateway, head)

    assert said.startswith(b"HTTP/1.1 403 ")
    assert len(gateway.refused) == 1


@pytest.mark.parametrize(
    ("head", "login", "status"),
    [
        ("GET http://127.0.0.1/ HTTP/1.1", False, b"407"),
        ("CONNECT 127.0.0.1:443 HTTP/1.1", False, b"407"),
        ("GET https://films.example/ HTTP/1.1", True, b"400"),
        ("GET http://nowhere.example/ HTTP/1.1", True, b"502"),
    ],
)
async def test_the_gateway_serves_its_child_alone(head: str, login: bool, status: bytes) -> None:
    async with Gateway(Guard(), Names()) as gateway:
        said = await through(gateway, head, login=login)

    assert said.split()[1] == status


async def test_the_gateway_is_gone_with_its_download() -> None:
    async with Gateway(Guard(), Names()) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)

    assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError, match="onnect"):
        await asyncio.open_connection("127.0.0.1", gateway.port)
