"""The named blocks of code in the documents, for tests that do what a newcomer or an operator does."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# A block that is run has a name after its language: ```sh image
_BLOCK = re.compile(r"^```(?:sh|python) ([a-z]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def quick_start() -> dict[str, str]:
    """The README's blocks by name, in order: `serve`, `key`, `image`, `film`, `chat` (shell) and `python`.

    They read `PHAYA_BASE` and `PHAYA_API_KEY`; `python` imports httpx.
    """
    return named_blocks("README.md")


def named_blocks(document: str) -> dict[str, str]:
    """A document's blocks by name, in order. Raises ValueError where two have one name."""
    blocks: dict[str, str] = {}
    for name, code in _BLOCK.findall((ROOT / document).read_text(encoding="utf-8")):
        if name in blocks:
            raise ValueError(f"{document} has two blocks named {name}")
        blocks[name] = code
    return blocks
