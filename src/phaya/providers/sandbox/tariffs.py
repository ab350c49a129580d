"""A model's row: what it takes, what KIE charges for it, how long the sandbox needs, what is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from phaya.providers.sandbox.fields import Asked, Field, Input
from phaya.providers.sandbox.products import Character, Film, Picture, Song


@dataclass(frozen=True)
class Model:
    """One row: `seconds` is how long a task takes, `price` is in KIE's credits, `takes` how many results come."""

    name: str
    fields: Mapping[str, Field]
    seconds: float
    price: Callable[[Asked], Decimal]
    product: Callable[[Asked], Picture | Film | Song | Character]
    takes: int = 1

    def asked(self, given: Input) -> Asked:
        """The checked input. Raises Refusal."""
        return Asked(self.fields, given)


def flat(credits: str) -> Callable[[Asked], Decimal]:
    """One price for whatever is asked."""
    return lambda asked: Decimal(credits)


def by(name: str, credits: Mapping[str, str]) -> Callable[[Asked], Decimal]:
    """A price by the value of one field."""
    return lambda asked: Decimal(credits[asked.text(name)])
