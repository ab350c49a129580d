"""Answers that come with the request although a job makes them: the job is opened, waited for and told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from phaya.catalog.service import Generation
from phaya.errors import PhayaError
from phaya.jobs import Job, State
from phaya.system import System
from phaya.web.caller import Caller
from phaya.web.generations import open_job, own_job


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


async def ordered(
    phaya: System, caller: Caller, service: type[Generation], body: Mapping[str, Any], *, strict: bool
) -> Mapping[str, Any]:
    """Opens a job, or only prices it where `dry_run` is asked for; what the native door answers."""
    caller.need(service.path, "generate")
    return await open_job(phaya, caller, service, body, strict=strict)


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
