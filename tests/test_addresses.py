"""The guard lets only public addresses through, at every hop; the fetcher takes no more than it may."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from socket import AF_INET, AddressFamily

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from phaya.addresses import AddressRefused, Fetcher, FetchFailed, Guard, UrlRefused

LIMIT = 1000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # the server's loop


class Names(AbstractResolver):
    """A name server whose names have an address for each time that they are asked for."""

    def __init__(self, **names: list[str]) -> None:
        self._names = {name.replace("_", "."): list(addresses) for name, addresses in names.items()}

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:
        addresses = self._names.get(host)
        if not addresses:
            raise OSError("no such name")
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=AF_INET, proto=0, flags=0)
            for one in address.split()
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[int]:
    """A web server on loopback that answers everything by `handler`; gives its port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def fetching(
    guard: Guard, resolver: AbstractResolver | None = None, *, total: float = 5, read: float = 5
) -> AsyncGenerator[Fetcher]:
    fetcher = Fetcher(guard, total_seconds=total, read_seconds=read, resolver=resolver)
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def failure(fetcher: Fetcher, url: str, path: Path) -> FetchFailed:
    with pytest.raises(FetchFailed) as caught:
        await fetcher.fetch(url, path, limit=LIMIT)
    assert not there(path)
    return caught.value


def there(path: Path) -> bool:
    return path.exists()


def answering(*, status: int = 200, body: bytes = b"hello", **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return answer


NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "2606:4700::1111%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "localhost",
    "",
]


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_not_permitted(ip: str) -> None:
    assert not Guard().permits(ip, 80)


@pytest.mark.parametrize("ip", ["1.1.1.1", "93.184.215.14", "192.31.196.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_a_public_address_is_permitted_at_the_usual_ports_only(ip: str) -> None:
    permitted = [port for port in (22, 25, 80, 443, 6379, 8080) if Guard().permits(ip, port)]

    assert permitted == [80, 443]


def test_an_allowed_network_is_open_at_every_port_and_opens_no_other() -> None:
    guard = Guard(networks=[ip_network("10.0.0.0/8"), ip_network("fd00::/8")])

    assert guard.permits("10.9.9.9", 9000)
    assert guard.permits("::ffff:10.9.9.9", 9000)
    assert guard.permits("fd00::5", 9000)
    assert not guard.permits("127.0.0.1", 9000)


def test_an_allowed_origin_is_one_address_at_one_port() -> None:
    guard = Guard(origins={("127.0.0.1", 4000)})

    assert guard.permits("127.0.0.1", 4000)
    assert not guard.permits("127.0.0.1", 4001)
    assert not guard.permits("127.0.0.2", 4000)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://①②⑦.0.0.1/",
        "http://127.0.0.1。/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1%25lo]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.100.100.200/",
        "http://1.1.1.1:22/",
    ],
)
def test_a_numeric_host_is_refused_by_its_looks_in_every_spelling(url: str) -> None:
    with pytest.raises(UrlRefused, match="the address is not public"):
        Guard().check_url(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.com/a", "it is not an http or https address"),
        ("file:///etc/passwd", "it is not an http or https address"),
        ("data:text/plain,hi", "it is not an http or https address"),
        ("//example.com/a", "it is not an http or https address"),
        ("/a/b", "it is not an http or https address"),
        ("", "it is not an http or https address"),
        ("http:///a", "it names no host"),
        ("https:", "it names no host"),
        ("http://a..b/", "it names no valid host"),
        ("http://a$b/", "it names no valid host"),
        (f"http://{'a' * 64}.com/", "it names no valid host"),
        ("http://user@example.com/", "user name"),
        ("http://:secret@example.com/", "user name"),
        ("http://example.com:22/", "it must not use port 22"),
        ("http://example.com:99999/", "it is not a valid address"),
        ("http://[::1/", "it is not a valid address"),
        ("http://exa mple.com/", "it contains a space"),
        ("http://example.com\\@127.0.0.1/", "backslash"),
        ("http://example.com/\r\nHost: x", "control character"),
        ("http://example.com/" + "a" * 5000, "it is longer than 4096 characters"),
    ],
)
def test_an_odd_url_is_refused_in_words(url: str, message: str) -> None:
    with pytest.raises(UrlRefused, match=message):
        Guard().check_url(url)


def test_a_signed_link_keeps_its_encoding() -> None:
    link = "https://bucket.example.com/a%2Fb.png?X-Signature=a%2Bb%7E&X-Date=1"

    assert str(Guard().check_url(link + "#fragment")) == link


