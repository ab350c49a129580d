"""Looks up names that strangers gave, apart from every other work.

The system's own look-up blocks a thread for as long as a name server likes. aiohttp's default has it block one of the
event loop's few, in which this process also writes files and decodes; forty slow names would hold all of that up.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from socket import AF_INET, AF_INET6, AddressFamily

from aiohttp.abc import AbstractResolver, ResolveResult

SECONDS = 5.0
"""How long a name may take, waiting for its turn included."""
MOST = 64
"""Names looked up at a time. One that was given up still counts until the system is done with it."""
ADDRESSES = 16
"""Addresses of one name that are tried at the most."""


Found = tuple[
    AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]
Look = Callable[[str, int, AddressFamily], list[Found]]


def look_up(host: str, port: int, family: AddressFamily) -> list[Found]:
    """The system's own look-up, which blocks. Raises OSError, or UnicodeError for what can be no name."""
    return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)


class Lookups(AbstractResolver):
    """Name resolution in threads of its own, which no stop of the process waits for. `look` looks a name up there."""

    def __init__(self, look: Look = look_up, *, seconds: float = SECONDS, most: int = MOST) -> None:
        self._look = look
        self._seconds = seconds
        self._places = asyncio.Semaphore(most)

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:
        """The addresses of a name. Raises OSError, also where it took too long."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._places.acquire()
                found = await self._started(host, port, family)
        except TimeoutError as error:  # aiohttp would take it for one of the connection's own
            raise OSError("no name server answered in time") from error
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=one,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for one, _, protocol, _, address in found[:ADDRESSES]
            if one in (AF_INET, AF_INET6) and not (len(address) == 4 and address[3])  # a zone names an interface here
        ]

    async def close(self) -> None:
        """Nothing is kept open; a thread that still waits ends with its name server's answer or with the process."""

    def _started(self, host: str, port: int, family: AddressFamily) -> asyncio.Future[list[Found]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Found]] = loop.create_future()

        def tell(found: list[Found] | None, error: Exception | None) -> None:
            self._places.release()
            if future.done():
                return
            if found is not None:
                future.set_result(found)
            elif error is not None:
                future.set_exception(error)

        def look() -> None:
            found: list[Found] | None = None
            error: Exception | None = None
            try:
                found = self._look(host, port, family)
            except OSError as trouble:
                error = trouble
            except UnicodeError as trouble:
                error = OSError(f"{host[:80]!r} is no name")
                error.__cause__ = trouble
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(tell, found, error)

        try:
            threading.Thread(target=look, name="lookup", daemon=True).start()
        except RuntimeError as error:  # the system gives no more threads
            self._places.release()
            raise OSError("no thread is left to look a name up") from error
        return future
