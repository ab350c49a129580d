"""Vouchers and payments: codes that are made and ended here, and what Stripe told."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from phaya.errors import Fault, Invalid, PhayaError
from phaya.web.console.office.acts import act, acted, ask, hang, typed
from phaya.web.console.visit import Visit

SHOWN = 50
"""Of each, the newest."""


def install(router: APIRouter) -> None:
    """The page and its forms."""
    hang(router, "/vouchers", page)
    hang(router, "/vouchers", make, "POST")
    hang(router, "/vouchers/{voucher}/revoke", revoke, "POST")


async def page(visit: Visit) -> Response:
    """Vouchers, payments, and events that need somebody."""
    return await _page(visit)


async def make(visit: Visit) -> Response:
    """New vouchers, whose codes are in this answer only. The form carries a key, so that sending it twice makes them
    once and shows them again."""
    try:
        values: dict[str, Any] = {name: _count(visit, name) or 1 for name in ("count", "uses")}
        values |= {"credits": visit.form.get("credits", ""), "grant_days": _count(visit, "grant_days")}
        values |= {"expires": typed(visit, "expires"), "note": visit.form.get("note", "").strip()}
        values |= {"once": visit.form.get("once", "")[:100] or None}
        made = await act(visit, "vouchers create", **values)
    except PhayaError as error:
        return await _page(visit, error.status, error.message)
    return await _page(visit, codes=[voucher["code"] for voucher in made["vouchers"]])


async def revoke(visit: Visit) -> Response:
    """Ends a voucher; what it brought stays."""
    voucher = visit.request.path_params["voucher"]
    return await acted(visit, _page, "/operator/vouchers", "vouchers revoke", id=voucher)


async def _page(
    visit: Visit, status: int = 200, message: str | None = None, *, codes: list[str] | None = None
) -> Response:
    found: dict[str, Any] = {}
    for name, command in (("vouchers", "vouchers list"), ("payments", "payments list"), ("events", "payments events")):
        found[name] = (await ask(visit, command, newest=SHOWN))[name]
    return await visit.render(
        "office-vouchers.html", status, message=message, codes=codes, shown=SHOWN, once=str(uuid.uuid4()), **found
    )  # fmt: skip


def _count(visit: Visit, name: str) -> int | None:
    """A whole number that was typed. Raises Invalid."""
    text = typed(visit, name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise Invalid(Fault(name, "must be a whole number"))
    return int(text)
