"""One sitting: how long each point takes, how often it is repeated, where files lie, and who is told meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from figures import Row
from load import Void

Measure = Callable[[], Awaitable[dict[str, float]]]
Points = list[tuple[Row, Measure]]


@dataclass(frozen=True)
class Sitting:
    """What all parts of a run share. `folder` is emptied after it."""

    folder: Path
    seconds: float = 2
    repeats: int = 3
    quick: bool = False

    def say(self, text: str) -> None:
        """Tells whoever watches."""
        print(f"  {text}", file=sys.stderr, flush=True)

    async def interleaved(self, points: Iterable[tuple[Row, Measure]]) -> None:
        """Measures every point once, then every point again, and so on: what disturbs the machine disturbs all alike.

        A point that is void once stays void.
        """
        listed = list(points)
        for _ in range(self.repeats):
            for row, measure in listed:
                if row.void:
                    continue
                try:
                    row.add(**await measure())
                except Void as error:
                    row.void = str(error)
        for row, _ in listed:
            at = f" at {row.median('connections'):.0f}" if "connections" in row.readings else ""
            told = row.void or ", ".join(
                f"{name} {row.median(name):.6g}" for name in row.readings if name != "connections"
            )
            self.say(f"{row.name}{at}: {told}")
