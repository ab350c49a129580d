"""A loopback HTTP server that plays scripted answers byte by byte and remembers what it was asked."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

import orjson
from pydantic import JsonValue


class Act(Enum):
    """What the server can do besides sending bytes."""

    CLOSE = "close the connection"
    RESET = "reset the connection"
    HANG = "say nothing until the client hangs up"


Step = bytes | Act
"""Each bytes is one write; a pause of the event loop lies between two."""


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    connection: int
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> JsonValue:
        """The body, read as JSON."""
        return orjson.loads(self.body)


def answer(body: bytes | JsonValue, status: int = 200, headers: Mapping[str, str] | None = None) -> list[Step]:
    """A whole answer with its length; JSON unless `body` is bytes already."""
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    fields = {"Content-Type": "application/json;charset=UTF-8", "Content-Length": str(len(sent))} | dict(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return [f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode() + sent]


def events(*parts: bytes | Act, headers: Mapping[str, str] | None = None, end: bool = True) -> list[Step]:
    """A stream of events in chunked transfer, one chunk for each part; `end` adds the chunk that closes it."""
    fields = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"} | dict(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    chunks = [part if isinstance(part, Act) else b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    return [f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode(), *chunks, *([b"0\r\n\r\n"] if end else [])]


class Wire:
    """The server. Answers are played in the order of `play`; a request without one hangs."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.left = asyncio.Event()
        """Set when a client hung up on an answer that was hanging."""
        self._script: deque[Sequence[Step]] = deque()
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def base(self) -> str:
        """Where the server is."""
        return f"http://127.0.0.1:{self._port}"

    def play(self, *answers: Sequence[Step]) -> None:
        """Adds answers, one for each coming request."""
        self._script.extend(answers)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._connections += 1
        try:
            await self._talk(reader, writer, self._connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            method, target, _ = first.split(" ")
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.asked.append(Asked(connection, method, target, headers, body))
            for step in self._script.popleft() if self._script else (Act.HANG,):
                match step:
                    case bytes():
                        writer.write(step)
                        await writer.drain()
                        await asyncio.sleep(0.002)
                    case Act.CLOSE:
                        return
                    case Act.RESET:
                        # Lingering for no time at all makes the close a reset.
                        sock = writer.get_extra_info("socket")
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                        return
                    case Act.HANG:
                        await reader.read()
                        self.left.set()
                        return


def refused_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
