"""How a job is told, at its status routes and in webhooks: in the words and fields of a service, with exact amounts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, cast

import orjson
from pydantic import JsonValue

from phaya.catalog.service import Generation
from phaya.clock import SECOND, written
from phaya.credits import Credits
from phaya.jobs import Job, State
from phaya.results import Results
from phaya.tariff import Tariff
from phaya.ways import unpack_ways
from phaya.wire import lines

ERASED_ERROR = "The job ended without a result; why was deleted after its storage time."
CLOCKED = frozenset({"processing_time_ms", "poll_after"})
"""What of a status answer says only that time has passed."""

MESSAGES = {
    State.QUEUED: "The job waits for its turn.",
    State.PROCESSING: "The job is being worked on.",
    State.COMPLETED: "The result is ready.",
    State.CANCELLED: "The job was cancelled; its credits were returned.",
}


def tell(results: Results, tariff: Tariff, now: int, job: Job, route: type[Generation]) -> Mapping[str, object]:
    """A job in the words and fields of a route, whichever service made it."""
    kept = results.told(job)
    shown = kept if job.state is State.COMPLETED else None
    result = shown.links[0] if shown and shown.links else None
    message = _error(job) if job.state is State.FAILED else MESSAGES[job.state]
    if job.state is State.COMPLETED and kept is None:
        message = "The result was deleted after its storage time."
    usual = tariff.services[job.service].seconds
    shown_fields = {**route.answer.spell(shown), "result_url": result}
    answer = tell_row(now, job, route.words.spell(job.state), message, shown_fields, usual)
    if (ways := unpack_ways(job.ways)) and ways.current != job.service:
        answer["made_by"] = ways.current
    if kept and kept.links and job.state in (State.FAILED, State.CANCELLED):
        # It arrived after the refund; it is the user's, without a second charge.
        told = list(kept.links) or [*tariff.services[job.service].answer.spell(kept).values()]
        answer["late_result"] = cast("JsonValue", told)
    return answer


def tell_row(
    now: int, job: Job, status: str, message: str | None, result: Mapping[str, object], usual: float
) -> dict[str, object]:
    """What any job's row says, with its status word, message and result fields. `usual` is how many seconds such
    jobs take."""
    age = (now - job.created_at) / SECOND
    progress = job.progress / 1000
    if not progress and job.state is State.PROCESSING:
        # KIE tells nothing of it for most models: then by the time such jobs take.
        progress = round(0.95 * (1 - math.exp(-age / usual)), 2)
    answer: dict[str, object] = {
        "success": True,
        "job_id": job.id,
        "id": job.id,
        "task_id": job.ticket,
        "service": job.service,
        "status": status,
        "state": job.state,
        "progress": progress,
        "message": message,
        **result,
        "error": _error(job),
        "error_code": job.error_code,
        "credits_used": job.price,
        "credits_refunded": job.returned,
        "created_at": written(job.created_at),
        "completed_at": written(job.ended_at),
        "processing_time_ms": (job.ended_at or now) - job.created_at,
        "poll_after": None if job.state.ended else poll_after(age, usual),
        "sandbox": job.sandbox,
    }
    if job.cancel_at is not None:
        answer["cancel_at"] = written(job.cancel_at)
    return answer


def poll_after(age: float, usual: float) -> float:
    """Seconds after which to ask again about a job of this age: a tenth of the time that such jobs still take,
    or of how late it is already; from 1 to 15."""
    return round(min(max(abs(usual - age) / 10, 1.0), 15.0), 1)


def version(answer: Mapping[str, object]) -> str:
    """A short text that changes when a status answer says something new, beyond that time has passed."""
    said = dumps({name: value for name, value in answer.items() if name not in CLOCKED})
    return hashlib.blake2b(said, digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Status:
    """Where a job stands, as it is sent: its JSON, its ETag without the `W/` of a weak one, and its headers.

    `full` and `short` are the lines (see wire.py) of the whole answer and of one that says that nothing is new.
    """

    body: bytes
    tag: str
    headers: Mapping[str, str]
    full: bytes
    short: bytes

    @classmethod
    def of(cls, answer: Mapping[str, object]) -> Self:
        """What a telling becomes."""
        tag = f'"{version(answer)}"'
        headers = {"ETag": f"W/{tag}", "Cache-Control": "private, no-cache"}
        if isinstance(advice := answer["poll_after"], float):
            headers["Retry-After"] = str(math.ceil(advice))
        body = dumps(answer)
        short = lines((name.encode(), value.encode()) for name, value in headers.items())
        kind = lines([(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")])
        return cls(body, tag, headers, short + kind, short)

    def known_by(self, tags: str) -> bool:
        """Whether one of the ETags of an `If-None-Match` is this one's."""
        if tags.removeprefix("W/") == self.tag:  # as nearly everybody sends it
            return True
        return bool(tags) and bool({one.strip().removeprefix("W/") for one in tags.split(",")} & {"*", self.tag})


def dumps(value: object) -> bytes:
    """JSON, with amounts digit for digit."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def _plain(value: object) -> object:
    if isinstance(value, Credits):
        return value.number()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _error(job: Job) -> str | None:
    return (job.error or ERASED_ERROR) if job.state in (State.FAILED, State.CANCELLED) else None