def test_a_link_with_other_letters_is_encoded() -> None:
    checked = str(Guard().check_url("https://exämple.com/ภาพ.png"))

    assert checked == "https://xn--exmple-cua.com/%E0%B8%A0%E0%B8%B2%E0%B8%9E.png"


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_the_connector_opens_no_socket_to_loopback(host: str) -> None:
    """Also where nobody looked at the URL before."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(text="inside")

    async with serving(answer) as port, aiohttp.ClientSession(connector=Guard().connector()) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get(f"http://{host}:{port}/")

    assert isinstance(caught.value.os_error, AddressRefused)
    assert seen == []


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.1/"])
async def test_the_connector_reaches_nothing_by_an_old_spelling(url: str) -> None:
    """aiohttp refuses some of them itself since 3.14; the others end at the socket."""
    async with aiohttp.ClientSession(connector=Guard().connector()) as session:
        with pytest.raises((aiohttp.InvalidUrlClientError, aiohttp.ClientConnectorError)) as caught:
            await session.get(url)

    refused = getattr(caught.value, "os_error", None)
    assert isinstance(caught.value, aiohttp.InvalidUrlClientError) or isinstance(refused, AddressRefused)


@pytest.mark.anyio
async def test_a_file_is_fetched(tmp_path: Path) -> None:
    path = tmp_path / "file"

    handler = answering(Content_Type="image/png; q=1")
    async with serving(handler) as port, fetching(Guard(origins={("127.0.0.1", port)})) as fetcher:
        url = f"http://127.0.0.1:{port}/a.png"
        fetched = await fetcher.fetch(url, path, limit=LIMIT)

    assert (fetched.content_type, fetched.bytes_count, fetched.final_url) == ("image/png", 5, url)
    assert path.read_bytes() == b"hello"


@pytest.mark.anyio
async def test_a_request_carries_no_cookie_and_asks_for_plain_bytes(tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(dict(request.headers))
        response = web.Response(body=b"hello")
        response.set_cookie("who", "you")
        return response

    async with serving(answer) as port, fetching(Guard(origins={("127.0.0.1", port)})) as fetcher:
        for _ in range(2):
            await fetcher.fetch(f"http://127.0.0.1:{port}/", tmp_path / "file", limit=LIMIT)

    assert [sorted(name for name in headers if name in ("Cookie", "Authorization")) for headers in seen] == [
        [],
        [],
    ]
    assert seen[1]["Accept-Encoding"] == "identity"


@pytest.mark.anyio
async def test_a_name_that_leads_to_loopback_is_refused(tmp_path: Path) -> None:
    async with serving(answering()) as port:
        guard = Guard(ports=(port,))
        async with fetching(guard, Names(inside_example=["127.0.0.1"])) as fetcher:
            failed = await failure(fetcher, f"http://inside.example:{port}/", tmp_path / "file")

    assert (failed.message, failed.transient) == ("the address is not public", False)


@pytest.mark.anyio
async def test_a_name_with_several_private_addresses_is_refused_in_the_same_words(tmp_path: Path) -> None:
    names = Names(inside_example=["127.0.0.1 10.0.0.1 169.254.169.254"])

    async with fetching(Guard(), names) as fetcher:
        failed = await failure(fetcher, "http://inside.example/", tmp_path / "file")

    assert failed.message == "the address is not public"


@pytest.mark.anyio
async def test_a_name_that_changes_its_address_on_a_redirect_is_refused(tmp_path: Path) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        raise web.HTTPFound("/second")

    async with serving(answer) as port:
        guard = Guard(origins={("127.0.0.1", port)})
        async with fetching(guard, Names(flips_example=["127.0.0.1", "127.0.0.2"])) as fetcher:
            failed = await failure(fetcher, f"http://flips.example:{port}/first", tmp_path / "file")

    assert failed.message == "the address is not public"
    assert seen == ["/first"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://127.0.0.1:1/", "the address is not public"),
        ("http://[::1]/", "the address is not public"),
        ("http://169.254.169.254/latest/meta-data/", "the address is not public"),
        ("http://localhost/", "the address is not public"),
        ("file:///etc/passwd", "it is not an http or https address"),
        ("gopher://127.0.0.1/", "it is not an http or https address"),
        ("//user:pass@127.0.0.1/", "it must not carry a user name or password"),
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(location: str, message: str, tmp_path: Path) -> None:
    async with serving(answering(status=302, Location=location)) as port:
        guard = Guard(origins={("127.0.0.1", port)})
        async with fetching(guard) as fetcher:
            failed = await failure(fetcher, f"http://127.0.0.1:{port}/", tmp_path / "file")

    assert (failed.message, failed.transient) == (message, False)


@pytest.mark.anyio
@pytest.mark.parametrize(("hops", "arrives"), [(3, True), (4, False)])
async def test_three_redirects_are_followed_and_not_a_fourth(hops: int, arrives: bool, tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        number = int(request.path[1:])
        if number < hops:
            raise web.HTTPTemporaryRedirect(f"{number + 1}")
        return web.Response(body=b"there")

    async with serving(answer) as port, fetching(Guard(origins={("127.0.0.1", port)})) as fetcher:
        url = f"http://127.0.0.1:{port}/0"
        if arrives:
            fetched = await fetcher.fetch(url, tmp_path / "file", limit=LIMIT)
            assert fetched.final_url == f"http://127.0.0.1:{port}/3"
        else:
            assert (await failure(fetcher, url, tmp_path / "file")).message == "it redirects more than 3 times"


async def endless(request: web.Request) -> web.StreamResponse:
    """A body without an announced length."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b"x" * 100)
    return response


