"""Jobs: the list, one job with its time line, its live progress, and its end before time."""

from __future__ import annotations

import contextlib
from functools import partial

from fastapi import APIRouter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from phaya import jobs
from phaya.errors import Fault, Invalid
from phaya.jobs import ERASED, Search, State
from phaya.web.console.shown import as_curl, is_call, show
from phaya.web.console.visit import Visit, add
from phaya.web.generations import call_off
from phaya.web.jobs import CALLS, any_job, read_cursor, told, write_cursor
from phaya.web.waits import event_answer

PAGE = 30


def install(router: APIRouter) -> None:
    """The pages."""
    add(router, "/jobs", listing)
    add(router, "/jobs/{job}", one)
    add(router, "/jobs/{job}/part", part)
    add(router, "/jobs/{job}/events", events)
    add(router, "/jobs/{job}/cancel", cancel, "POST")


async def listing(visit: Visit) -> Response:
    """Jobs and calls of the account, newest first."""
    found, following, state = await page_of(visit, (*visit.phaya.tariff.services, *CALLS), PAGE)
    return await visit.render(
        "jobs.html", jobs=[show(visit, job) for job in found], following=following, state=state, states=list(State)
    )


async def page_of(
    visit: Visit, services: tuple[str, ...], size: int, *only: State
) -> tuple[list[jobs.Job], str | None, str]:
    """A page of jobs as the address asks for it, the cursor behind it, and the chosen state. Raises Invalid."""
    query = visit.request.query_params
    chosen = query.get("state", "")
    if chosen and chosen not in set(State):
        raise Invalid(Fault("state", f"must be one of {', '.join(State)}", "enum", "query"))
    states = only or ((State(chosen),) if chosen else ())
    before = read_cursor(query["cursor"]) if query.get("cursor") else None
    search = Search(dict.fromkeys(services, states), before=before)
    found = await visit.phaya.database.read(jobs.history, visit.account_id, search, size + 1)
    following = write_cursor(found[size - 1]) if len(found) > size else None
    return found[:size], following, chosen


async def one(visit: Visit) -> Response:
    """One job."""
    job = await any_job(visit.phaya, visit.caller, visit.request.path_params["job"])
    service = visit.phaya.tariff.services.get(job.service)
    curl = as_curl(visit.phaya.public_url, job, service) if service and job.request != ERASED else None
    return await visit.render("job.html", job=show(visit, job), curl=curl, call=is_call(job))


async def part(visit: Visit) -> Response:
    """One job as a part of a page, as it stands now."""
    job = await any_job(visit.phaya, visit.caller, visit.request.path_params["job"])
    return await visit.render("part-job.html", job=show(visit, job), large=True)


async def events(visit: Visit) -> Response:
    """The job's states as they change, as at the API's route."""
    phaya, caller = visit.phaya, await visit.polling()
    place = contextlib.ExitStack()
    place.enter_context(phaya.lookout.place(caller.key.id, caller.account_id))
    try:
        find = partial(any_job, phaya, caller, visit.request.path_params["job"])
        return _Held(place, await event_answer(visit.request, phaya, find, partial(told, phaya)))
    except BaseException:
        place.close()
        raise


async def cancel(visit: Visit) -> Response:
    """Ends a job that has not ended, and gives its credits back."""
    caller = await visit.admitted()
    job = await any_job(visit.phaya, caller, visit.request.path_params["job"])
    if not is_call(job):
        await call_off(visit.phaya, caller, job)
    return visit.back(f"/jobs/{job.id}")


class _Held(Response):
    """An answer that holds a place among the open waits until it was sent."""

    def __init__(self, place: contextlib.ExitStack, answer: Response) -> None:
        super().__init__()
        self._place = place
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer, then lets the place go."""
        with self._place:
            await self._answer(scope, receive, send)
