"""What was aimed at, and what became of it in one run: issue 6 in figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import chats
import creations
import polls
import renders
from figures import Part, line, ratio, shown

Parts = Mapping[str, Part]


@dataclass(frozen=True)
class Goal:
    """A figure that is to be reached. `most` says whether less is better."""

    name: str
    figure: Callable[[Parts], float]
    wanted: float
    form: str = ",.0f"
    most: bool = False

    def told(self, parts: Parts) -> tuple[str, str, str, str]:
        """Its line: what, measured, wanted, whether it was reached."""
        measured = self.figure(parts)
        wanted = ("at most " if self.most else "at least ") + format(self.wanted, self.form)
        if math.isnan(measured):
            return self.name, "not measured", wanted, ""
        reached = measured <= self.wanted if self.most else measured >= self.wanted
        return self.name, shown(measured, self.form), wanted, "yes" if reached else "no"


def _of(part: str, row: str, reading: str, connections: float | None = None) -> Callable[[Parts], float]:
    def figure(parts: Parts) -> float:
        found = parts[part].row(row, connections) if part in parts else None
        return math.nan if found is None else found.median(reading)

    return figure


def _best(parts: Parts, name: str) -> float:
    """Most plain chats in a second of processor time, at whatever number of connections suits the gateway best."""
    rows = parts["chat"].rows if "chat" in parts else []
    found = [row.median("each") for row in rows if row.name.startswith(name) and row.name.endswith(", plain")]
    return max((value for value in found if not math.isnan(value)), default=math.nan)


def _times(name: str) -> Callable[[Parts], float]:
    return lambda parts: ratio(_best(parts, chats.PHAYA), _best(parts, name))


def _hot(engine: str) -> Callable[[Parts], float]:
    hot, spread = (
        _of("create", f"{creations.ENGINES[engine]}: {name}", "rate") for name in (creations.HOT, creations.SPREAD)
    )
    return lambda parts: ratio(hot(parts), spread(parts))


_SQLITE, _POSTGRESQL = (f"{title}: {creations.SPREAD}" for title in creations.ENGINES.values())
GOALS = (
    Goal(
        "status polls of a finished job ÷ bare ASGI, 64 connections",
        _of("status", polls.FINISHED, "ratio", 64),
        0.6,
        ".2f",
    ),
    Goal("creations a second on SQLite, synchronous=FULL", _of("create", _SQLITE, "rate"), 3000),
    Goal("creations a second on PostgreSQL", _of("create", _POSTGRESQL, "rate"), 2500),
    Goal("one account ÷ a thousand, SQLite", _hot("sqlite"), 0.5, ".2f"),
    Goal("one account ÷ a thousand, PostgreSQL", _hot("postgresql"), 0.5, ".2f"),
    Goal("chats per CPU-second ÷ LiteLLM's, each at its best", _times(chats.LITELLM), 40, ".1f"),
    Goal("chats per CPU-second ÷ Portkey's, each at its best", _times(chats.PORTKEY), 4, ".1f"),
    Goal(
        "p50 that a chat gains at one connection, ms",
        _of("chat", f"{chats.PHAYA}, plain", "added", 1),
        1,
        ".2f",
        most=True,
    ),
    Goal(
        "memory with 1,000 open streams, MB",
        _of("streams", "from the request to its first word, Phaya", "memory"),
        150,
        most=True,
    ),
    Goal(
        "p50 of a stream's first word on its way, ms",
        _of("streams", "first words on their way, Phaya", "p50"),
        2,
        ".2f",
        most=True,
    ),
    Goal("memory of an idle server, MB", _of("start", "with the providers' keys", "memory"), 90, most=True),
    Goal(
        "ready, seconds after the command", _of("start", "with the providers' keys", "seconds"), 1.5, ".2f", most=True
    ),
    Goal("polls by two processes ÷ by one", _of("pairs", "polls of many jobs: two processes", "ratio"), 1.7, ".2f"),
    Goal(
        "creations by two processes ÷ by one",
        _of("pairs", "creations, a thousand accounts: two processes", "ratio"),
        1.7,
        ".2f",
    ),
    Goal(
        "a clip of 5 s in 1080×1920, seconds",
        _of("render", renders.CLIP, "seconds"),
        3.5,
        ".2f",
        most=True,
    ),
    Goal(
        "p99 of polls beside renders ÷ quiet",
        _of("render", renders.BESIDE, "ratio"),
        2,
        ".2f",
        most=True,
    ),
)


def table(parts: Sequence[Part]) -> str:
    """All goals in Markdown."""
    by_name = {part.name: part for part in parts}
    lines = [line(["", "measured", "wanted", "reached"]), line(["---", "--:", "--:", "---"])]
    return "\n".join([*lines, *(line(goal.told(by_name)) for goal in GOALS)])
