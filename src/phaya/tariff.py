"""What is sold, and on what terms: the catalog as the operator's file leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from pydantic import JsonValue

from phaya.breaker import Patience
from phaya.catalog import CATALOG
from phaya.catalog.embedding import EmbeddingRequest
from phaya.catalog.language import ChatRequest
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits, credits
from phaya.errors import Closed

OFF_SECONDS = 3600
"""What `Retry-After` says of a service that the operator has switched off."""

TOKENS: Mapping[str, Rates] = {
    ChatRequest.path: ChatRequest.rates,
    EmbeddingRequest.path: EmbeddingRequest.rates,
}
"""What is sold by tokens, in credits for a million of each kind."""


def write_rates(rates: Rates) -> str:
    """Rates as text, for a job's row."""
    return orjson.dumps({name: str(amount) for name, amount in rates.items()}).decode()


def read_rates(text: str) -> Rates:
    """What `write_rates` wrote."""
    return {name: credits(amount) for name, amount in orjson.loads(text).items()}


@dataclass(frozen=True)
class Stand:
    """A service that may carry out another's request, with fields that are fixed for it."""

    service: type[Generation]
    fixed: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True)
class Terms:
    """How one service is sold. `via` is empty where it carries out its requests itself, and only itself."""

    rates: Rates
    off: bool = False
    reason: str = ""
    substitute: str | None = None
    via: tuple[Stand, ...] = ()


@dataclass(frozen=True)
class Pack:
    """Credits that are sold together; `price` is in the currency's smallest unit, as Stripe counts, before taxes."""

    credits: Credits
    price: int
    currency: str

    @property
    def id(self) -> str:
        """Its name, such as `100-thb`."""
        return f"{self.credits}-{self.currency}"


@dataclass(frozen=True)
class TopUp:
    """How credits are sold. Stripe computes the `tax` and writes the `invoices` where it is to; without a `return_url`
    its customers come back to a page of ours."""

    packs: tuple[Pack, ...] = ()
    tax: bool = False
    invoices: bool = False
    return_url: str = ""


@dataclass(frozen=True)
class Tariff:
    """The services on sale by path, and everything's terms by path."""

    services: Mapping[str, type[Generation]]
    terms: Mapping[str, Terms]
    patience: Patience = field(default_factory=Patience)
    declared: Mapping[str, str] = field(default_factory=dict[str, str])
    """KIE's names of the models that the operator added, each with the model that the sandbox plays for it."""
    topup: TopUp = field(default_factory=TopUp)

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything that is sold."""
        return tuple(self.terms)

    def rates(self, path: str) -> Rates:
        """The rates in force."""
        return self.terms[path].rates

    def closed(self, path: str) -> Closed | None:
        """Why a service is off, if it is."""
        terms = self.terms[path]
        if not terms.off:
            return None
        sentence = terms.reason or f"{path} is off at the moment."
        if terms.substitute:
            sentence += f" Use {terms.substitute} instead."
        return Closed(f"{sentence} Nothing was charged.", OFF_SECONDS)

    def serve(self, path: str) -> None:
        """Raises Closed where the service is off."""
        if closed := self.closed(path):
            raise closed


def standard() -> Tariff:
    """The catalog's own services and prices."""
    services = {service.path: service for service in CATALOG}
    return Tariff(
        services,
        {path: Terms(service.rates) for path, service in services.items()}
        | {path: Terms(rates) for path, rates in TOKENS.items()},
    )
