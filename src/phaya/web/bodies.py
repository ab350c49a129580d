"""What JSON can be read and yet not be kept, nor written again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from phaya.errors import Fault

DEEPEST = 100
"""Lists and objects that may stand within one another. orjson reads 1024 and writes 254, and Python's own stack ends in
between; a request is written into its row, and within what is sent to the provider."""


def unfit(value: Any, body: bytes | bytearray) -> Fault | None:
    """What is wrong with the value of a JSON body, whose bytes spare most of them a closer look; None where nothing."""
    if body.count(b"[") + body.count(b"{") > DEEPEST and _deeper(value, DEEPEST):
        return Fault("body", f"must not have more than {DEEPEST} lists and objects within one another", "too_deep")
    if b"\\u0000" in body and (field := _with_nul(value)) is not None:
        return Fault(field or "body", "must not hold the character U+0000", "nul")
    return None


def _deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [one for outer in level for one in _within(outer) if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _within(value: Any) -> Iterable[Any]:
    return cast("Mapping[str, Any]", value).values() if isinstance(value, dict) else value


def _with_nul(value: Any, name: str = "") -> str | None:
    """Where the character U+0000 is, which PostgreSQL cannot keep."""
    if isinstance(value, str):
        return name if "\0" in value else None
    if isinstance(value, list):
        inner = ((_with_nul(one, name)) for one in value)  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(value, dict):
        if any("\0" in field for field in value):  # pyright: ignore[reportUnknownVariableType]
            return name
        inner = (_with_nul(one, name or field) for field, one in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    else:
        return None
    return next((field for field in inner if field is not None), None)
