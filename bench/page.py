"""docs/performance.md: tables between markers that a run replaces, and prose around them that is kept."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from figures import Part, replaced

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = Path(__file__).with_name("results.json")
"""The readings that the page was printed from, each repeat."""


def stamp() -> str:
    """When, and of which commit."""
    asked = ("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "no commit"
    return f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, {commit}"


def write(parts: Sequence[Part]) -> list[Path]:
    """Puts what was measured into the page; answers which files changed."""
    kept = {part.name: part for part in load(RESULTS)} | {part.name: part for part in parts}
    save(RESULTS, list(kept.values()))
    PAGE.write_text(printed(PAGE.read_text(encoding="utf-8"), list(kept.values())), encoding="utf-8")
    return [PAGE, RESULTS]


def keep(folder: Path, parts: Sequence[Part]) -> list[Path]:
    """Leaves the page alone and keeps tables and readings in a folder."""
    save(folder / "results.json", parts)
    tables = folder / "tables.md"
    tables.write_text("\n\n".join(f"## {part.title}\n\n{part.table()}" for part in parts) + "\n", encoding="utf-8")
    return [tables, folder / "results.json"]


def printed(page: str, parts: Sequence[Part]) -> str:
    """The page with the tables of these parts."""
    for part in parts:
        page = replaced(page, part.name, f"{part.table()}\n\n{part.stamp}")
    return page


def load(file: Path) -> list[Part]:
    """The parts that were saved, if any."""
    return [Part.of(plain) for plain in orjson.loads(file.read_bytes())] if file.exists() else []


def save(file: Path, parts: Sequence[Part]) -> None:
    """Saves parts with every reading."""
    file.write_bytes(orjson.dumps([part.plain() for part in parts], option=orjson.OPT_INDENT_2) + b"\n")
