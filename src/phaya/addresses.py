"""The guard of every connection that leads to an address which a stranger chose.

The check happens where the socket is made, on the very address that is about to be connected. So it holds
for numeric hosts in any spelling, for each answer of a name server (also a second, different one), and for
every redirect.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from phaya.lookups import Lookups

LONGEST_URL = 4096

# What `is_global` calls global in some release of Python, although a packet sent there may end on this
# machine, in its own network, or at a machine of the cloud that it runs in.
_NEVER = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's host agent and name server: a public address that never leaves the host
        "192.0.0.0/24",  # IETF protocol assignments; Oracle's clouds answer metadata at 192.0.0.192
        "192.88.99.0/24",  # 6to4 relays, withdrawn by RFC 7526
        "2001::/23",  # Teredo, ORCHID and other assignments that wrap or hide another address
        "2002::/16",  # 6to4 wraps an IPv4 address
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation (RFC 9637), global in the eyes of Python before 3.12.4
    )
)
# Only these IPv6 addresses are handed out as public ones. Outside of them are loopback, link-local and
# site-local (fec0::/10) addresses, multicast, IPv4-compatible ones and NAT64 (64:ff9b::/96, 64:ff9b:1::/48).
_UNICAST = IPv6Network("2000::/3")

_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_ENCODED = re.compile(r"(?:[!#$&-;=?@A-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})*")


class AddressRefused(OSError):
    """A connection was about to be made to an address that is not public."""


class UrlRefused(ValueError):
    """The URL can be refused by its looks. `message` says why: "it names no host"."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True)
class Guard:
    """Which addresses may be connected: public ones at `ports`, and what the operator let through.

    `networks` are allowed at every port; `origins` are exact pairs of address and port, such as the embedded
    sandbox's.
    """

    networks: Sequence[IPv4Network | IPv6Network] = ()
    origins: Collection[tuple[str, int]] = ()
    ports: Collection[int] = (80, 443)

    def permits(self, ip: str, port: int) -> bool:
        """Whether a connection to the numeric address `ip` may be made."""
        try:
            address = ip_address(ip)
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return False
            address = address.ipv4_mapped or address
        if (str(address), port) in self.origins or any(address in network for network in self.networks):
            return True
        return port in self.ports and _is_public(address)

    def connector(self, **options: Any) -> aiohttp.TCPConnector:
        """A connector for an aiohttp session; `options` are TCPConnector's own. It raises AddressRefused.

        Names are looked up by `resolver`, or by Lookups where that is None or not given.
        """
        options["resolver"] = options.get("resolver") or Lookups()
        return aiohttp.TCPConnector(socket_factory=self._socket, **options)

    def check_url(self, url: str) -> URL:
        """Reads an address that a stranger gave, as far as it can be judged without a connection.

        Percent-encoding is kept as it stands, because signed links break when it is put into another form.
        Raises UrlRefused.
        """
        parsed = _parse(url)
        if parsed.scheme not in ("http", "https"):
            raise UrlRefused("it is not an http or https address")
        host, port = parsed.raw_host, parsed.port
        if not host or port is None:
            raise UrlRefused("it names no host")
        if parsed.raw_user is not None or parsed.raw_password is not None:
            raise UrlRefused("it must not carry a user name or password")
        numeric = _numeric(host)
        if numeric is not None:
            if not self.permits(numeric, port):
                raise UrlRefused("the address is not public")
        elif not _NAME.fullmatch(host):
            raise UrlRefused("it names no valid host")
        elif port not in self.ports and not self.networks and not self.origins:
            raise UrlRefused(f"it must not use port {port}")
        return parsed.with_fragment(None)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, target = address
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.permits(target[0], target[1]):
            # One text for all: aiohttp keeps the type of the error only if several addresses fail alike.
            raise AddressRefused("the address is not public")
        return socket.socket(family, kind, protocol)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _NEVER)


def _parse(url: str) -> URL:
    if len(url) > LONGEST_URL:
        raise UrlRefused(f"it is longer than {LONGEST_URL} characters")
    if _FORBIDDEN.search(url):
        raise UrlRefused("it contains a space, a backslash or a control character")
    try:
        parsed = URL(url, encoded=_ENCODED.fullmatch(url) is not None)
        _ = parsed.raw_host, parsed.port  # read here, because yarl finds faults in them only now
        return parsed
    except ValueError as error:
        raise UrlRefused("it is not a valid address") from error


def _numeric(host: str) -> str | None:
    """The plain form of a numeric host, also of `127.1`, `0x7f000001` and `2130706433`; None for names."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    if not _NUMERIC.fullmatch(host):
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


@dataclass(frozen=True)
class Fetched:
    """What was fetched: the type that the server named (without parameters), the size, where it was found."""

    content_type: str
    bytes_count: int
    final_url: str


class FetchFailed(Exception):
    """`message` says why: "it answered 404". `transient`: another try may succeed."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.transient = transient


