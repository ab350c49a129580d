"""What is known of a file once it was decoded, read from the answers of a child that a hostile file may have taken
over: every number is looked at before anybody counts on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, cast

from phaya.decoding.formats import FASTEST, SLOWEST

LONGEST_WORD = 200
LARGEST_SIDE = 100_000
"""Of one side, in any format that is taken."""
MOST_SECONDS = 1e9

Kind = Literal["image", "video", "audio"]


class Garbled(Exception):
    """A child's answer that means nothing, or cannot be."""


@dataclass(frozen=True)
class Measured:
    """What a file is. Sizes in pixels (0 for sound), `seconds` of playing time (0 for pictures)."""

    kind: Kind
    content_type: str
    extension: str
    width: int
    height: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Clip:
    """A film or sound: pixels as seen (upright, square; 0 for sound), frames a second, seconds of film (of sound
    where there is no film), whether it sounds, and whether its film can be kept as it is in an mp4."""

    width: int
    height: int
    rate: Fraction
    seconds: float
    sounds: bool
    plays_anywhere: bool


@dataclass(frozen=True)
class Contents:
    """What a rendered film holds: the codecs of its streams, pictures, and seconds as its header says."""

    codecs: tuple[str, ...]
    pictures: int
    seconds: float


class Answer:
    """A child's answer, read field by field. Every reading raises Garbled where the field is not what it must be."""

    def __init__(self, fields: object) -> None:
        if not isinstance(fields, dict):
            raise Garbled("no object")
        self._fields = cast("Mapping[str, Any]", fields)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def whole(self, name: str, least: int, most: int) -> int:
        """A whole number."""
        value = self._fields.get(name)
        if type(value) is not int or not least <= value <= most:
            raise Garbled(name)
        return value

    def seconds(self, name: str = "seconds") -> float:
        """A length of time, zero or more."""
        value = self._fields.get(name)
        if type(value) not in (int, float):
            raise Garbled(name)
        value = float(cast("float", value))
        if not (math.isfinite(value) and 0 <= value <= MOST_SECONDS):
            raise Garbled(name)
        return value

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self._fields.get(name)
        if type(value) is not bool:
            raise Garbled(name)
        return value

    def text(self, name: str) -> str:
        """A short text of one line."""
        value = self._fields.get(name)
        if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_WORD:
            raise Garbled(name)
        return value

    def part(self, name: str) -> Answer:
        """An object within."""
        return Answer(self._fields.get(name))

    def clip(self) -> Clip:
        """What `streams.look_at` found."""
        width, height = self.whole("width", 0, LARGEST_SIDE), self.whole("height", 0, LARGEST_SIDE)
        rate = Fraction(self.whole("frames", 1, 10**9), self.whole("per", 1, 10**9))
        seconds = self.seconds()
        if not SLOWEST <= rate <= FASTEST or not seconds:
            raise Garbled("rate" if seconds else "seconds")
        return Clip(width, height, rate, seconds, self.truth("sounds"), self.truth("plays_anywhere"))

    def contents(self) -> Contents:
        """What `streams.contents` found."""
        codecs = self.text("codecs")
        return Contents(tuple(codecs.split()), self.whole("pictures", 0, 10**9), self.seconds())
