"""Queue: jobs by lane and state, what is due, and those of all accounts that have not ended, with their end at the
operator's wish."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.responses import Response

from phaya import backlog, jobs
from phaya.backlog import Flight
from phaya.clock import MINUTE
from phaya.errors import PhayaError
from phaya.providers.roster import LANES
from phaya.web.console.office.acts import act, hang
from phaya.web.console.visit import Visit
from phaya.web.jobs import cursor_behind, read_cursor

PAGE = 50


def install(router: APIRouter) -> None:
    """The page and its form."""
    hang(router, "/queue", page)
    hang(router, "/queue/{job}/cancel", cancel, "POST")


async def page(visit: Visit) -> Response:
    """The queue."""
    return await _page(visit)


async def cancel(visit: Visit) -> Response:
    """Ends a job and gives its credits back to whoever bought it."""
    workflow, job = visit.phaya.workflow, visit.request.path_params["job"]
    try:
        grace = workflow.scaled(MINUTE)
        await act(visit, "jobs cancel", job=job, reason=visit.form.get("reason", ""), grace=grace)
    except PhayaError as error:
        return await _page(visit, error.status, error.message)
    workflow.wake()
    workflow.spread()
    workflow.changed(job)
    return visit.back("/operator/queue")


async def _page(visit: Visit, status: int = 200, message: str | None = None) -> Response:
    now, cursor = visit.phaya.clock.now(), visit.request.query_params.get("cursor")
    after = read_cursor(cursor) if cursor else None

    def read(connection: Connection) -> dict[str, Any]:
        return {
            "lanes": backlog.lanes(connection, LANES, now),
            "steps": sorted(jobs.count_open(connection).items()),
            "services": backlog.services(connection),
            "flights": backlog.flights(connection, after, PAGE + 1),
        }

    found = await visit.phaya.database.read(read)
    flights: list[Flight] = found.pop("flights")
    following = cursor_behind(flights[PAGE - 1].created_at, flights[PAGE - 1].id) if len(flights) > PAGE else None
    values = {**found, "flights": flights[:PAGE], "following": following, "now": now, "message": message}
    return await visit.render("office-queue.html", status, **values)
