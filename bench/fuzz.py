"""Sends wrong answers through every parser of what others send.

    python bench/fuzz.py [INPUTS] [FIRST] [PARSER] [--write]

INPUTS (a million without any) are shared among the parsers; each is made from its number alone, so that one that is
found can be made again: `bench/fuzz.py 1 NUMBER PARSER`. Ends with 1 where any parser raised what it does not document,
or made of an answer what must not be made of it. Memory is measured: the run may not raise the process's peak by more
than `MOST`. `--write` puts the result into docs/reliability.md.
"""

from __future__ import annotations

import random
import resource
import sys
import time
import traceback
from collections import Counter
from datetime import UTC, datetime

from machine import described
from parsers import PARSERS
from reliability import write

MOST = 128
"""Megabytes by which the whole run may raise the process's peak."""


def fuzz(parser: str, inputs: int, first: int = 0) -> list[tuple[int, Exception]]:
    """What was wrong with inputs `first` and the following ones: their numbers, and the errors."""
    run, dice, found = PARSERS[parser], random.Random(), list[tuple[int, Exception]]()
    for number in range(first, first + inputs):
        dice.seed(f"{parser} {number}")
        try:
            run(dice)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            found.append((number, error))
    return found


def main(inputs: int = 1_000_000, first: int = 0, only: str | None = None, *, keep: bool = False) -> int:
    """Fuzzes the parsers and prints what was found; 1 where anything was."""
    rows = ["| Parser | Inputs | A second | Wrong |", "|---|---|---|---|"]
    names = [only] if only else list(PARSERS)
    failed, each, began, before = 0, 0, time.monotonic(), None
    for name in names:
        started, each = time.monotonic(), -(-inputs // len(names))
        found = fuzz(name, each, first)
        rows.append(f"| {name} | {each:,} | {each / (time.monotonic() - started):,.0f} | {len(found)} |")
        before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"{name:26} {each:>9,} inputs  {each / (time.monotonic() - started):>7,.0f} a second  {len(found)} wrong",
            flush=True,
        )
        failed += len(found)
        kinds = Counter(f"{type(error).__name__}: {str(error)[:100]}" for _, error in found)
        for kind, count in kinds.most_common(8):
            number, error = next((n, e) for n, e in found if f"{type(e).__name__}: {str(e)[:100]}" == kind)
            place = traceback.extract_tb(error.__traceback__)[-1]
            print(f"    {count} x {kind}  (input {number}, {place.filename.rpartition('/')[2]}:{place.lineno})")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - (before or 0)) / 1024
    told = f"{each * len(names):,} inputs in {time.monotonic() - began:.0f} s; memory's peak grew by {grown:.0f} MB."
    print(told)
    if keep:
        write("fuzz", f"{datetime.now(UTC):%Y-%m-%d}, {described()}.\n{told}\n\n" + "\n".join(rows))
    return 1 if failed or grown > MOST else 0


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word != "--write"]
    inputs, first = (int(word) for word in [*given[:2], *("1000000", "0")[len(given[:2]) :]])
    sys.exit(main(inputs, first, next(iter(given[2:]), None), keep="--write" in sys.argv))
