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
RAMP, WORDS = 10, 14
"""Seconds over which the streams are begun, and seconds that each lasts: all are open at a time for a while."""


async def measure(sitting: Sitting) -> Part:
    """Memory, and how long words are on their way, straight from the provider and through Phaya."""
    count = 100 if sitting.quick else 1000
    direct = Row(f"{count:,} streams straight from the provider", note="the listener's and the provider's own share")
    first = Row(
        "first words through Phaya",
        note="from the provider's sending to the client's reading, while others open; CPU for a whole stream",
    )
    later = Row("later words through Phaya", note="one a second in each stream")
    async with contextlib.AsyncExitStack() as stack:
        provider = machine.free_port()
        command = (sys.executable, str(HERE / "talker.py"), str(provider), str(WORDS))
        await stack.enter_async_context(machine.spawned(sitting.folder / "talker.log", command, {}, machine.REST))
        prepared = await stack.enter_async_context(subjects.books(sitting.folder / "streams", "sqlite"))
        await prepared.endow(1)
        async with subjects.serving(prepared, openrouter=f"http://127.0.0.1:{provider}/v1") as phaya:
            told = await _listen(provider, "none", count)
            direct.add(p50=percentile(told["first"], 0.5), p99=percentile(told["first"], 0.99))
            before, used = phaya.process.all_megabytes, phaya.process.all_cpu
            async with machine.peak(phaya.process) as memory:
                told = await _listen(phaya.port, prepared.purses[0], count)
            each = 1e6 * (phaya.process.all_cpu - used) / count
            first.add(p50=percentile(told["first"], 0.5), p99=percentile(told["first"], 0.99), cpu=each)
            first.add(added=first.median("p50") - direct.median("p50"), memory=max(memory), more=before)
            later.add(p50=percentile(told["later"], 0.5), p99=percentile(told["later"], 0.99))
        try:
            if told["whole"] != count:
                raise Void(f"{told['whole']} of {count} streams came to their end")
            books = await prepared.proven(count, chats.PRICE, 0)
            first.note += f"; at most {told['open']} open; {books}"
        except Void as error:
            first.void = later.void = str(error)
    part = Part("streams", f"{count:,} concurrent streams, SQLite", [direct, first, later])
    for row in part.rows:
        sitting.say(f"{row.name}: {row.void or row.readings} {row.note}")
    return part


async def _listen(port: int, key: str, count: int) -> dict[str, Any]:
    command = (sys.executable, str(HERE / "listener.py"), str(port), key, str(count), str(RAMP))
    return orjson.loads(await machine.printed(machine.pinned(machine.REST, *command), {}))
