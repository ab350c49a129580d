"""OpenAI's image generation: pictures that come with the answer, made by the services of the catalog."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from phaya.catalog.service import Generation
from phaya.credits import NOTHING
from phaya.errors import Fault, Invalid
from phaya.idempotency import Stamp
from phaya.jobs import Job
from phaya.system import System
from phaya.web.answers import Json
from phaya.web.caller import Caller, Phaya, Requesting
from phaya.web.generations import LARGEST_TEXT, read_json, strictly
from phaya.web.openai import names
from phaya.web.openai.waiting import Bought, bought, content, files, finished
from phaya.web.repeats import Sent

MOST = 10
_SIZE = re.compile(r"(\d{2,5})\s*[x×]\s*(\d{2,5})")
# What OpenAI's models are asked beside the prompt, and ours have no use for.
_UNUSED = ("style", "background", "moderation", "output_compression", "partial_images", "user", "safety_identifier")
# OpenAI's words for fields that some services have too, with their words.
_WORDS = {
    "quality": {"hd": "high", "max": "high", "xhigh": "high", "low": "basic", "medium": "basic", "standard": "basic"},
    "output_format": {"jpeg": "jpg"},
}


def install(router: APIRouter) -> None:
    """`images/generations`."""

    @router.post("/images/generations", operation_id="openai_images", summary="Pictures from a prompt")
    async def generate(request: Request, phaya: Phaya, caller: Requesting, sent: Sent) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Takes `model`, `prompt`, `n`, `size`, `response_format` and the service's own fields; waits for the
        pictures. After the time-out it is 504 with the job's id, and the job goes on."""
        body = await read_json(request, LARGEST_TEXT)
        stamp = sent.stamp(caller, body)
        return await _made(phaya, caller, body, strict=strictly(request, phaya), stamp=stamp)


async def _made(phaya: System, caller: Caller, body: Any, *, strict: bool, stamp: Stamp | None) -> Response:
    if not isinstance(body, dict):
        raise Invalid(Fault("body", "must be a JSON object", "model_type"))
    asked = {name: value for name, value in cast("dict[str, Any]", body).items() if value is not None}
    model = asked.pop("model", None)
    if model is not None and not isinstance(model, str):
        raise Invalid(Fault("model", "must be a text"))
    service = names.service_for("image", model)
    count = asked.pop("n", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST:
        raise Invalid(Fault("n", f"must be a whole number from 1 to {MOST}"))
    # OpenAI's image models answer in base64 only, and their users read nothing else.
    form = asked.pop("response_format", "b64_json" if re.match(r"(chat)?gpt-image", model or "") else "url")
    if form not in ("url", "b64_json"):
        raise Invalid(Fault("response_format", "must be one of url, b64_json"))
    if asked.pop("stream", False) is True:
        raise Invalid(Fault("stream", "pictures are not streamed; leave it out"))
    fields, warnings = _translated(service, asked)
    if strict and warnings:
        raise Invalid(*(Fault("body", warning, "strict") for warning in warnings))
    order = await bought(phaya, caller, service, fields, strict=strict, stamp=stamp, count=count)
    if not isinstance(order, Bought):
        return Json(_times(order, count))
    ends = await asyncio.gather(*(finished(phaya, caller, job_id) for job_id in order.job_ids), return_exceptions=True)
    done = [end for end in ends if isinstance(end, Job)]
    failed = [end for end in ends if isinstance(end, BaseException)]
    if not done:
        raise failed[0]
    used = sum((job.price - job.returned for job in done), NOTHING)
    data = [await _picture(phaya, file, form) for job in done for file in files(job)]
    # Pictures that did come are not withheld for those that did not.
    told: list[str] = [*warnings, *order.warnings, *(str(error) for error in failed)]
    answer = {
        "created": done[0].created_at // 1000,
        "data": data,
        "model": service.path,
        "job_ids": [job.id for job in done],
        "credits_used": used,
        "sandbox": done[0].sandbox,
        "warnings": told,
    }
    return Json(answer, headers=order.headers)


def _translated(service: type[Generation], asked: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """OpenAI's fields in the service's words, and which were left out."""
    warnings: list[str] = []
    for name in _UNUSED:
        if asked.pop(name, None) is not None:
            warnings.append(f"'{name}' was ignored; {service.name()} has no use for it.")
    size = asked.pop("size", "auto")
    if size != "auto":
        found = _SIZE.fullmatch(str(size))
        if found is None or not int(found[1]) or not int(found[2]):
            raise Invalid(Fault("size", f"must be auto or a size such as 1024x1024, not {str(size)[:20]!r}"))
        ratio = names.nearest_ratio(service, int(found[1]), int(found[2]))
        if "aspect_ratio" not in asked and ratio is not None:
            asked["aspect_ratio"] = ratio
    for name, words in _WORDS.items():
        value = asked.pop(name, None)
        if value is None or value == "auto":
            continue
        allowed = names.options(service, name)
        meant = next((word for word in (value, words.get(str(value))) if word in allowed), None)
        if meant is not None:
            asked[name] = meant
        else:
            warnings.append(f"'{name}': {str(value)[:40]!r} was ignored; {service.name()} does not offer it.")
    return asked, warnings


def _times(quote: Mapping[str, Any], count: int) -> Mapping[str, object]:
    """The price of so many pictures, by that of one."""
    price = quote["credits"] * count
    message = f"This would cost {price} credits; nothing was charged."
    return {**quote, "credits": price, "affordable": quote["credits_balance"] >= price, "message": message}


async def _picture(phaya: System, file: Mapping[str, Any], form: str) -> dict[str, object]:
    link = phaya.results.storage.link(file["key"])
    if form == "url":
        return {"url": link}
    return {"url": link, "b64_json": base64.b64encode(await content(phaya, file["key"])).decode()}
