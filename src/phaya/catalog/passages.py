"""Long texts in passages that a voice reads well, and how long they take to say.

A model's voice drifts in long readings, and one answer holds about eleven minutes at the most. So a text is cut,
where its sentences end if it can be. Thai has no full stops and no spaces between words: it is cut at a space
or a line's end, and where there is none between two signs, but never inside one (a vowel or tone mark belongs to
its consonant).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from functools import cache
from itertools import accumulate

LONGEST_SECONDS = 75.0
"""A passage's usual length at the most; one that is read very slowly is still far from the model's limit."""
LONGEST_TEXT = 1500
"""Characters of a passage at the most, whatever they are."""

# How long a sign usually takes to say, in seconds, by what it is. Numbers are said in words.
_LATIN, _THAI, _SYLLABLE, _IDEOGRAPH, _DIGIT, _SYMBOL, _SPACE, _LINE = 1 / 15, 1 / 12, 0.16, 0.2, 0.25, 0.05, 0.03, 0.3

# Where a text may be cut, best first: after a paragraph, a sentence, a line, a clause, a word.
_BORDERS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\n\s*\n\s*",
        r"[.!?…]+[\"')\]”’]*\s+|[。！？]+[”」』）]*\s*|\n\s*",
        r"[;:,،]\s+|[、，；：]\s*|[ๆฯ]\s+",
        r"\s+",
    )
)
# Vowels that are written before their consonant, and what glues two signs to one.
_THAI_BEFORE, _JOINERS = frozenset("เแโใไ"), frozenset("\u200d\ufe0e\ufe0f")


def passages(text: str) -> list[str]:
    """The text in passages; joined, they are the text again."""
    ends = [0.0, *accumulate(map(_weight, text))]
    found: list[str] = []
    start = 0
    while start < len(text):
        last = min(len(text), start + LONGEST_TEXT)
        while ends[last] - ends[start] > LONGEST_SECONDS:
            last = start + max(1, (last - start) * 9 // 10)
        end = len(text) if last == len(text) else _border(text, start, last)
        found.append(text[start:end])
        start = end
    return found


def usual_seconds(text: str) -> float:
    """How long the text takes to say at a usual pace."""
    return math.fsum(_weight(sign) * count for sign, count in Counter(text).items())


def is_speakable(text: str) -> bool:
    """Whether there is a letter or a number to say."""
    return any(sign.isalnum() for sign in text)


def _border(text: str, start: int, last: int) -> int:
    """The best place to cut in the second half of the window."""
    half = start + max(1, (last - start) // 2)
    for border in _BORDERS:
        places = [match.end() for match in border.finditer(text, half, last)]
        if places:
            return places[-1]
    for place in range(last, half, -1):
        if not _inside_a_sign(text, place):
            return place
    return last


def _inside_a_sign(text: str, place: int) -> bool:
    before, after = text[place - 1], text[place]
    if before in _THAI_BEFORE or before in _JOINERS or after in _JOINERS:
        return True
    return unicodedata.category(after).startswith("M") or after in "\u0e33\u0e30\u0e32\u0e45"


@cache
def _weight(sign: str) -> float:
    code, kind = ord(sign), unicodedata.category(sign)
    if kind.startswith("M"):  # a mark is said with its letter; Thai's are counted as the letters they sound as
        return _THAI if 0x0E00 <= code <= 0x0EFF else 0.0
    if sign == "\n":
        return _LINE
    if kind in ("Nd", "No", "Nl"):
        return _DIGIT
    if kind.startswith("L"):
        if 0x0E00 <= code <= 0x0EFF:
            return _THAI
        if 0x3040 <= code <= 0x30FF or 0xAC00 <= code <= 0xD7AF:
            return _SYLLABLE
        return _IDEOGRAPH if code >= 0x3400 else _LATIN
    if kind.startswith("S"):
        return _SYMBOL
    return _SPACE
