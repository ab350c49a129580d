"""What was measured: rows of repeated readings, their medians, and the tables that show them."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

COLUMNS: Mapping[str, tuple[str, str]] = {
    "connections": ("connections", ",.0f"),
    "rate": ("requests/s", ",.0f"),
    "ratio": ("÷ floor", ".3f"),
    "lean": ("÷ floor, by CPU", ".3f"),
    "each": ("per CPU-second", ",.0f"),
    "p50": ("p50 ms", ".2f"),
    "p99": ("p99 ms", ".2f"),
    "added": ("added p50 ms", ".2f"),
    "cpu": ("CPU µs each", ",.0f"),
    "seconds": ("s", ".2f"),
    "busy": ("CPU s", ".2f"),
    "asked": ("requests/job", ".1f"),
    "noticed": ("noticed after s", ".2f"),
    "memory": ("MB", ",.0f"),
    "more": ("MB before", ",.0f"),
}
"""Kinds of readings: heading and format, in the order in which they are shown."""


@dataclass
class Row:
    """One thing measured several times over. `void` says why it has no figures."""

    name: str
    readings: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    note: str = ""
    void: str = ""

    def add(self, **values: float) -> None:
        """Notes the readings of one repeat."""
        for name, value in values.items():
            self.readings.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """The middle reading, or NaN where there is none that counts. What was asked for counts in any case."""
        found = self.readings.get(name)
        return math.nan if not found or (self.void and name != "connections") else statistics.median(found)

    @property
    def spread(self) -> float:
        """How far the rates lie apart, as a share of their median."""
        rates = self.readings.get("rate", [])
        return (max(rates) - min(rates)) / statistics.median(rates) if len(rates) > 1 else math.nan


@dataclass
class Part:
    """The rows of one part of a run. `title` heads its table, `stamp` says when and of what it is."""

    name: str
    title: str
    rows: list[Row]
    stamp: str = ""
    others: float = math.nan
    """The share of the machine's processor time that other programs took meanwhile."""

    def row(self, name: str, connections: float | None = None) -> Row | None:
        """The row of this name, and of so many connections where several have it."""
        for row in self.rows:
            if row.name == name and (connections is None or row.median("connections") == connections):
                return row
        return None

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        plain = asdict(self)
        return plain | {"others": None if math.isnan(self.others) else self.others}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Part:
        """From what `plain` gave."""
        rows = [Row(**row) for row in plain["rows"]]
        others = math.nan if plain["others"] is None else plain["others"]
        return cls(plain["name"], plain["title"], rows, plain["stamp"], others)

    def table(self) -> str:
        """A table in Markdown, with the columns that any row has."""
        names = [name for name in COLUMNS if any(name in row.readings for row in self.rows)]
        spread = any(len(row.readings.get("rate", [])) > 1 for row in self.rows)
        noted = any(row.note or row.void for row in self.rows)
        heads = ["", *(COLUMNS[name][0] for name in names), *["spread"] * spread, *[""] * noted]
        lines = [line(heads), line(["---", *["--:"] * (len(names) + spread), *["---"] * noted])]
        for row in self.rows:
            cells = [shown(row.median(name), COLUMNS[name][1]) for name in names]
            cells += [shown(100 * row.spread, ".0f", " %")] * spread
            cells += [f"void: {row.void}" if row.void else row.note] * noted
            lines.append(line([row.name, *cells]))
        return "\n".join(lines)


def ratio(above: float, below: float) -> float:
    """How many times the one is the other; NaN where either is missing."""
    return above / below if below else math.nan


def shown(value: float, form: str, unit: str = "") -> str:
    """A number as tables show it; nothing where there is none."""
    return "" if math.isnan(value) else f"{value:{form}}{unit}"


def line(cells: Sequence[str]) -> str:
    """A line of a table in Markdown."""
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def replaced(page: str, name: str, text: str) -> str:
    """A page with `text` between its markers of this name; the rest stays as it is. Raises ValueError without them."""
    begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", page, re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no place for {name!r}")
    return f"{page[: found.start()]}{begin}\n\n{text}\n\n{end}{page[found.end() :]}"
