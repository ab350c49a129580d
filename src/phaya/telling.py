"""How a job is told, at its status routes and in webhooks: in the words and fields of a service, with exact amounts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import orjson
from pydantic import JsonValue

from phaya.catalog.service import Generation
from phaya.clock import written
from phaya.credits import Credits
from phaya.jobs import Job, State
from phaya.results import Results
from phaya.tariff import Tariff
from phaya.ways import unpack_ways

ERASED_ERROR = "The job ended without a result; why was deleted after its storage time."
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
    error = (job.error or ERASED_ERROR) if job.state in (State.FAILED, State.CANCELLED) else None
    message = error if job.state is State.FAILED else MESSAGES[job.state]
    if job.state is State.COMPLETED and kept is None:
        message = "The result was deleted after its storage time."
    answer: dict[str, object] = {
        "success": True,
        "job_id": job.id,
        "id": job.id,
        "task_id": job.ticket,
        "service": job.service,
        "status": route.words.spell(job.state),
        "state": job.state,
        "progress": round(_progress(tariff, now, job), 3),
        "message": message,
        **route.answer.spell(shown),
        "result_url": result,
        "error": error,
        "error_code": job.error_code,
        "credits_used": job.price,
        "credits_refunded": job.returned,
        "created_at": written(job.created_at),
        "completed_at": written(job.ended_at),
        "processing_time_ms": (job.ended_at or now) - job.created_at,
        "sandbox": job.sandbox,
    }
    if (ways := unpack_ways(job.ways)) and ways.current != job.service:
        answer["made_by"] = ways.current
    if kept and kept.links and job.state in (State.FAILED, State.CANCELLED):
        # It arrived after the refund; it is the user's, without a second charge.
        told = list(kept.links) or [*tariff.services[job.service].answer.spell(kept).values()]
        answer["late_result"] = cast("JsonValue", told)
    return answer


def dumps(value: object) -> bytes:
    """JSON, with amounts digit for digit."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def _plain(value: object) -> object:
    if isinstance(value, Credits):
        return value.number()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _progress(tariff: Tariff, now: int, job: Job) -> float:
    """How far the job is, 0..1. KIE tells nothing of it for most models: then by the time such jobs take."""
    if job.progress or job.state is not State.PROCESSING:
        return job.progress / 1000
    return 0.95 * (1 - math.exp(-(now - job.created_at) / 1000 / tariff.services[job.service].seconds))
