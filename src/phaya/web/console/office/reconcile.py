"""Reconcile: jobs that may have cost us something that their user did not pay."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from phaya.web.console.office.acts import acted, ask, hang
from phaya.web.console.visit import Visit
from phaya.web.jobs import cursor_behind, read_cursor

PAGE = 50


def install(router: APIRouter) -> None:
    """The page and its forms."""
    hang(router, "/reconcile", page)
    hang(router, "/reconcile/{job}/look", look, "POST")
    hang(router, "/reconcile/{job}/close", close, "POST")


async def page(visit: Visit) -> Response:
    """The list."""
    return await _page(visit)


async def look(visit: Visit) -> Response:
    """Asks the provider about a job now."""
    job = visit.request.path_params["job"]
    answer = await acted(visit, _page, "/operator/reconcile", "reconcile look", job=job)
    visit.phaya.workflow.wake()
    return answer


async def close(visit: Visit) -> Response:
    """Ends the looking, and takes a job off the list."""
    job, reason = visit.request.path_params["job"], visit.form.get("reason", "")
    return await acted(visit, _page, "/operator/reconcile", "reconcile close", job=job, reason=reason)


async def _page(visit: Visit, status: int = 200, message: str | None = None) -> Response:
    query = visit.request.query_params
    everything = query.get("all") == "1"
    after = read_cursor(query["cursor"]) if query.get("cursor") else None
    found = await ask(visit, "reconcile list", all=everything, after=after, limit=PAGE)
    following = found["next"] and cursor_behind(*found["next"])
    return await visit.render(
        "office-reconcile.html", status, jobs=found["jobs"], following=following, everything=everything,
        message=message,
    )  # fmt: skip
