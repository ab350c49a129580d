"""Answers that come with the request although a job makes them: the job is opened, waited for and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import orjson

from phaya.catalog.service import Generation
from phaya.credits import Credits
from phaya.errors import PhayaError
from phaya.idempotency import Answer, Stamp, Taken
from phaya.jobs import Job, State, new_id
from phaya.system import System
from phaya.web.caller import Caller
from phaya.web.generations import Order, draft, own_job
from phaya.web.repeats import REPLAYED, json_answer


class StillWorking(PhayaError):
    """The job takes longer than the request may; it goes on."""

    status = 504
    code = "still_working"


class JobFailed(PhayaError):
    """The job ended without a result; its credits are back."""

    status = 502
    code = "job_failed"


class Refused(JobFailed):
    """The provider found the request against its policy."""

    status = 400
    code = "content_policy_violation"


@dataclass(frozen=True, slots=True)
class Bought:
    """Jobs that are paid for, by this request or by an earlier one with the same key."""

    job_ids: Sequence[str]
    warnings: Sequence[str]
    headers: Mapping[str, str]

    @classmethod
    def before(cls, taken: Taken) -> Self:
        """The jobs of the earlier request."""
        return cls(**orjson.loads(taken.answer.body), headers=REPLAYED)


async def ordered(
    phaya: System,
    caller: Caller,
    service: type[Generation],
    body: Mapping[str, Any],
    *,
    strict: bool,
    stamp: Stamp | None,
) -> Order | Mapping[str, Any]:
    """Drafts a job, or prices it where `dry_run` is asked for, as the native door does. Raises Forbidden too."""
    caller.need(service.path, "generate")
    return await draft(phaya, caller, service, body, strict=strict, stamp=stamp)


async def bought(
    phaya: System,
    caller: Caller,
    service: type[Generation],
    body: Mapping[str, Any],
    *,
    strict: bool,
    stamp: Stamp | None,
    count: int = 1,
) -> Bought | Mapping[str, Any]:
    """Opens as many jobs of a kind, all or none; or answers the price of one where `dry_run` is asked for.

    A request that was accepted before gets the jobs of that time.
    """
    try:
        order = await ordered(phaya, caller, service, body, strict=strict, stamp=stamp)
        if not isinstance(order, Order):
            return order
        drafts = [order.job, *(replace(order.job, id=new_id(order.job.created_at)) for _ in range(count - 1))]
        ids = [job.id for job in drafts]

        def tell(left: Credits) -> Answer:
            return json_answer({"job_ids": ids, "warnings": order.warnings})

        await phaya.workflow.open(*drafts, stamp=stamp, tell=tell)
        return Bought(ids, order.warnings, {})
    except Taken as taken:
        return Bought.before(taken)


async def finished(phaya: System, caller: Caller, job_id: str) -> Job:
    """The job once it is completed. Raises StillWorking, which names the job, or JobFailed."""
    await phaya.lookout.until(job_id, lambda sight: sight.state.ended, phaya.settings.openai_wait)
    job = await own_job(phaya, caller, job_id)
    if not job.state.ended:
        where = f"{phaya.public_url}/api/v1/{phaya.tariff.services[job.service].home()}/status/{job.id}"
        raise StillWorking(
            f"Job {job.id} is still being worked on; it was charged and goes on. Its result will be at {where}."
        )
    if job.state is not State.COMPLETED:
        kind = Refused if job.error_code == "content_rejected" else JobFailed
        raise kind(f"{job.error or 'The job was cancelled.'} Its credits were returned (job {job.id}).")
    return job


def files(job: Job) -> list[dict[str, Any]]:
    """A job's stored files: key, type and bytes of each."""
    return orjson.loads(job.results)["files"] if job.results else []


async def content(phaya: System, key: str) -> bytes:
    """A stored file, whole."""
    return b"".join([chunk async for chunk in phaya.results.storage.stream(key)])