def failure(error: UrlRefused | TimeoutError | aiohttp.ClientError, seconds: float) -> FetchFailed:
    """What went wrong with a request that might take so many seconds, in words for whoever gave its address."""
    match error:
        case UrlRefused():
            return FetchFailed(error.message)
        case aiohttp.ServerTimeoutError():
            return FetchFailed("it stopped answering", transient=True)
        case TimeoutError():
            return FetchFailed(f"it took longer than {seconds:g} s", transient=True)
        case aiohttp.ClientSSLError():
            return FetchFailed("it has no valid certificate")
        case aiohttp.ClientConnectorDNSError():
            return FetchFailed("it names a host that is not known", transient=True)
        case aiohttp.ClientConnectorError(os_error=AddressRefused()):
            return FetchFailed("the address is not public")
        case aiohttp.ClientConnectorError():
            return FetchFailed("it could not be reached", transient=True)
        case _:
            return FetchFailed("it gave a broken answer", transient=True)


_REDIRECTS = (301, 302, 303, 307, 308)
_WRITTEN_AT_ONCE = 1 << 20
_CONNECTIONS = 1000
"""Fetches at a time. With aiohttp's hundred, as many slow servers would keep everybody else waiting."""


class Fetcher:
    """Fetches files from addresses that strangers chose: behind the guard, without proxy, cookie or login.

    At most `redirects` are followed, each checked like the first address. `total_seconds` bounds the whole
    fetch. `resolver` takes the place of the system's name resolution.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        total_seconds: float = 30,
        connect_seconds: float = 10,
        read_seconds: float = 15,
        redirects: int = 3,
        user_agent: str = "Phaya",
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._guard = guard
        self._total_seconds = total_seconds
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=read_seconds)
        self._redirects = redirects
        self._user_agent = user_agent
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str, path: Path, *, limit: int) -> Fetched:
        """Streams the file at `url` to `path`, at most `limit` bytes of it. Raises FetchFailed.

        Nothing is left at `path` when it fails or is cancelled.
        """
        done = False
        try:
            async with asyncio.timeout(self._total_seconds):
                fetched = await self._follow(url, path, limit)
            done = True
            return fetched
        except (UrlRefused, TimeoutError, aiohttp.ClientError) as error:
            raise failure(error, self._total_seconds) from error
        finally:
            if not done:
                _discard(path)

    async def close(self) -> None:
        """Closes the connections. The fetcher may be used again."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _follow(self, url: str, path: Path, limit: int) -> Fetched:
        target = self._guard.check_url(url)
        for _ in range(self._redirects + 1):
            async with self._open().get(target, allow_redirects=False, timeout=self._timeout) as answer:
                if answer.status not in _REDIRECTS:
                    return await _keep(answer, path, limit)
                target = self._guard.check_url(_joined(target, answer.headers.get("Location", "")))
        raise FetchFailed(f"it redirects more than {self._redirects} times")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No connection outlives its fetch: strangers' servers are not met again soon.
            connector = self._guard.connector(
                limit=_CONNECTIONS, resolver=self._resolver, use_dns_cache=False, force_close=True
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers={"User-Agent": self._user_agent, "Accept": "*/*", "Accept-Encoding": "identity"},
            )
        return self._session


def _joined(base: URL, location: str) -> str:
    if not location:
        raise FetchFailed("it redirects to nowhere")
    return str(base.join(_parse(location)))


async def _keep(answer: aiohttp.ClientResponse, path: Path, limit: int) -> Fetched:
    if answer.status != 200:
        again = answer.status in (408, 425, 429) or answer.status >= 500
        raise FetchFailed(f"it answered {answer.status}", transient=again)
    if answer.content_length is not None and answer.content_length > limit:
        raise FetchFailed(f"it is larger than {_megabytes(limit)}")
    count = 0
    waiting = bytearray()
    # Counted as it comes out of decompression, so that a small body cannot unfold into a large file.
    async for chunk in answer.content.iter_any():
        count += len(chunk)
        if count > limit:
            raise FetchFailed(f"it is larger than {_megabytes(limit)}")
        waiting += chunk
        if len(waiting) >= _WRITTEN_AT_ONCE:
            await asyncio.to_thread(_append, path, bytes(waiting), new=count == len(waiting))
            waiting.clear()
    if count == 0:
        raise FetchFailed("it is empty")
    if waiting:
        await asyncio.to_thread(_append, path, bytes(waiting), new=count == len(waiting))
    return Fetched(answer.content_type, count, str(answer.url))


def _append(path: Path, content: bytes, *, new: bool) -> None:
    with path.open("wb" if new else "ab") as file:
        file.write(content)


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)


def _megabytes(size: int) -> str:
    return f"{size >> 20} MB" if size % (1 << 20) == 0 else f"{size / 1_000_000:g} MB"
