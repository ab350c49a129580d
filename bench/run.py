"""Measures Phaya beside the floors and beside what else people use, and writes docs/performance.md.

make bench                     everything, about twelve minutes
make bench ONLY=status,chat    some parts; the page is left alone
make bench QUICK=1             a second for each point, for trying; the page is left alone
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

import callbacks
import chats
import creations
import floors
import machine
import page
import pairs
import patience
import polls
import renders
import starts
import streams
from figures import Part, Row
from sitting import Sitting
from upstream import Missing, needed

PARTS = {
    "floors": floors.measure,
    "status": polls.measure,
    "create": creations.measure,
    "chat": chats.measure,
    "streams": streams.measure,
    "callbacks": callbacks.measure,
    "start": starts.measure,
    "pairs": pairs.measure,
    "render": renders.measure,
    "patience": patience.measure,
}
OUT = Path(__file__).parent / "out"


def main() -> int:
    parser = argparse.ArgumentParser(description="Phaya measured on this machine.")
    parser.add_argument("--only", default="", help=f"parts, comma-separated: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="about a second for each point")
    parser.add_argument("--write", action="store_true", help="write the page although only some parts were measured")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(PARTS)
    if strange := set(names) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(strange))}; there are {', '.join(PARTS)}")
    try:
        for program, package in (("wrk", "wrk"), ("nginx", "nginx"), ("taskset", "util-linux")):
            needed(program, package)
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    if len(machine.CORES) < 2:
        print("One core is not enough: the load would take it from the server.", file=sys.stderr)
        return 1
    parts = asyncio.run(_measure(names, quick=options.quick))
    broken = [part.name for part in parts if part.row("broken")]
    whole = not broken and not options.quick and names == list(PARTS)
    written = page.write(parts, page.setting(OUT)) if whole or options.write else page.keep(OUT, parts)
    print(f"Written: {', '.join(str(file) for file in written)}", file=sys.stderr)
    return 1 if broken else 0


async def _measure(names: list[str], *, quick: bool) -> list[Part]:
    os.sched_setaffinity(0, machine.REST)  # whatever is started inherits it, unless it is the server that is measured
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # what was started ends with it
    console, parts = Console(width=140), list[Part]()
    console.print(machine.described(), highlight=False)
    OUT.mkdir(exist_ok=True)
    for name in names:
        began, before, own = time.monotonic(), machine.load(), machine.used()
        print(f"{name}:", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="phaya-bench-", dir=OUT) as folder:
            sitting = Sitting(Path(folder), seconds=1, repeats=1, quick=True) if quick else Sitting(Path(folder))
            try:
                part = await PARTS[name](sitting)
            except Exception as error:  # noqa: BLE001 - the other parts are worth having
                traceback.print_exception(error)
                part = Part(name, name, [Row("broken", void=repr(error))])
        now = machine.load()
        part.others = max(0.0, (now[1] - before[1] - (machine.used() - own) * machine.TICK) / (now[0] - before[0]))
        part.stamp = page.stamp()
        parts.append(part)
        console.print(Markdown(f"## {part.title}\n\n{part.table()}"))
        took = f"{time.monotonic() - began:.0f} s; other programs used {100 * part.others:.0f} % of the machine"
        print(f"  took {took}", file=sys.stderr, flush=True)
    return parts


if __name__ == "__main__":
    sys.exit(main())
