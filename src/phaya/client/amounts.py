"""JSON with money in it: amounts are Decimals, digit for digit; all other numbers are plain ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import orjson

AMOUNTS = frozenset({"amount", "needed", "available", "cap", "spent", "prices", "rates"})
"""Fields that hold credits, beside those whose name begins with `credits`."""


def read(content: bytes | str) -> Any:
    """Reads JSON. Raises ValueError."""
    return _told(json.loads(content, parse_float=Decimal), amount=False)


def written(value: object, spell: Callable[[Decimal], object] = lambda amount: orjson.Fragment(f"{amount:f}")) -> bytes:
    """Writes JSON; amounts as numbers, or as `spell` has them."""
    return orjson.dumps(value, default=lambda other: spell(cast("Decimal", other)), option=orjson.OPT_INDENT_2)


def texts(value: Any) -> Any:
    """The same value with its amounts as texts, which every reader of JSON keeps exact."""
    return orjson.loads(written(value, lambda amount: f"{amount:f}"))


def _told(value: Any, *, amount: bool) -> Any:
    """The value, where its numbers are amounts or not; a name that says so holds for all below it."""
    match value:
        case dict():
            pairs = cast("dict[str, Any]", value).items()
            return {name: _told(one, amount=amount or _is_amount(name)) for name, one in pairs}
        case list():
            return [_told(one, amount=amount) for one in cast("list[Any]", value)]
        case bool():
            return value
        case int():
            return Decimal(value) if amount else value
        case Decimal():
            return value if amount else float(value)
        case _:
            return value


def _is_amount(name: str) -> bool:
    return name in AMOUNTS or (name.startswith("credits") and not name.endswith("formatted"))
