"""Credits: what came and went, and what was spent by day and by service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.responses import Response

from phaya import ledger, spending
from phaya.clock import DAY
from phaya.credits import NOTHING, Credits
from phaya.web.console.visit import Visit, add

DAYS = 14
ENTRIES = 50
HEIGHT = 100
"""Units of the chart's height; it is scaled to its place."""


def install(router: APIRouter) -> None:
    """The page."""
    add(router, "/credits", page)


async def page(visit: Visit) -> Response:
    """The statement's newest lines, and two weeks of spending."""
    database, now = visit.phaya.database, visit.phaya.clock.now()
    today = now // DAY
    spent = await database.read(spending.by_day, visit.account_id, (today - DAYS + 1) * DAY)
    days: dict[int, Credits] = dict.fromkeys(range(today - DAYS + 1, today + 1), NOTHING)
    services: dict[str, Credits] = {}
    for day, service, amount in spent:
        days[day] = days.get(day, NOTHING) + amount
        services[service] = services.get(service, NOTHING) + amount
    bars = zip(services.items(), _heights(services), strict=True)
    return await visit.render(
        "credits.html", entries=await database.read(ledger.statement, visit.account_id, ENTRIES),
        days=[(_date(day), amount, height) for (day, amount), height in zip(days.items(), _heights(days), strict=True)],
        services=[(service, amount, width) for (service, amount), width in bars],
        total=sum(days.values(), NOTHING), length=DAYS, entries_shown=ENTRIES,
    )  # fmt: skip


def _heights(amounts: Mapping[int, Credits] | Mapping[str, Credits]) -> list[float]:
    """Each amount against the largest. For the eye only: money itself is never a float."""
    largest = max((amount.units for amount in amounts.values()), default=0) or 1
    return [round(max(amount.units, 0) / largest * HEIGHT, 1) for amount in amounts.values()]


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY / 1000, UTC).strftime("%d.%m.")
