"""What a KIE model takes: kinds of fields, and the check that answers as KIE does.

Types are strict as on KIE (`"5"` and `5` differ), unknown fields are ignored as on KIE, and a wrong
parameter is told by code 500 inside HTTP 200, as KIE does on its createTask route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

Input = Mapping[str, JsonValue]

LONGEST_ADDRESS = 4096


class Refusal(Exception):
    """A creation that is refused with a body code and KIE's text for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Text:
    """A text of `least` to `most` characters."""

    most: int
    least: int = 0
    required: bool = False
    default: str = ""

    def check(self, name: str, value: JsonValue) -> None:
        """Raises Refusal where the value is no such text."""
        if not isinstance(value, str):
            raise Refusal(500, f"{name} must be a string")
        if self.required and not value.strip():
            raise Refusal(500, f"{name} is required")
        if len(value) < self.least:
            raise Refusal(500, f"The length of {name} must be at least {self.least} characters")
        if len(value) > self.most:
            raise Refusal(500, f"The length of {name} cannot exceed {self.most} characters")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few texts."""

    options: tuple[str, ...]
    default: str
    required: bool = False

    def check(self, name: str, value: JsonValue) -> None:
        """Raises Refusal where the value is none of the options (a number is none, whatever it looks like)."""
        if value not in self.options:
            raise Refusal(500, f"This {name} is not within the range of allowed options")


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    default: bool = False
    required: bool = False

    def check(self, name: str, value: JsonValue) -> None:
        """Raises Refusal where the value is not a boolean."""
        if not isinstance(value, bool):
            raise Refusal(500, f"{name} must be a boolean")


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number from `least` to `most`."""

    least: float
    most: float
    default: float
    required: bool = False

    def check(self, name: str, value: JsonValue) -> None:
        """Raises Refusal where the value is no number of the range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refusal(500, f"{name} must be a number")
        if not self.least <= value <= self.most:
            raise Refusal(500, f"This {name} is not within the range of allowed options")


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of `least` to `most` texts; with `links`, of http(s) addresses."""

    most: int
    least: int = 0
    links: bool = False
    required: bool = False
    default: tuple[str, ...] = ()

    def check(self, name: str, value: JsonValue) -> None:
        """Raises Refusal where the value is no such list."""
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Refusal(500, f"{name} must be an array of strings")
        items = cast("list[str]", value)
        if len(items) < self.least:
            raise Refusal(500, f"{name} is required")
        if len(items) > self.most:
            raise Refusal(500, f"{name} cannot have more than {self.most} items")
        if self.links and not all(_is_link(item) for item in items):
            raise Refusal(500, f"{name} must contain valid URLs")


def _is_link(text: str) -> bool:
    return text.startswith(("http://", "https://")) and len(text) <= LONGEST_ADDRESS and text.isprintable()


def links(most: int, least: int = 0) -> Texts:
    """A list of addresses of files; one that must not be empty is required."""
    return Texts(most, least, links=True, required=least > 0)


Field = Text | Choice | Flag | Number | Texts


class Asked:
    """A checked input, with the defaults of what was left out."""

    def __init__(self, fields: Mapping[str, Field], given: Input) -> None:
        """Checks the given input; raises Refusal where KIE would refuse it."""
        self._fields = fields
        self._given = given
        for name, field in fields.items():
            if given.get(name) is not None:
                field.check(name, given[name])
            elif field.required:
                raise Refusal(500, "This field is required")

    def _value(self, name: str) -> object:
        field = self._fields.get(name)
        if field is None:
            return None
        value = self._given.get(name)
        return field.default if value is None else value

    def text(self, name: str) -> str:
        """A text, empty where the model has no such field."""
        value = self._value(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._value(name)
        return tuple(cast("list[str]", value)) if isinstance(value, list | tuple) else ()

    def number(self, name: str) -> float:
        """A number."""
        value = self._value(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def flag(self, name: str) -> bool:
        """A boolean."""
        return self._value(name) is True
