"""Waiting for a job over HTTP: long polls and event streams, and what tells a client when to ask again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import ne
from typing import Annotated

from fastapi import Header, Query, Request
from starlette.responses import Response

from phaya.errors import DatabaseDown
from phaya.jobs import Job, Sight
from phaya.system import System
from phaya.telling import Status, version
from phaya.web.answers import dumps
from phaya.web.caller import Caller
from phaya.web.events import EventStream, while_heard
from phaya.web.preferences import preferences

LONGEST = 60
"""Seconds that one request may wait."""
PULSE = 2.0
"""Seconds between two looks of a stream at the clock: estimated progress moves without any row."""
BEAT = 15.0
"""Seconds of silence after which a stream sends a comment, so that nobody on the way thinks it dead."""
Wait = Annotated[
    float | None,
    Query(ge=0, le=LONGEST, allow_inf_nan=False, description="Seconds to wait for the job's end before the answer."),
]
Prefer = Annotated[
    str | None, Header(description="`wait=30` waits as `?wait=30` does; `handling=strict` refuses misspelt fields.")
]
CancelAfter = Annotated[
    int | None,
    Header(ge=5, le=86400, description="Seconds after which the job is cancelled and refunded, if it has not ended."),
]
IfNoneMatch = Annotated[str | None, Header(description="ETags of answers that are known already.")]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The last event that was seen; it is not sent again.")
]

Find = Callable[[], Awaitable[Job]]
Told = Callable[[Job], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request wants to wait, and the headers that say so was understood."""

    seconds: float
    headers: Mapping[str, str]

    @classmethod
    def of(cls, request: Request, wait: float | None) -> Patience:
        """By `?wait=`, else by `Prefer: wait=`, which is cut to what is possible, or left out where it is no number."""
        if wait is not None:
            return cls(wait, {})
        asked = preferences(request).get("wait", "")
        if not (asked.isascii() and asked.isdigit()):
            return cls(0, {})
        seconds = min(int(asked[:9]), LONGEST)
        return cls(seconds, {"Preference-Applied": f"wait={seconds}"})

    def place(self, phaya: System, caller: Caller) -> contextlib.AbstractContextManager[None]:
        """One of the key's places, where there is to be waited. Raises TooManyRequests."""
        return phaya.lookout.place(caller.key.id, caller.account_id) if self.seconds else contextlib.nullcontext()

    async def end_of(self, job_id: str, request: Request, phaya: System) -> None:
        """Returns when the job has ended, the time is over, or the client has hung up."""
        await while_heard(request.receive, phaya.lookout.until(job_id, _ended, self.seconds))


async def status_answer(
    request: Request, phaya: System, caller: Caller, wait: float | None, find: Find, told: Told
) -> Response:
    """Where a job stands, at once or at its end; 304 where the client knows it already."""
    job = await find()
    patience = Patience.of(request, wait)
    if patience.seconds and not job.state.ended:
        with patience.place(phaya, caller):
            await patience.end_of(job.id, request, phaya)
        job = await find()
    return status_response(Status.of(told(job)), request.headers.get("if-none-match", ""), patience.headers)


def status_response(status: Status, known: str, headers: Mapping[str, str]) -> Response:
    """The answer to a client who knows the ETags of an `If-None-Match`."""
    headers = {**status.headers, **headers}
    if status.known_by(known):
        return Response(status_code=304, headers=headers)
    return Response(status.body, media_type="application/json", headers=headers)


async def event_answer(request: Request, phaya: System, find: Find, told: Told) -> Response:
    """The job's states as server-sent events, until its end; 204 where that was seen already."""
    job = await find()
    if job.state.ended and request.headers.get("last-event-id") == version(told(job)):
        return Response(status_code=204)
    return EventStream(_events(request, phaya, job, find, told))


async def _events(request: Request, phaya: System, job: Job, find: Find, told: Told) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    last = request.headers.get("last-event-id")
    spoken = loop.time()
    yield b"retry: 2000\n\n"
    while True:
        answer = told(job)
        if (new := version(answer)) != last:
            yield b"event: status\nid: %s\ndata: %s\n\n" % (new.encode(), dumps(answer))
            last, spoken = new, loop.time()
        if job.state.ended:
            return
        changed = await phaya.lookout.until(job.id, partial(ne, Sight.of(job)), PULSE)
        if phaya.lookout.parting:
            return
        if changed:
            with contextlib.suppress(DatabaseDown):  # it is seen again once the database answers
                job = await find()
        if loop.time() - spoken >= BEAT:
            yield b": waiting\n\n"
            spoken = loop.time()


def _ended(sight: Sight) -> bool:
    return sight.state.ended
