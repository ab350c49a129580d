"""Credits: what came and went, what was spent by day and by service, and how more of them are had."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from phaya import ledger, payments, spending
from phaya.clock import DAY
from phaya.credits import NOTHING, Credits
from phaya.errors import Fault, Invalid, PhayaError
from phaya.payments import Payment, State
from phaya.web import topup
from phaya.web.answers import Json
from phaya.web.console import layout
from phaya.web.console.visit import Visit, add

DAYS = 14
ENTRIES = 50
PAYMENTS = 10
HEIGHT = 100
"""Units of the chart's height; it is scaled to its place."""
LONGEST_CODE = 100

# Currencies whose smallest unit is no hundredth, as Stripe counts them.
WHOLE = frozenset(
    {
        *("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga"),
        *("pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"),
    }
)
THOUSANDTHS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


def install(router: APIRouter) -> None:
    """The page, and its forms."""
    add(router, "/credits", page)
    add(router, "/credits/balance", balance)
    add(router, "/credits/voucher", redeem, "POST")
    add(router, "/credits/topup", buy, "POST")


async def page(visit: Visit) -> Response:
    """The statement's newest lines, two weeks of spending, and what can be bought."""
    paid = await _back_from_stripe(visit) if "paid" in visit.request.query_params else None
    if paid is None:
        return await _page(visit)
    if paid.state is State.PAID:
        return await _page(visit, good=visit.say("topup.paid", credits=paid.credits))
    return await _page(visit, good=visit.say("topup.coming", credits=paid.credits))


async def balance(visit: Visit) -> Response:
    """The balance as every page shows it, for a page that stays open."""
    await visit.polling()
    return Json({"balance": layout.rough(await visit.phaya.balance(visit.account_id))}, headers=FRESH)


async def redeem(visit: Visit) -> Response:
    """Takes a voucher's code."""
    code = visit.form.get("code", "").strip()
    try:
        await visit.admitted()
        if not 1 <= len(code) <= LONGEST_CODE:
            raise Invalid(Fault("code", visit.say("voucher.needed")))
        done = await topup.redeem_code(visit.phaya, visit.account_id, code)
    except Invalid as error:
        return await _page(visit, error.status, bad=error.faults[0].message, code=code)
    except PhayaError as error:
        return await _page(visit, error.status, bad=visit.tell(error), code=code)
    words = visit.say("voucher.done", credits=done.credits)
    if done.expires_at is not None:
        words += " " + visit.say("voucher.until", until=layout.moment(done.expires_at))
    return await _page(visit, good=words)


async def buy(visit: Visit) -> Response:
    """Begins a payment, and leads to Stripe by a page: a form itself may lead nowhere else."""
    await visit.admitted()
    packs = {pack.id: pack for pack in visit.phaya.checkout.packs}
    pack = packs.get(visit.form.get("pack", ""))
    if pack is None:
        return await _page(visit, 422, bad=visit.say("topup.gone"))
    home = f"{visit.phaya.public_url}/credits"
    try:
        _, url = await topup.begin_payment(visit.phaya, visit.account_id, pack, f"{home}?paid=1", f"{home}#add")
    except PhayaError as error:
        return await _page(visit, error.status, bad=visit.tell(error))
    return await visit.render(
        "checkout.html", url=url, credits=pack.credits, price=written_price(pack.price, pack.currency)
    )


async def _back_from_stripe(visit: Visit) -> Payment | None:
    """The account's last payment, asked after at Stripe if its event is still on the way."""
    last = await visit.phaya.database.read(payments.newest, visit.account_id, 1)
    return await visit.phaya.checkout.look(visit.account_id, last[0].id) if last else None


async def _page(
    visit: Visit, status: int = 200, *, good: str | None = None, bad: str | None = None, code: str = ""
) -> Response:
    database, now = visit.phaya.database, visit.phaya.clock.now()
    today = now // DAY
    spent = await database.read(spending.by_day, visit.account_id, (today - DAYS + 1) * DAY)
    days: dict[int, Credits] = dict.fromkeys(range(today - DAYS + 1, today + 1), NOTHING)
    services: dict[str, Credits] = {}
    for day, service, amount in spent:
        days[day] = days.get(day, NOTHING) + amount
        services[service] = services.get(service, NOTHING) + amount
    services = dict(sorted(services.items(), key=lambda one: one[1], reverse=True))
    bars = zip(services.items(), _heights(services), strict=True)
    paid = await database.read(payments.newest, visit.account_id, PAYMENTS)
    values: dict[str, Any] = {
        "entries": await database.read(ledger.statement, visit.account_id, ENTRIES),
        "days": [
            (_date(day), amount, height) for (day, amount), height in zip(days.items(), _heights(days), strict=True)
        ],
        "services": [(visit.name_of(service), amount, width) for (service, amount), width in bars],
        "name_of": visit.name_of,
        "packs": [(pack, written_price(pack.price, pack.currency)) for pack in visit.phaya.checkout.packs],
        "payments": [(one, written_price(one.price, one.currency)) for one in paid],
        "good": good,
        "bad": bad,
        "code": code,
        "example": topup.CODE,
        "most": max(days.values()),
        "total": sum(days.values(), NOTHING),
        "length": DAYS,
        "entries_shown": ENTRIES,
    }
    return await visit.render("credits.html", status, **values)


FRESH = {"Cache-Control": "no-store"}


def written_price(price: int, currency: str) -> str:
    """A price of so many of a currency's smallest units, as people write it: `1,000.00 THB`."""
    digits = 0 if currency in WHOLE else 3 if currency in THOUSANDTHS else 2
    return f"{Decimal(price).scaleb(-digits):,.{digits}f} {currency.upper()}"


def _heights(amounts: Mapping[int, Credits] | Mapping[str, Credits]) -> list[float]:
    """Each amount against the largest. For the eye only: money itself is never a float."""
    largest = max((amount.units for amount in amounts.values()), default=0) or 1
    return [round(max(amount.units, 0) / largest * HEIGHT, 1) for amount in amounts.values()]


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY / 1000, UTC).strftime("%d.%m.")
