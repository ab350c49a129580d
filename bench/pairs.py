"""Two processes on one PostgreSQL against one.

Each process has a core, and its own load shares that core with it: so a second process brings a core for both, and the
ratio says what processes take from each other through the database. PostgreSQL runs on all cores.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import creations
import machine
import polls
import subjects
from crowd import fill
from figures import Part, Row, ratio
from load import Load, Void
from phaya.clock import MINUTE, SystemClock
from sitting import Points, Sitting

CONNECTIONS, JOBS = 32, 2000


async def measure(sitting: Sitting) -> Part:
    """Polls of many jobs and creations by many accounts, on one process and on two."""
    points: Points = []
    cores = machine.CORES[:2]
    async with contextlib.AsyncExitStack() as stack:
        kie = await stack.enter_async_context(subjects.provider(sitting.folder))
        prepared = await stack.enter_async_context(subjects.books(sitting.folder / "pairs", "postgresql"))
        await prepared.endow(1)
        async with prepared.open() as database:
            now = SystemClock().now()
            opened = await fill(database, JOBS, (subjects.KIE_KEY,), now, look_in=60 * MINUTE)
        await prepared.endow(creations.MANY)
        assert prepared.server is not None
        assert prepared.server.process is not None
        machine.pin(prepared.server.process.pid, machine.CORES)
        nodes = [
            await stack.enter_async_context(
                subjects.serving(prepared, kie, cores=(core,), PHAYA_PUBLIC_URL="http://127.0.0.1:8000")
            )
            for core in cores
        ]
        ids = [job.id for job in opened]
        kinds = {
            "polls of many jobs": [polls.poll(node.port, prepared.purses[0], ids, "PROCESSING") for node in nodes],
            "creations, a thousand accounts": [creations.buy(node.port, prepared.purses[1:]) for node in nodes],
        }
        for name, loads in kinds.items():
            for count, word in ((1, "one process"), (2, "two processes")):
                row = Row(f"{name}: {word}")
                row.add(connections=CONNECTIONS * count)
                points.append((row, partial(_together, loads[:count], sitting.seconds)))
        await sitting.interleaved(points)
    rows = [row for row, _ in points]
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        two.add(ratio=ratio(two.median("rate"), one.median("rate")))
        two.note = "÷ one process"
    return Part("pairs", "Two processes, PostgreSQL", rows)


async def _together(loads: list[Load], seconds: float) -> dict[str, float]:
    """All at a time, each from its server's core."""
    running = [
        asyncio.create_task(load.run(CONNECTIONS, seconds, cores=(core,)))
        for load, core in zip(loads, machine.CORES, strict=False)
    ]
    done = await asyncio.gather(*running, return_exceptions=True)
    bursts = [burst for burst in done if not isinstance(burst, BaseException)]
    if wrong := [error for error in done if isinstance(error, BaseException)]:
        raise Void(str(wrong[0]))
    return {
        "rate": sum(burst.rate for burst in bursts),
        "p50": max(burst.p50 for burst in bursts),
        "p99": max(burst.p99 for burst in bursts),
    }
