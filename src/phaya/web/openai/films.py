"""OpenAI's videos: jobs of our film services, told as its clients read them."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response, StreamingResponse

from phaya import jobs
from phaya.catalog import SERVICES
from phaya.catalog.service import Generation
from phaya.errors import Conflict, Fault, Invalid, NotFound, TooLarge
from phaya.jobs import Job, Search, State
from phaya.system import System
from phaya.web.answers import Json
from phaya.web.caller import Caller, Phaya, Polling, Requesting
from phaya.web.generations import LARGEST_BODY, Order, own_job, read_json, strictly, tell
from phaya.web.openai import names
from phaya.web.openai.waiting import files, ordered
from phaya.web.repeats import Sent, given, json_answer

STATUS = {State.QUEUED: "queued", State.PROCESSING: "in_progress", State.COMPLETED: "completed"}
LENGTHS = ("n_frames", "duration")
"""The fields in which services take seconds."""
REACH = 1000
"""How many of the newest films the list reaches back."""
_SIZES = {"landscape": "1280x720", "portrait": "720x1280", "square": "720x720", "16:9": "1280x720", "9:16": "720x1280"}


def install(router: APIRouter) -> None:
    """`videos`."""

    @router.post("/videos", operation_id="openai_video", summary="A film from a prompt, as a job")
    async def create(request: Request, phaya: Phaya, caller: Requesting, sent: Sent) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Takes `prompt`, `model`, `seconds`, `size`, `input_reference` (a picture) and the service's own fields, as
        JSON or as a form. Lengths and sizes that the model does not offer become the nearest that it does."""
        asked = await _asked(request)
        stamp = sent.stamp(caller, asked)
        service, fields, warnings = _translated(asked)
        strict = strictly(request, phaya)
        if strict and warnings:
            raise Invalid(*(Fault("body", warning, "strict") for warning in warnings))
        order = await ordered(phaya, caller, service, fields, strict=strict, stamp=stamp)
        if not isinstance(order, Order):
            return Json(order)
        answer = json_answer({**_video(phaya, order.job), "warnings": [*warnings, *order.warnings]})
        await phaya.workflow.open(order.job, stamp=stamp, tell=lambda left: answer)
        return given(answer)

    @router.get("/videos", operation_id="openai_videos", summary="Your films, newest first")
    async def listing(  # pyright: ignore[reportUnusedFunction]
        phaya: Phaya,
        caller: Requesting,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> Json:
        """A page of films; `after` is the last id of the page before."""
        paths = tuple(path for path, service in phaya.tariff.services.items() if service.answer.media == "video")
        history = await phaya.database.read(jobs.history, caller.account_id, Search.of(paths), REACH)
        found = [job for job in history if not _gone(job)]
        if order == "asc":
            found.reverse()
        if after is not None:
            places = [place for place, job in enumerate(found) if job.id == after]
            found = found[places[0] + 1 :] if places else []
        page = found[:limit]
        return Json(
            {
                "object": "list",
                "data": [_video(phaya, job) for job in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": len(found) > limit,
            }
        )

    @router.get("/videos/{video_id}", operation_id="openai_video_status", summary="Where a film stands")
    async def status(video_id: str, phaya: Phaya, caller: Polling) -> Json:  # pyright: ignore[reportUnusedFunction]
        """`status` is queued, in_progress, completed or failed; a failed film has `error`, and its credits are back."""
        return Json(_video(phaya, await _film(phaya, caller, video_id)))

    @router.get("/videos/{video_id}/content", operation_id="openai_video_content", summary="The film itself")
    async def content(  # pyright: ignore[reportUnusedFunction]
        video_id: str, phaya: Phaya, caller: Requesting, variant: str = "video"
    ) -> Response:
        """The file's bytes. A film that is not completed is 409."""
        if variant != "video":
            raise Invalid(Fault("variant", "must be video; no other is made", "enum", "query"))
        job = await _film(phaya, caller, video_id)
        found = files(job) if job.state is State.COMPLETED else []
        if not found:
            raise Conflict(f"Film {job.id} is {STATUS.get(job.state, 'failed')}; there is no content.")
        file = found[0]
        name = f"{job.id}.{file['key'].rpartition('.')[2]}"
        headers = {"Content-Length": str(file["bytes"]), "Content-Disposition": f'attachment; filename="{name}"'}
        content = await phaya.results.storage.begun(file["key"])
        return StreamingResponse(content, media_type=file["type"], headers=headers)

    @router.delete("/videos/{video_id}", operation_id="openai_video_delete", summary="Delete a film")
    async def delete(video_id: str, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Deletes a completed film's files. One that is being made is cancelled and its credits return. Of a failed
        one nothing is left to delete."""
        job = await _film(phaya, caller, video_id)
        caller.need(job.service, "generate")
        done = await phaya.workflow.cancel(job.id, caller.account_id)
        if not done:
            job = await own_job(phaya, caller, video_id)
            if done := job.state is State.COMPLETED:
                await phaya.results.forget([job])
                await phaya.database.write(jobs.forget_results, [job.id])
        return Json({"id": job.id, "object": "video.deleted", "deleted": done})


async def _asked(request: Request) -> dict[str, Any]:
    """The request's fields, from JSON or from the form that OpenAI's clients send. Raises Invalid or TooLarge."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await read_json(request)
        if not isinstance(body, dict):
            raise Invalid(Fault("body", "must be a JSON object or a form", "model_type"))
        return {name: value for name, value in cast("dict[str, Any]", body).items() if value is not None}
    parser = MultiPartParser(request.headers, _bounded(request), max_files=1, max_fields=100)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:  # KeyError: a form without a boundary
        raise Invalid(Fault("body", f"is no form that can be read: {error}")) from None
    asked: dict[str, Any] = {}
    try:
        for name, value in form.items():
            if isinstance(value, UploadFile):
                kind = value.content_type or "application/octet-stream"
                asked[name] = f"data:{kind};base64,{base64.b64encode(await value.read()).decode()}"
            else:
                asked[name] = value
    finally:
        await form.close()
    if asked.get("dry_run") in ("true", "false"):
        asked["dry_run"] = asked["dry_run"] == "true"
    return asked


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes, up to the largest that is taken."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST_BODY:
            raise TooLarge(f"The body has more than {LARGEST_BODY // 1_000_000} MB.")
        yield chunk


def _translated(asked: dict[str, Any]) -> tuple[type[Generation], dict[str, Any], list[str]]:
    """The service, its fields, and what was changed on the way."""
    warnings: list[str] = []
    model = asked.pop("model", None)
    service = names.service_for("video", model if isinstance(model, str) else None)
    picture = _picture(asked)
    if picture is not None:
        if service.path == "sora2-text-to-video":
            service = SERVICES["sora2-video"]
        asked["image_urls"] = [picture]
    seconds = asked.pop("seconds", None)
    field = next((name for name in LENGTHS if names.options(service, name)), None)
    if seconds is not None and field is not None and field not in asked:
        if not re.fullmatch(r"\d{1,3}(\.\d+)?", str(seconds)):
            raise Invalid(Fault("seconds", f"must be a number of seconds such as 8, not {str(seconds)[:20]!r}"))
        wanted = float(seconds)
        offered = [option for option in names.options(service, field) if str(option).isdigit()]
        asked[field] = min(offered, key=lambda option: (abs(float(option) - wanted), float(option)))
        if float(asked[field]) != wanted:
            warnings.append(f"'seconds': {seconds} became {asked[field]}, the nearest that {service.path} makes.")
    size = asked.pop("size", None)
    if size is not None and "aspect_ratio" not in asked:
        found = re.fullmatch(r"([1-9]\d{1,4})x([1-9]\d{1,4})", str(size))
        if found is None:
            raise Invalid(Fault("size", f"must be a size such as 1280x720, not {str(size)[:20]!r}"))
        if ratio := names.nearest_ratio(service, int(found[1]), int(found[2])):
            asked["aspect_ratio"] = ratio
    return service, asked, warnings


def _picture(asked: dict[str, Any]) -> str | None:
    """The picture that is to be set in motion: a file, an address, or OpenAI's object with one."""
    given = asked.pop("input_reference", None) or asked.pop("input_reference[image_url]", None)
    if isinstance(given, dict):
        reference = cast("dict[str, Any]", given)
        given = reference.get("image_url")
        if given is None:
            raise Invalid(Fault("input_reference", "takes a file or image_url; files are not stored by id here"))
    if given is not None and not isinstance(given, str):
        raise Invalid(Fault("input_reference", "must be a file, an address or {image_url}"))
    return given


async def _film(phaya: System, caller: Caller, video_id: str) -> Job:
    job = await own_job(phaya, caller, video_id)
    if phaya.tariff.services[job.service].answer.media != "video" or _gone(job):
        raise NotFound(f"There is no film {video_id[:64]}.")
    return job


def _gone(job: Job) -> bool:
    """Whether a film was deleted, by its owner or by time."""
    return job.state is State.CANCELLED or (job.state is State.COMPLETED and job.results is None)


def _video(phaya: System, job: Job) -> dict[str, object]:
    service = phaya.tariff.services[job.service]
    told = tell(phaya, job, service)
    request = service.remembered(job.request)
    ratio = str(getattr(request, "aspect_ratio", "16:9"))
    seconds = next((str(getattr(request, name)) for name in LENGTHS if hasattr(request, name)), "8")
    days = phaya.settings.media_days
    failed = job.state is State.FAILED
    return {
        "id": job.id,
        "object": "video",
        "model": "sora-2" if service.path in ("sora2-text-to-video", "sora2-video") else service.path,
        "status": STATUS.get(job.state, "failed"),
        "progress": round(cast("float", told["progress"]) * 100),
        "created_at": job.created_at // 1000,
        "completed_at": job.ended_at // 1000 if job.ended_at and job.state is State.COMPLETED else None,
        "expires_at": int(job.ended_at / 1000 + days * 86400) if job.ended_at else None,
        "prompt": getattr(request, "prompt", None),
        "seconds": seconds,
        "size": _SIZES.get(ratio, ratio),
        "remixed_from_video_id": None,
        "error": {"code": job.error_code or "failed", "message": told["error"]} if failed else None,
        "url": told["result_url"],
        "credits_used": job.price,
        "credits_refunded": job.returned,
        "sandbox": job.sandbox,
    }
