"""The README's quick start, block by block, for tests that do what a newcomer does."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"

# A block of the quick start has a name after its language: ```sh image
_BLOCK = re.compile(r"^```(?:sh|python) ([a-z]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def quick_start() -> dict[str, str]:
    """The named code blocks by name, in order: `serve`, `key`, `image`, `film`, `chat` (shell) and `python`.

    They read `PHAYA_BASE` and `PHAYA_API_KEY`; `python` imports httpx. Raises ValueError where two have one name.
    """
    blocks: dict[str, str] = {}
    for name, code in _BLOCK.findall(README.read_text(encoding="utf-8")):
        if name in blocks:
            raise ValueError(f"the README has two blocks named {name}")
        blocks[name] = code
    return blocks
