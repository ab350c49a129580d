"""From the command to the first answer, and what an idle server takes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from functools import partial

import machine
import subjects
from figures import Part, Row
from sitting import Points, Sitting

SETTLED = 2.0
"""Seconds after which an idle server's memory is read."""
KEYS = {
    "KIE_API_KEY": subjects.KIE_KEY,
    "KIE_BASE_URL": "http://127.0.0.1:9",
    "OPENROUTER_API_KEY": "sk-or-v1-bench",
    "GEMINI_API_KEY": "bench",
}


async def measure(sitting: Sitting) -> Part:
    """Starts on a database that is there already: with keys of the providers, and with none, which starts the
    sandbox. Twice as many repeats as elsewhere, since a start is one reading only."""
    points: Points = []
    async with contextlib.AsyncExitStack() as stack:
        for name, values in (("with the providers' keys", KEYS), ("sandbox", {})):
            folder = sitting.folder / name.partition(" ")[0]
            prepared = await stack.enter_async_context(subjects.books(folder, "sqlite"))
            await prepared.endow(1)
            row = Row(name, note=f"ready: /readyz answers 200; memory {SETTLED:.0f} s later")
            points += [(row, partial(_start, prepared, values))] * (1 if sitting.quick else 2)
        await sitting.interleaved(points)
    rows = list({row.name: row for row, _ in points}.values())
    return Part("start", "Start and idle memory, SQLite", rows)


async def _start(prepared: subjects.Books, values: dict[str, str]) -> dict[str, float]:
    port = machine.free_port()
    command = (sys.executable, "-m", "phaya", "serve", "--port", str(port))
    log = prepared.folder / "start.log"
    async with machine.spawned(log, command, prepared.settings | values, machine.SERVER) as process:
        seconds = await machine.answered(f"http://127.0.0.1:{port}/readyz", pause=0.005)
        used = process.all_cpu
        await asyncio.sleep(SETTLED)
        return {"seconds": seconds, "busy": used, "memory": process.all_megabytes}
