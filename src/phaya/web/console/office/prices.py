"""Prices: every service with its rates, what the operator's file changes, and what cannot be had. Read only, because
the tariff is a file: see docs/decisions/0011-tariff-file.md."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from phaya.credits import Credits
from phaya.tariff import Terms, standard
from phaya.tariff_file import NAME
from phaya.web.console.office.acts import hang
from phaya.web.console.office.makers import maker_of
from phaya.web.console.visit import Visit


@dataclass(frozen=True)
class Priced:
    """A service on the price list. Each rate has its name, what it is, and what it was before the operator's file."""

    path: str
    name: str
    maker: str
    rates: list[tuple[str, Credits, Credits | None]]
    terms: Terms
    added: bool
    closed: str | None


def install(router: APIRouter) -> None:
    """The page."""
    hang(router, "/prices", page)


async def page(visit: Visit) -> Response:
    """The price list."""
    phaya = visit.phaya
    tariff, closures, start = phaya.tariff, await phaya.offers.closures(), standard().terms
    listed: list[Priced] = []
    for path, terms in tariff.terms.items():
        service, before = tariff.services.get(path), start.get(path, terms).rates
        rates = [
            (name, amount, before[name] if name in before and before[name] != amount else None)
            for name, amount in terms.rates.items()
        ]
        closed = closures.get(path)
        name = path if service is None else service.name()
        maker = maker_of(tariff, path)
        listed.append(Priced(path, name, maker, rates, terms, path not in start, closed.message if closed else None))
    file = phaya.settings.config or phaya.settings.data_dir / NAME
    return await visit.render("office-prices.html", listed=listed, file=file, there=file.is_file())
