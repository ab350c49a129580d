"""Amounts of money. This module alone knows how many units one credit has.

A unit is a billionth of a credit: a chat token costs 10.5 millionths, so millionths would not hold the
exact price of 11 tokens (see docs/decisions/0002-unit-of-money.md). 64 bits hold nine billion credits.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import orjson

UNITS = 1_000_000_000
LARGEST = 2**63 - 1
DIGITS = 12


@dataclass(frozen=True, slots=True, order=True)
class Credits:
    """An exact amount of credits, possibly negative. Never a float."""

    units: int

    def __post_init__(self) -> None:
        if not -LARGEST <= self.units <= LARGEST:
            raise ValueError("the amount is larger than Phaya can hold")

    def __add__(self, other: Credits) -> Credits:
        return Credits(self.units + other.units)

    def __sub__(self, other: Credits) -> Credits:
        return Credits(self.units - other.units)

    def __neg__(self) -> Credits:
        return Credits(-self.units)

    def __mul__(self, factor: int) -> Credits:
        return Credits(self.units * factor)

    def __bool__(self) -> bool:
        return self.units != 0

    def __str__(self) -> str:
        """The shortest exact decimal: `8`, `0.0004655`, `-1.5`."""
        whole, part = divmod(abs(self.units), UNITS)
        sign = "-" if self.units < 0 else ""
        return f"{sign}{whole}.{part:09d}".rstrip("0").rstrip(".")

    def number(self) -> orjson.Fragment:
        """The amount as a JSON number, digit for digit."""
        return orjson.Fragment(str(self))


NOTHING = Credits(0)


def credits(amount: str | int | Decimal) -> Credits:
    """Reads an amount of credits such as `"8"` or `"0.17"`.

    Raises ValueError where the text is no finite number, or finer than a unit.
    """
    try:
        given = Decimal(amount)
        if given.adjusted() > DIGITS:  # an integer of a billion digits is not even tried
            raise ValueError(amount)
        units = given * UNITS
        exact = int(units)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise ValueError(f"{str(amount)[:40]!r} is not an amount of credits") from error
    if units != exact:
        raise ValueError(f"{amount} is finer than a billionth of a credit")
    return Credits(exact)


def per_million(rate: Credits, count: int) -> Credits:
    """The price of `count` tokens at `rate` credits a million, rounded up to a whole unit."""
    return Credits(-(-rate.units * count // 1_000_000))
