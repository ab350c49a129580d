"""The sandbox's tokens: pieces of text, cut by a rule that anybody can repeat."""

from __future__ import annotations

import re

# A word of up to six letters with the space before it, or up to three signs of any other kind (Thai has no
# spaces, and a token of it holds about three signs), or what is left of white space.
_PIECE = re.compile(r" ?[A-Za-z0-9]{1,6}| ?[^\sA-Za-z0-9]{1,3}|\s")

PICTURE = 258  # tokens of a picture in a message
FRAME = 4  # tokens around every message


def pieces(text: str) -> list[str]:
    """The text in tokens; joined, they are the text again."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """How many tokens the text has."""
    return sum(1 for _ in _PIECE.finditer(text))
