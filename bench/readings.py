"""What a server holds of the machine, read over a long run: what is the same at every rest is no leak.

Under load the readings go with what happens at once: aiohttp takes the connection that has rested longest, so that as
many stay open as were ever needed together, and obstore keeps its threads for ten seconds. So a run rests now and then,
for longer than any of that is kept, and the rests are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import machine

SAMPLE_SECONDS = 2
REST_SECONDS = 20
"""Idle connections of aiohttp are closed after 15 at the latest, obstore's threads after 10."""


@dataclass(frozen=True)
class Bound:
    """What a reading may add from its first rest to the last one, and what it may reach under load."""

    growth: float
    most: float


BOUNDS = {
    "memory, MB": Bound(12, 250),
    "sockets": Bound(2, 260),
    "other handles": Bound(2, 100),
    "threads": Bound(2, 110),
}
"""Memory: a million requests that left 20 bytes each would break it. Sockets: the load's 80 connections, two to the
provider for each of 64 jobs that are moved at a time, and some air. Other handles: the database's, and a file for each
of those jobs. Threads: 30, and obstore's, one for each of those jobs."""

Reading = dict[str, float]


def handles(pid: int) -> tuple[int, int]:
    """How many sockets a process has open, and how many other handles."""
    sockets, others = 0, 0
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            if str(handle.readlink()).startswith("socket:"):
                sockets += 1
            else:
                others += 1
    return sockets, others


def read(process: machine.Process) -> Reading:
    """What a process holds now."""
    threads = len(list(Path(f"/proc/{process.pid}/task").iterdir()))
    values = (process.megabytes, *handles(process.pid), threads)
    return dict(zip(BOUNDS, map(float, values), strict=True))


@dataclass
class Watch:
    """The readings of one process: at the start, at each rest, and the highest of all."""

    process: machine.Process
    rests: list[Reading] = field(default_factory=list[Reading])
    most: Reading = field(default_factory=lambda: dict.fromkeys(BOUNDS, 0.0))

    @contextlib.asynccontextmanager
    async def sampling(self) -> AsyncGenerator[None]:
        """Looks for the highest readings as long as the block lasts."""

        async def sample() -> None:
            while True:
                for name, value in read(self.process).items():
                    self.most[name] = max(self.most[name], value)
                await asyncio.sleep(SAMPLE_SECONDS)

        running = asyncio.create_task(sample())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def rest(self) -> None:
        """Waits until nothing is kept for another request, and reads. The load has let go of its connections."""
        await asyncio.sleep(REST_SECONDS)
        self.rests.append(read(self.process))


def excess(rests: Sequence[Reading], most: Reading) -> list[str]:
    """What has grown between the first rest and the last one by more than it may, or was too high under load."""
    found: list[str] = []
    for name, bound in BOUNDS.items():
        grown = rests[-1][name] - rests[0][name]
        if grown > bound.growth:
            found.append(f"{name} grew by {grown:.1f}, more than {bound.growth:g}")
        if most[name] > bound.most:
            found.append(f"{name} reached {most[name]:.0f}, more than {bound.most:g}")
    return found


def table(start: Reading, rests: Sequence[Reading], most: Reading, names: Sequence[str]) -> list[str]:
    """The readings as a table; `names` says when each rest was."""
    columns = ["Reading", "Start", *(f"At rest {name}" for name in names), "Growth at rest", "Most under load"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, bound in BOUNDS.items():
        values = [f"{one[name]:.0f}" for one in (start, *rests)]
        grown = f"{rests[-1][name] - rests[0][name]:+.1f} of {bound.growth:g}"
        lines.append(f"| {' | '.join([name, *values, grown, f'{most[name]:.0f} of {bound.most:g}'])} |")
    return lines
