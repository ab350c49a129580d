"""The reference pages, printed from the code that they describe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from phaya.reference.commands import cli_page
from phaya.reference.methods import methods_module
from phaya.reference.services import price_list, service_pages
from phaya.reference.settings import settings_page
from phaya.reference.skill import skill_page

__all__ = ["main", "pages", "price_list", "settings_page"]

ROOT = Path(__file__).resolve().parents[3]


def pages() -> dict[str, str]:
    """The text of each page, by its place in the project."""
    return {
        "docs/services.md": price_list(),
        **{f"docs/services/{name}": text for name, text in service_pages().items()},
        "docs/settings.md": settings_page(),
        "docs/cli.md": cli_page(),
        "skill/SKILL.md": skill_page(),
        "src/phaya/client/services.py": methods_module(),
    }


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Writes the pages below `root`, or compares them with `--check`; answers the exit code.

    A page of a service that is no longer sold is stale too, and removed.
    """
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m phaya.reference [--check]\n")
        return 2
    wanted = pages()
    stale = 0
    for file in (root / "docs/services").glob("*.md"):
        if str(file.relative_to(root)) not in wanted:
            stale += 1
            sys.stderr.write(f"{file} is of no service; 'make docs' removes it\n")
            if not arguments:
                file.unlink()
    for name, text in wanted.items():
        file = root / name
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if arguments:
            sys.stderr.write(f"{file} is stale; 'make docs' prints it anew\n")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            sys.stderr.write(f"wrote {file}\n")
    return 1 if stale and arguments else 0
