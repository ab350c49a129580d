"""One child that decodes: started, asked one order after another, and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from phaya.clock import MINUTE
from phaya.decoding.child import LONGEST
from phaya.decoding.findings import Answer, Garbled

log = structlog.get_logger()

Loads = Literal["pictures", "streams"]

CHILD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("child.py")))
_NICE = 5  # after the server, before what renders


@dataclass(frozen=True)
class Bounds:
    """What a child may use: seconds for one file, and until it is ready; bytes of address space (on Linux) and of each
    file that it writes. It goes when it has been idle for so many milliseconds, after so many files or seconds of work,
    or where it holds more bytes of memory than that."""

    file_seconds: float = 120
    start_seconds: float = 60
    memory_bytes: int = 4 << 30
    file_bytes: int = 2 << 30
    idle: int = MINUTE
    most_files: int = 1000
    most_seconds: float = 600
    most_resident: int = 300_000_000


class Ended(Exception):
    """The child is gone: `code` as in `subprocess`, where it is known. `asked`: it had the order by then."""

    def __init__(self, code: int | None, *, asked: bool = True) -> None:
        super().__init__(f"it ended with {code}")
        self.code = code
        self.asked = asked


class Child:
    """A process that decodes what one library decodes."""

    def __init__(self, process: Process, link: socket.socket, bounds: Bounds) -> None:
        """Made by `start`."""
        self._process = process
        self._link = link
        self._bounds = bounds
        self._files = 0
        self._seconds = 0.0
        self.idle_since = 0

    @classmethod
    async def start(cls, loads: Loads, bounds: Bounds, program: Sequence[str] = CHILD) -> Child:
        """Starts a child and waits until it is behind its walls. Raises Ended, Garbled, TimeoutError or OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            try:
                process = await asyncio.create_subprocess_exec(
                    *(*program, json.dumps(_told(loads, bounds))),
                    stdin=theirs.fileno(),
                    stdout=DEVNULL,
                    stderr=DEVNULL,
                    cwd="/",
                    env={"PATH": os.defpath, "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2"},
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        child = cls(process, ours, bounds)
        try:
            async with asyncio.timeout(bounds.start_seconds):
                answer = await child._answer()
            if "failed" in answer:
                log.error("decoder.failed", loads=loads, error=answer.text("failed"))
            answer.truth("ready")
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def pid(self) -> int:
        """Its number among the processes."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it may still be asked."""
        return self._process.returncode is None

    @property
    def spent(self) -> bool:
        """Whether it has done enough: a new one takes its place, and the memory goes back."""
        bounds = self._bounds
        worn = self._files >= bounds.most_files or self._seconds >= bounds.most_seconds
        return worn or self._resident() > bounds.most_resident

    async def ask(self, work: str, form: str, files: Sequence[int]) -> Answer:
        """Has one order carried out on open files. Raises Ended, Garbled or TimeoutError; then call `end`."""
        order = json.dumps({"work": work, "form": form}).encode()
        begun = time.monotonic()
        try:
            socket.send_fds(self._link, [struct.pack(">I", len(order)) + order], files)
        except OSError as error:
            raise Ended(self._process.returncode, asked=False) from error
        async with asyncio.timeout(self._bounds.file_seconds):
            answer = await self._answer()
        self._files += 1
        self._seconds += time.monotonic() - begun
        return answer

    def kill(self) -> None:
        """Ends it at once. Who is asking it hears that it ended, and nobody else may call `end`."""
        if self.alive:
            with suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies may not be signalled
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> int:
        """Kills it, and answers how it ended."""
        self.kill()
        code = await self._process.wait()
        self._link.close()
        return code

    async def _answer(self) -> Answer:
        content = await self._read(4)
        size = struct.unpack(">I", content[:4])[0]
        if size > LONGEST:
            raise Garbled("size")
        content = await self._read(4 + size, content)
        if len(content) > 4 + size:
            raise Garbled("more than was asked for")
        try:
            return Answer(json.loads(content[4:]))
        except (ValueError, RecursionError) as error:
            raise Garbled("no JSON") from error

    async def _read(self, size: int, content: bytes = b"") -> bytes:
        """At least so many bytes."""
        loop = asyncio.get_running_loop()
        while len(content) < size:
            try:
                more = await loop.sock_recv(self._link, LONGEST)
            except ConnectionError:
                more = b""
            if not more:
                raise Ended(self._process.returncode)
            content += more
        return content

    def _resident(self) -> int:
        """Bytes of memory that it holds; 0 where the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_bytes().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


def _told(loads: Loads, bounds: Bounds) -> dict[str, object]:
    # Its files come from here one after another, so the processor's time is bounded by the clock; were it to run out in
    # the middle of a file, that file would seem to be the fault.
    seconds = (bounds.most_seconds + bounds.file_seconds) * (os.cpu_count() or 1)
    return {
        "paths": sys.path,
        "loads": loads,
        "limits": {
            "cpu_seconds": int(seconds) + 60,
            "memory_bytes": bounds.memory_bytes,
            "file_bytes": bounds.file_bytes,
            "nice": _NICE,
            "parent": os.getpid(),
            "folder": None,
            "reads": [],
            "ports": [],
            "datagrams": False,
            "forks": False,
        },
    }
