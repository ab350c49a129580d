"""The only way out of a child process that downloads: a proxy on loopback, for as long as one download takes.

The child cannot connect anywhere else (`cage.py`), and knows no names. Each address that it asks for is looked up here
once, checked by the guard, and connected as the number that was checked; a redirect is a new request, and so is each
part of a playlist. Nobody else can use the proxy: it asks for a password that is made anew each time.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

from aiohttp.abc import AbstractResolver
from yarl import URL

from phaya.addresses import AddressRefused, Guard, UrlRefused
from phaya.lookups import Lookups

MOST = 64
"""Connections of one download at a time."""
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 60.0
"""After so long without a byte in either direction a connection is cut."""
_HEAD = 64 * 1024
_CHUNK = 128 * 1024
_USER = "child"


class Gateway:
    """An HTTP proxy behind a guard. `refused` lists the addresses that it did not connect."""

    def __init__(self, guard: Guard, resolver: AbstractResolver | None = None) -> None:
        self.refused: list[str] = []
        self.port = 0
        self._guard = guard
        self._resolver = resolver or Lookups()
        self._password = secrets.token_urlsafe(24)
        login = base64.b64encode(f"{_USER}:{self._password}".encode())
        self._login = b"Basic " + login
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The proxy's address, with its password."""
        return f"http://{_USER}:{self._password}@127.0.0.1:{self.port}"

    async def __aenter__(self) -> Gateway:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=_HEAD)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def _accepted(self, reader: StreamReader, writer: StreamWriter) -> None:
        if len(self._tasks) >= MOST:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            await self._answer(head, reader, writer)
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass  # the child reads that its connection was closed
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: bytes, reader: StreamReader, writer: StreamWriter) -> None:
        line, *fields = head[:-4].split(b"\r\n")
        method, _, rest = line.partition(b" ")
        target, _, version = rest.partition(b" ")
        if not hmac.compare_digest(_field(fields, b"proxy-authorization"), self._login):
            return await _refuse(writer, "407 Proxy Authentication Required")
        try:
            tunnel = method == b"CONNECT"
            address = self._guard.check_url(("https://" if tunnel else "") + target.decode("ascii"))
            if tunnel == (address.scheme != "https"):
                return await _refuse(writer, "400 Bad Request")
            far_reader, far_writer = await self._connect(address)
        except (UrlRefused, AddressRefused, UnicodeDecodeError) as error:
            self.refused = [*self.refused[-19:], f"socket.connect {error} ({target[:200].decode('ascii', 'replace')})"]
            return await _refuse(writer, "403 The address is not public")
        except OSError:
            return await _refuse(writer, "502 The address cannot be reached")
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                # One request for each connection, so that none is sent to a host that was not checked for it.
                path = address.raw_path_qs.encode("ascii")
                far_writer.write(b"\r\n".join([b" ".join((method, path, version)), *_kept(fields), b"", b""]))
            await _join(reader, writer, far_reader, far_writer)
        finally:
            far_writer.close()
            with suppress(OSError):
                await far_writer.wait_closed()

    async def _connect(self, address: URL) -> tuple[StreamReader, StreamWriter]:
        """A connection to the first of the host's addresses that is permitted and answers. Raises OSError."""
        host, port = address.host or "", address.port or 0
        trouble: OSError = OSError("the name has no address")
        async with asyncio.timeout(CONNECT_SECONDS):
            for found in await self._resolver.resolve(host, port):
                if not self._guard.permits(found["host"], port):
                    trouble = AddressRefused("the address is not public")
                    continue
                try:
                    return await asyncio.open_connection(found["host"], port, limit=_HEAD)
                except OSError as error:
                    trouble = error
        raise trouble


def _field(fields: list[bytes], name: bytes) -> bytes:
    for field in fields:
        given, _, value = field.partition(b":")
        if given.strip().lower() == name:
            return value.strip()
    return b""


def _kept(fields: list[bytes]) -> Iterator[bytes]:
    """The fields of a request that are for the far end."""
    for field in fields:
        name = field.partition(b":")[0].strip().lower()
        if not name.startswith(b"proxy-") and name not in (b"connection", b"keep-alive", b"upgrade", b"te"):
            yield field
    yield b"Connection: close"


async def _refuse(writer: StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode("ascii"))
    await writer.drain()


async def _join(reader: StreamReader, writer: StreamWriter, far: StreamReader, far_writer: StreamWriter) -> None:
    """Carries bytes both ways until the far end is done, or nothing moves any more."""
    last = asyncio.get_running_loop().time()

    async def carry(source: StreamReader, target: StreamWriter) -> None:
        nonlocal last
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
            last = asyncio.get_running_loop().time()

    async def watch() -> None:
        while (left := last + IDLE_SECONDS - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)

    up, down, idle = (asyncio.create_task(work) for work in (carry(reader, far_writer), carry(far, writer), watch()))
    try:
        # The child may be done with sending long before the answer ends; the other way round all is over.
        await asyncio.wait((down, idle), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (up, down, idle):
            task.cancel()
        await asyncio.gather(up, down, idle, return_exceptions=True)
