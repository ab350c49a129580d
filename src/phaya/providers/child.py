"""Runs a program on files of strangers: with limits, without our environment, files or network, and never longer than
we live. `cage.py` says what the kernel holds it to."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import platform
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from phaya import cage

_CAGE = Path(cage.__file__)
_NICE = 12  # an answer goes first; beside others that keep every core busy a clip still gets a fifteenth of them
_PROCESSES = 4096
"""Threads by which a program that forks may exceed those of our user. Far too many, because the kernel also counts
those of other containers with the same user number, which cannot be seen from here."""
_GRACE_SECONDS = 2.0
_TAIL_BYTES = 4096
_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True)
class Limits:
    """What a program may use: seconds of processor time (of all its threads), bytes of address space (on Linux)
    and of each file that it writes, seconds on the clock.

    The rest holds on Linux. Beside its folder and the system's programs it reads `reads` alone; it connects to TCP
    `ports` alone, and opens no socket where there are none; it looks names up itself only with `datagrams`, and
    starts other programs only where it `forks`.
    """

    cpu_seconds: int
    memory_bytes: int
    file_bytes: int
    wall_seconds: float
    reads: Sequence[Path] = ()
    ports: Sequence[int] = ()
    datagrams: bool = False
    forks: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a program ended. `code` is its exit code, negative where a signal ended it, 125..127 where it could
    not be started; `stderr_tail` the end of what it complained of."""

    code: int
    stderr_tail: str
    timed_out: bool = False


async def run_child(
    argv: Sequence[str],
    *,
    folder: Path,
    limits: Limits,
    on_line: Callable[[str], Awaitable[None]] | None = None,
) -> Outcome:
    """Runs `argv` in `folder`, its only place to write, and gives each line of its output to `on_line`.

    The program and all that it started are gone when this returns, raises or is cancelled; on Linux also when
    this process is killed.
    """
    program = await asyncio.to_thread(_program, argv[0])
    confinement = {
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        "nice": _NICE,
        "parent": os.getpid(),
        "folder": str(folder.absolute()),
        "reads": [*program, *(str(path) for path in limits.reads)],
        "ports": [*limits.ports],
        "datagrams": limits.datagrams,
        "processes": _PROCESSES,
        "forks": limits.forks,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(_CAGE), json.dumps(confinement), *argv),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder,
        env=_environment(folder),
        start_new_session=True,
    )
    tail = bytearray()
    complaints = asyncio.create_task(_keep_tail(process, tail))
    wall = asyncio.timeout(limits.wall_seconds)
    try:
        async with wall:
            await _read_lines(process, on_line)
            await process.wait()
    except TimeoutError:
        if not wall.expired():
            raise
    finally:
        await _end(process)
        # Both pipes are closed by now, unless a grandchild left the group and still holds them.
        pipes = [complaints, asyncio.create_task(_read_lines(process, None))]
        await asyncio.wait(pipes, timeout=_GRACE_SECONDS)
        for pipe in pipes:
            pipe.cancel()
    code = process.returncode if process.returncode is not None else -signal.SIGKILL
    return Outcome(code, tail.decode(errors="replace").strip(), wall.expired())


def missing_walls() -> list[str]:
    """What this system cannot hold a child to, as parts of a sentence; nothing on a current Linux."""
    if sys.platform != "linux":
        return ["files, network and other processes, which need Linux"]
    version = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)  # landlock_create_ruleset, only asked for it
    walls = [(1, "files (Landlock, Linux 5.13)"), (4, "TCP ports (Linux 6.7)"), (6, "signals (Linux 6.12)")]
    missing = [name for since, name in walls if version < since]
    if platform.machine() not in ("x86_64", "aarch64"):
        missing.append("sockets and new processes (seccomp is set on x86_64 and aarch64)")
    return missing


def _program(name: str) -> list[str]:
    found = shutil.which(name)
    return [os.path.realpath(found)] if found else []


def _environment(folder: Path) -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder)}


async def _read_lines(process: Process, on_line: Callable[[str], Awaitable[None]] | None) -> None:
    assert process.stdout is not None
    rest = b""
    while chunk := await process.stdout.read(16 * 1024):
        if on_line is None:
            continue
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[-_LONGEST_LINE:]
        for line in lines:
            await on_line(line.decode(errors="replace").rstrip("\r"))
    if rest and on_line is not None:
        await on_line(rest.decode(errors="replace"))


async def _keep_tail(process: Process, tail: bytearray) -> None:
    assert process.stderr is not None
    while chunk := await process.stderr.read(16 * 1024):
        tail += chunk
        del tail[:-_TAIL_BYTES]


async def _end(process: Process) -> None:
    """Ends the program's whole group: first asked to, then made to."""
    try:
        if process.returncode is None:
            _signal(process, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_SECONDS):
                    await process.wait()
    finally:
        _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies may not be signalled
        os.killpg(process.pid, number)
