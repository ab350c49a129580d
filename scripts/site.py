"""Builds the documentation site into site/: zensical.toml, with the navigation that docs/README.md lists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FOLDERS = {"services.md": "services", "decisions/README.md": "decisions"}
"""Pages with a folder of pages of their own."""


def navigation(index: str) -> list[tuple[str, list[str]]]:
    """The headings of the index, each with the pages that are linked under it, and the pages of their folders."""
    sections: list[tuple[str, list[str]]] = []
    for line in index.splitlines():
        if line.startswith("For "):
            sections.append((line.rstrip(":"), []))
        elif linked := re.match(r"- \[[^\]]*\]\(([^)]+)\)", line):
            sections[-1][1].append(linked[1])
    return sections


def pages(page: str) -> list[str]:
    """A page and, in order of their names, those of its folder."""
    folder = FOLDERS.get(page)
    beside = sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / folder).glob("*.md")) if folder else []
    return [page, *(path for path in beside if path != page)]


def configuration(settings: str, index: str) -> str:
    """The settings with their navigation. What JSON writes as text and list, TOML reads as such."""
    entries = ['"README.md"']
    for title, listed in navigation(index):
        inside = [
            json.dumps(page) if page not in FOLDERS else f"{{ {json.dumps(_title(page))} = {json.dumps(pages(page))} }}"
            for page in listed
        ]
        entries.append(f"{{ {json.dumps(title)} = [{', '.join(inside)}] }}")
    return settings.replace("[project]\n", f"[project]\nnav = [{', '.join(entries)}]\n", 1)


def _title(page: str) -> str:
    heading = re.search(r"^# (.+)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return heading[1] if heading else page


def main() -> int:
    """Builds; a link or an anchor that leads nowhere fails."""
    file = ROOT / ".site.toml"  # beside docs/, because its paths are relative to it
    settings = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    file.write_text(configuration(settings, index), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(file)]
        return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603 - our own words
    finally:
        file.unlink()


if __name__ == "__main__":
    sys.exit(main())
