"""Puts results of the long tests into docs/reliability.md, each between two markers of its own."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/reliability.md"


def write(name: str, text: str, page: Path = PAGE) -> None:
    """Replaces what stands between the markers of `name`. Raises ValueError where the page has none."""
    whole = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: printed -->", f"<!-- {name}: end -->"
    changed, count = re.subn(
        re.escape(begin) + r".*?" + re.escape(end), lambda _: f"{begin}\n\n{text}\n\n{end}", whole, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{page.name} has {count} places for {name}")
    page.write_text(changed, encoding="utf-8")
