"""A thousand chats streamed at a time."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import orjson

import chats
import machine
import subjects
from figures import Part, Row
from load import Void
from machine import percentile
from sitting import Sitting

HERE = Path(__file__).parent
RAMP, WORDS = 8, 11
"""Seconds over which the streams are begun, and seconds that each lasts: all are open at a time for a while."""
CALIBRATION = 100
"""Streams straight from the provider: the listener's and the provider's own share."""


async def measure(sitting: Sitting) -> Part:
    """Memory, and how long words are on their way, straight from the provider and through Phaya."""
    count = 100 if sitting.quick else 1000
    opening, first, later = "from the request to its first word", "first words on their way", "later words on their way"
    rows = {name: (Row(f"{name}, direct"), Row(f"{name}, Phaya")) for name in (opening, first, later)}
    async with contextlib.AsyncExitStack() as stack:
        provider = machine.free_port()
        command = (sys.executable, str(HERE / "talker.py"), str(provider), str(WORDS))
        await stack.enter_async_context(machine.spawned(sitting.folder / "talker.log", command, {}, machine.REST))
        prepared = await stack.enter_async_context(subjects.books(sitting.folder / "streams", "sqlite"))
        await prepared.endow(1)
        async with subjects.serving(prepared, openrouter=f"http://127.0.0.1:{provider}/v1") as phaya:
            direct = await _listen(provider, "none", CALIBRATION)
            before, used = phaya.process.all_megabytes, phaya.process.all_cpu
            async with machine.peak(phaya.process) as memory:
                told = await _listen(phaya.port, prepared.purses[0], count)
            each = 1e6 * (phaya.process.all_cpu - used) / count
        for name, kind in ((opening, "opening"), (first, "first"), (later, "later")):
            for row, waits in zip(rows[name], (direct[kind], told[kind]), strict=True):
                row.add(p50=percentile(waits, 0.5), p99=percentile(waits, 0.99))
            rows[name][1].add(added=rows[name][1].median("p50") - rows[name][0].median("p50"))
        rows[opening][1].add(cpu=each, memory=max(memory), more=before)
        rows[first][
            1
        ].note = f"from the provider's sending to the client's reading, while others open {count // RAMP} a second"
        try:
            if told["whole"] != count:
                raise Void(f"{told['whole']} of {count} streams came to their end")
            books = await prepared.proven(count, chats.PRICE, 0)
            rows[opening][1].note = f"at most {told['open']} open; CPU for a whole stream; {books}"
        except Void as error:
            for _, row in rows.values():
                row.void = str(error)
    part = Part("streams", f"{count:,} concurrent streams, SQLite", [row for pair in rows.values() for row in pair])
    for row in part.rows:
        sitting.say(f"{row.name}: {row.void or row.readings} {row.note}")
    return part


async def _listen(port: int, key: str, count: int) -> dict[str, Any]:
    command = (sys.executable, str(HERE / "listener.py"), str(port), key, str(count), str(RAMP * count / 1000))
    return orjson.loads(await machine.printed(machine.pinned(machine.REST, *command), {}))
