"""The jobs of all services in one list, and each by its id alone."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from phaya import jobs
from phaya.catalog.embedding import EmbeddingRequest
from phaya.catalog.language import ChatRequest
from phaya.errors import Fault, Invalid, NotFound
from phaya.jobs import Job, Search, State
from phaya.system import System
from phaya.telling import tell_row
from phaya.web.answers import Json
from phaya.web.caller import Caller, Listening, Phaya, Polling, Requesting
from phaya.web.generations import call_off, tell
from phaya.web.openapi import KNOWN, SEEN, event_docs, jobs_docs, plain_docs, status_docs
from phaya.web.paths import API
from phaya.web.waits import IfNoneMatch, LastEventId, Prefer, Wait, event_answer, status_answer

CALLS = (ChatRequest.path, EmbeddingRequest.path)
"""What lasts as long as its request and makes no file; listed only where it is asked for by name."""
CALL_SECONDS = 10
"""Seconds that a call usually takes."""
MESSAGES = {
    State.QUEUED: "The call is about to begin.",
    State.PROCESSING: "The call is being answered; its ceiling is held.",
    State.COMPLETED: "The call was answered.",
    State.CANCELLED: "The call was cancelled.",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(\d{1,15}) ([0-9a-f-]{36})")


def routes() -> APIRouter:
    """`jobs` below `/api/v1`."""
    router = APIRouter(prefix=API, tags=["Jobs"])
    docs = plain_docs()

    @router.get("/jobs", operation_id="jobs", openapi_extra=jobs_docs(), responses=docs)
    async def listing(  # pyright: ignore[reportUnusedFunction]
        phaya: Phaya,
        caller: Requesting,
        service: Annotated[list[str] | None, Query(description="Only of this service; may be repeated.")] = None,
        state: Annotated[State | None, Query(description="Only in this state.")] = None,
        status: Annotated[
            str | None, Query(description="Only those that are told this word, each in its service's vocabulary.")
        ] = None,
        since: Annotated[datetime | None, Query(description="Created at this time or after it.")] = None,
        until: Annotated[datetime | None, Query(description="Created before this time.")] = None,
        sandbox: Annotated[bool | None, Query(description="Only made by the sandbox, or only not.")] = None,
        limit: Annotated[int, Query(ge=1, le=200, description="Jobs in one answer at the most.")] = 50,
        cursor: Annotated[str | None, Query(description="`next_cursor` of the answer before.")] = None,
    ) -> Json:
        """Your jobs of all services, newest first, each in its own service's words."""
        search = Search(
            _wanted(phaya, service, state, status),
            _moment("since", since),
            _moment("until", until),
            sandbox,
            None if cursor is None else read_cursor(cursor),
        )
        found = await phaya.database.read(jobs.history, caller.account_id, search, limit + 1)
        page, last = found[:limit], found[limit - 1] if len(found) > limit else None
        following = last and write_cursor(last)
        return Json({"success": True, "jobs": [told(phaya, job) for job in page], "next_cursor": following})

    @router.get(
        "/jobs/{job_id}",
        operation_id="job",
        openapi_extra=status_docs("a job", ()),
        responses=docs | KNOWN,
    )
    async def status(  # pyright: ignore[reportUnusedFunction]
        job_id: str,
        request: Request,
        phaya: Phaya,
        caller: Polling,
        wait: Wait = None,
        prefer: Prefer = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Where a job stands, in its own service's words."""
        find = partial(any_job, phaya, caller, job_id)
        return await status_answer(request, phaya, caller, wait, find, partial(told, phaya))

    @router.get(
        "/jobs/{job_id}/events",
        operation_id="job_events",
        response_class=Response,
        openapi_extra=event_docs(),
        responses=docs | SEEN,
    )
    async def events(  # pyright: ignore[reportUnusedFunction]
        job_id: str, request: Request, phaya: Phaya, caller: Listening, last_event_id: LastEventId = None
    ) -> Response:
        """A job's states as they change, in its own service's words."""
        return await event_answer(request, phaya, partial(any_job, phaya, caller, job_id), partial(told, phaya))

    @router.post("/jobs/{job_id}/cancel", operation_id="cancel_job", responses=docs)
    async def cancel(job_id: str, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Ends a job and returns its credits; `success` is false where it has ended already."""
        job = await any_job(phaya, caller, job_id)
        if job.service in CALLS:
            return Json({"success": False, "message": "A call ends with its request; hang up to end it."})
        return await call_off(phaya, caller, job)

    return router


async def any_job(phaya: System, caller: Caller, job_id: str) -> Job:
    """The caller's job or call. Raises NotFound."""
    job = await phaya.database.read(jobs.find, job_id, caller.account_id)
    if job is None or not (job.service in phaya.tariff.services or job.service in CALLS):
        raise NotFound(f"There is no job {job_id[:64]}.")
    return job


def told(phaya: System, job: Job) -> Mapping[str, object]:
    """A job or call in its own service's words."""
    if job.service not in CALLS:
        return tell(phaya, job, phaya.tariff.services[job.service])
    usage = orjson.loads(job.results)["facts"].get("usage") if job.results else None
    message = job.error if job.state is State.FAILED else MESSAGES[job.state]
    answer = tell_row(phaya.clock.now(), job, job.state, message, {"result_url": None}, CALL_SECONDS)
    # What was held beyond the cost was never used: the call's own answer said the same.
    return answer | {"credits_used": job.price - job.returned, "credits_held": job.price, "usage": usage}


def _wanted(
    phaya: System, services: Collection[str] | None, state: State | None, word: str | None
) -> Mapping[str, Collection[State]]:
    """In which states the jobs of which services are wanted; none is all. Raises Invalid."""
    known = (*phaya.tariff.services, *CALLS)
    for service in services or ():
        if service not in known:
            raise Invalid(Fault("service", f"must be one of {', '.join(known)}", "enum", "query"))
    wanted: dict[str, Collection[State]] = {}
    words: set[str] = {*State}
    for path in services or phaya.tariff.services:
        states = set(State)
        if word is not None:
            vocabulary = phaya.tariff.services[path].words if path not in CALLS else None
            words.update(vocabulary.value if vocabulary else ())
            meant = vocabulary.states(word) if vocabulary else (word.lower(),)
            states = {one for one in State if one in meant}
        if state is not None:
            states &= {state}
        if states:
            wanted[path] = () if len(states) == len(State) else states
    if word is not None and word.lower() not in {one.lower() for one in words}:
        raise Invalid(Fault("status", f"must be one of {', '.join(sorted(words))}", "enum", "query"))
    return wanted


def _moment(name: str, given: datetime | None) -> int | None:
    """A time as it is stored; one without an offset is UTC. Raises Invalid."""
    if given is None:
        return None
    try:
        return ((given if given.tzinfo else given.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)
    except OverflowError:
        raise Invalid(Fault(name, "is a time that no job can have", "datetime", "query")) from None


def write_cursor(last: Job) -> str:
    """Where the page behind a job begins."""
    return cursor_behind(last.created_at, last.id)


def cursor_behind(created_at: int, job_id: str) -> str:
    """The same of a job of which no more is known."""
    return base64.urlsafe_b64encode(f"{created_at} {job_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[int, str]:
    """What `write_cursor` wrote. Raises Invalid."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if (found := _CURSOR.fullmatch(text)) is None:
        raise Invalid(Fault("cursor", "must be the next_cursor of an earlier answer", "value_error", "query"))
    return int(found[1]), found[2]
