"""OpenAI's speech route: the text-to-speech service, with the sound as the answer's body."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from phaya.errors import Fault, Invalid
from phaya.idempotency import Stamp
from phaya.system import System
from phaya.web.answers import Json
from phaya.web.caller import Caller, Phaya, Requesting
from phaya.web.generations import LARGEST_TEXT, read_json, strictly
from phaya.web.openai import names
from phaya.web.openai.recoding import FORMS, recoded
from phaya.web.openai.waiting import Bought, bought, content, files, finished
from phaya.web.repeats import Sent

# OpenAI's voices, each with one of ours that sounds like it; our own names are taken as they are.
VOICES = {
    "alloy": "Kore", "ash": "Charon", "ballad": "Algieba", "coral": "Aoede", "echo": "Puck", "fable": "Fenrir",
    "nova": "Leda", "onyx": "Orus", "sage": "Vindemiatrix", "shimmer": "Zephyr", "verse": "Iapetus",
    "marin": "Sulafat", "cedar": "Umbriel",
}  # fmt: skip
LONGEST = 20_000
"""Characters of a text: about as much as can be read and sent while a request waits."""
SLOW = 0.9
"""Speeds below this are read slowly; there is no other choice of speed."""


def install(router: APIRouter) -> None:
    """`audio/speech`."""

    @router.post("/audio/speech", operation_id="openai_speech", summary="A text read aloud", response_class=Response)
    async def speech(request: Request, phaya: Phaya, caller: Requesting, sent: Sent) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Takes `input`, `voice`, `model`, `response_format` (mp3 opus aac flac wav pcm) and `speed`; answers with
        the sound. After the time-out it is 504 with the job's id, and the job goes on."""
        body = await read_json(request, LARGEST_TEXT)
        stamp = sent.stamp(caller, body)
        return await _spoken(phaya, caller, body, strict=strictly(request, phaya), stamp=stamp)


async def _spoken(phaya: System, caller: Caller, body: Any, *, strict: bool, stamp: Stamp | None) -> Response:
    if not isinstance(body, dict):
        raise Invalid(Fault("body", "must be a JSON object", "model_type"))
    asked = {name: value for name, value in cast("dict[str, Any]", body).items() if value is not None}
    model = asked.pop("model", None)
    service = names.service_for("audio", model if isinstance(model, str) else None)
    form = asked.pop("response_format", "mp3")
    if form not in FORMS:
        raise Invalid(Fault("response_format", f"must be one of {', '.join(FORMS)}"))
    if asked.pop("stream_format", "audio") != "audio":
        raise Invalid(Fault("stream_format", "must be audio; speech is not streamed as events"))
    speed = asked.pop("speed", 1)
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0.25 <= speed <= 4:
        raise Invalid(Fault("speed", "must be a number from 0.25 to 4"))
    if "input" not in asked:
        raise Invalid(Fault("input", "is required", "missing"))
    if isinstance(asked["input"], str) and len(asked["input"]) > LONGEST:
        raise Invalid(Fault("input", f"must have at most {LONGEST} characters here; {service.path} takes longer texts"))
    fields: dict[str, Any] = {**asked, "prompt": asked["input"]}
    del fields["input"]
    if speed < SLOW:
        fields.setdefault("slow", True)
    if isinstance(voice := asked.get("voice"), str):
        fields["voice"] = VOICES.get(voice.lower(), voice)
    if isinstance(voice, dict):  # OpenAI's {"id": …}
        fields["voice"] = cast("dict[str, Any]", voice).get("id")
    order = await bought(phaya, caller, service, fields, strict=strict, stamp=stamp)
    if not isinstance(order, Bought):
        return Json(order)
    done = await finished(phaya, caller, order.job_ids[0])
    spoken = await content(phaya, files(done)[0]["key"])
    sound = await recoded(phaya.decoder, phaya.intake.folder, spoken, form)
    headers = {"X-Job-Id": done.id, "X-Credits-Used": str(done.price - done.returned), **order.headers}
    return Response(sound, media_type=FORMS[form], headers=headers)
