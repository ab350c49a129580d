"""Audit: what operators did, on every way in."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from phaya.deeds import ACTIONS
from phaya.errors import Fault, Invalid
from phaya.web.console.office.acts import ask, hang
from phaya.web.console.visit import Visit

PAGE = 50
FILTERS = ("actor", "action", "account", "day")


def install(router: APIRouter) -> None:
    """The page."""
    hang(router, "/audit", page)


async def page(visit: Visit) -> Response:
    """The log, newest first, as far as it is wanted."""
    query = visit.request.query_params
    wanted = {name: query.get(name, "").strip() for name in FILTERS}
    cursor = query.get("before", "")
    if cursor and (not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 18):
        raise Invalid(Fault("before", "must be the number of a line", place="query"))
    asked = {name: value or None for name, value in wanted.items()}
    found = await ask(visit, "audit list", **asked, before=int(cursor) if cursor else None, limit=PAGE)
    following = None
    if found["next"] is not None:
        following = "?" + urlencode(
            {**{name: value for name, value in wanted.items() if value}, "before": found["next"]}
        )
    return await visit.render(
        "office-audit.html", lines=found["lines"], following=following, wanted=wanted, actions=ACTIONS
    )  # fmt: skip
