"""docs/performance.md and its chart: what a run replaces between markers, and prose around it that is kept."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

import chats
import creations
import goals
import machine
import polls
from chart import Bar, Panel, drawn
from figures import Part, Row, replaced

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "assets" / "performance.svg"
RESULTS = Path(__file__).with_name("results.json")
"""Every reading that the page was printed from."""
AT = 64


def stamp() -> str:
    """When, and of which commit; what is measured is `src`, whatever else has changed."""
    commit = _git("rev-parse", "--short=8", "HEAD") or "no commit"
    changed = " with changes" if _git("status", "--porcelain", "--", "src") else ""
    return f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, commit {commit}{changed}"


def _git(*words: str) -> str:
    return subprocess.run(("git", "-C", str(ROOT), *words), capture_output=True, text=True, check=False).stdout.strip()


def setting(folder: Path) -> str:
    """The machine and all versions, as a list."""
    told = machine.versions() | {
        "Disk": f"{machine.syncs(folder):,.0f} times a second 4 KiB are written and synced, one after another"
    }
    return "\n".join(f"- {name}: {value}" for name, value in told.items())


def write(parts: Sequence[Part], where: str) -> list[Path]:
    """Puts what was measured into the page, beside what older runs measured; answers which files were written."""
    known = {part.name: part for part in load(RESULTS)} | {part.name: part for part in parts}
    page = PAGE.read_text(encoding="utf-8")
    for part in parts:
        page = replaced(page, part.name, f"{part.table()}\n\n{footing(part)}")
    page = replaced(page, "goals", goals.table(list(known.values())))
    PAGE.write_text(replaced(page, "machine", where), encoding="utf-8")
    CHART.write_text(chart(known), encoding="utf-8")
    save(RESULTS, list(known.values()))
    return [PAGE, CHART, RESULTS]


def keep(folder: Path, parts: Sequence[Part]) -> list[Path]:
    """Leaves the page alone and keeps tables, chart and readings in a folder."""
    tables, results, picture = folder / "tables.md", folder / "results.json", folder / "performance.svg"
    shown = [f"## {part.title}\n\n{part.table()}\n\n{footing(part)}" for part in parts]
    tables.write_text("\n\n".join([*shown, "## Goals", goals.table(parts)]) + "\n", encoding="utf-8")
    picture.write_text(chart({part.name: part for part in parts}), encoding="utf-8")
    save(results, parts)
    return [tables, picture, results]


def footing(part: Part) -> str:
    """What stands below a part's table."""
    busy = (
        "" if math.isnan(part.others) else f"; other programs used {100 * part.others:.0f} % of the machine meanwhile"
    )
    return f"Measured {part.stamp}{busy}."


def chart(parts: Mapping[str, Part]) -> str:
    """The chart: polls and creations a second, chats per CPU-second, memory of the gateways."""
    status, create, chat = (parts.get(name, Part(name, "", [])) for name in ("status", "create", "chat"))
    floors = parts.get("floors", Part("floors", "", []))

    def bar(name: str, part: Part, row: str, reading: str, *, ours: bool = True) -> Bar:
        found = _beginning(part, row)
        return Bar(name, math.nan if found is None else found.median(reading), ours)

    panels = [
        Panel(
            f"Status polls a second, {AT} connections, one core",
            [
                bar("bare ASGI hello", status, polls.BARE, "rate", ours=False),
                bar("FastAPI hello", floors, "FastAPI hello", "rate", ours=False),
                bar("Phaya, finished job", status, polls.FINISHED, "rate"),
                bar("Phaya, many different jobs", status, polls.MANY, "rate"),
            ],
        ),
        Panel(
            "Creations a second, validated, charged and durable",
            [
                bar(f"{engine}, {accounts}", create, f"{title}: {name}", "rate")
                for engine, title in zip(("SQLite", "PostgreSQL"), creations.ENGINES.values(), strict=True)
                for name, accounts in ((creations.SPREAD, "1,000 accounts"), (creations.HOT, "1 account"))
            ],
        ),
        Panel(
            f"Chats in a second of processor time, {AT} connections",
            [
                bar(name, chat, name, "each", ours=name == chats.PHAYA)
                for name in (chats.LITELLM, chats.PORTKEY, chats.PHAYA)
            ],
        ),
        Panel(
            "Memory while chats pass, MB",
            [
                bar(name, chat, name, "memory", ours=name == chats.PHAYA)
                for name in (chats.LITELLM, chats.PORTKEY, chats.PHAYA)
            ],
        ),
    ]
    return drawn(panels, "Phaya beside the floors and beside other gateways; the tables below have all numbers.")


def _beginning(part: Part, name: str) -> Row | None:
    """The first row at the chart's number of connections whose name begins so: versions follow names."""
    rows = (row for row in part.rows if row.name.startswith(name))
    return next((row for row in rows if row.readings.get("connections", [AT])[0] == AT), None)


def load(file: Path) -> list[Part]:
    """The parts that were saved, if any."""
    return [Part.of(plain) for plain in orjson.loads(file.read_bytes())] if file.exists() else []


def save(file: Path, parts: Sequence[Part]) -> None:
    """Saves parts with every reading."""
    file.write_bytes(orjson.dumps([part.plain() for part in parts], option=orjson.OPT_INDENT_2) + b"\n")