async def stalled(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "900"})
    await response.prepare(request)
    await response.write(b"x")
    await asyncio.sleep(30)
    return response


async def broken_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "900"})
    await response.prepare(request)
    await response.write(b"x")
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("handler", "message", "transient"),
    [
        (answering(status=404), "it answered 404", False),
        (answering(status=403), "it answered 403", False),
        (answering(status=429), "it answered 429", True),
        (answering(status=503), "it answered 503", True),
        (answering(status=304, body=b""), "it answered 304", False),
        (answering(status=302), "it redirects to nowhere", False),
        (answering(body=b""), "it is empty", False),
        (answering(body=b"x" * 1001), "it is larger than 0.001 MB", False),
        (endless, "it is larger than 0.001 MB", False),
        (
            answering(body=gzip.compress(b"x" * 100_000), Content_Encoding="gzip"),
            "it is larger than 0.001 MB",
            False,
        ),
        (answering(body=b"no gzip", Content_Encoding="gzip"), "it gave a broken answer", True),
        (broken_off, "it gave a broken answer", True),
    ],
)
async def test_a_bad_answer_is_told_in_words_and_leaves_no_file(
    handler: Handler, message: str, transient: bool, tmp_path: Path
) -> None:
    async with serving(handler) as port, fetching(Guard(origins={("127.0.0.1", port)})) as fetcher:
        failed = await failure(fetcher, f"http://127.0.0.1:{port}/", tmp_path / "file")

    assert (failed.message, failed.transient) == (message, transient)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("total", "read", "message"), [(0.3, 5, "it took longer than 0.3 s"), (5, 0.3, "it stopped answering")]
)
async def test_a_server_that_falls_silent_is_left(total: float, read: float, message: str, tmp_path: Path) -> None:
    async with serving(stalled) as port:
        guard = Guard(origins={("127.0.0.1", port)})
        async with fetching(guard, total=total, read=read) as fetcher:
            failed = await failure(fetcher, f"http://127.0.0.1:{port}/", tmp_path / "file")

    assert (failed.message, failed.transient) == (message, True)


@pytest.mark.anyio
async def test_a_cancelled_fetch_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    asked = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.set()
        return await stalled(request)

    async with serving(answer) as port, fetching(Guard(origins={("127.0.0.1", port)})) as fetcher:
        task = asyncio.create_task(fetcher.fetch(f"http://127.0.0.1:{port}/", path, limit=LIMIT))
        await asked.wait()
        await asyncio.sleep(0.1)  # the first byte is on its way
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert not there(path)


@pytest.mark.anyio
async def test_an_unknown_name_and_a_closed_port_may_be_tried_again(tmp_path: Path) -> None:
    guard = Guard(networks=[ip_network("127.0.0.1/32")])

    async with fetching(guard, Names()) as fetcher:
        unknown = await failure(fetcher, "http://nobody.example/", tmp_path / "file")
        closed = await failure(fetcher, "http://127.0.0.1:1/", tmp_path / "file")

    assert (unknown.message, unknown.transient) == ("it names a host that is not known", True)
    assert (closed.message, closed.transient) == ("it could not be reached", True)


@pytest.mark.anyio
async def test_the_environment_names_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect on our behalf, past the guard."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async with serving(answering()) as port, fetching(Guard(origins={("127.0.0.1", port)})) as fetcher:
        fetched = await fetcher.fetch(f"http://127.0.0.1:{port}/", tmp_path / "file", limit=LIMIT)

    assert fetched.bytes_count == 5
