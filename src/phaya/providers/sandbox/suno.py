"""KIE.ai's dedicated Suno route: a flat camelCase body, states of its own, two tracks, three callbacks."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

import orjson
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phaya.clock import SECOND, Clock
from phaya.providers.sandbox.callbacks import Callbacks
from phaya.providers.sandbox.desk import Desk, accepted, garbage
from phaya.providers.sandbox.endings import unmarked
from phaya.providers.sandbox.fields import Asked, Choice, Field, Flag, Input, Number, Refusal, Text
from phaya.providers.sandbox.products import Cover, Song, digest
from phaya.providers.sandbox.tasks import Task, Tasks
from phaya.providers.sandbox.wire import envelope, json_body, origin

Status = Literal[
    "PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS", "SUCCESS", "GENERATE_AUDIO_FAILED", "SENSITIVE_WORD_ERROR", "HUMMING"
]

SONG = 5.0  # seconds at pace 1
PRICE = Decimal(12)  # both tracks
TEXT_AT, FIRST_AT = 0.3, 0.6
TRACKS = (1, 2)
V6 = ("V6", "V6_MINI", "V6_WILD")  # since September 2026

FIELDS: dict[str, Field] = {
    "customMode": Flag(required=True),
    "instrumental": Flag(required=True),
    "model": Choice(("V4", "V4_5", "V4_5PLUS", "V4_5ALL", "V5", "V5_5", *V6), "V5", required=True),
    "prompt": Text(5000),
    "style": Text(1000),
    "title": Text(80),
    "negativeTags": Text(1000),
    "vocalGender": Choice(("m", "f"), "f"),
    "styleWeight": Number(0, 1, 0.5),
    "weirdnessConstraint": Number(0, 1, 0.5),
    "audioWeight": Number(0, 1, 0.5),
    "personaId": Text(200),
    "personaModel": Choice(("style_persona", "voice_persona"), "style_persona"),
    "duration": Number(10, 360, 0),
}
# A description of at most 500 characters on older pages, 3000 on newer ones.
DESCRIPTION, LYRICS_V4, STYLE_V4, NEGATIVE = 3000, 3000, 200, 200


class Suno:
    """The doors of the dedicated Suno route."""

    def __init__(self, tasks: Tasks, desk: Desk, callbacks: Callbacks, clock: Clock) -> None:
        self._tasks = tasks
        self._desk = desk
        self._callbacks = callbacks
        self._clock = clock

    def routes(self) -> list[Route]:
        """Paths as on api.kie.ai."""
        return [
            Route("/api/v1/generate", self._desk.creating(self.create), methods=["POST"]),
            Route("/api/v1/generate/record-info", self._desk.looking(self.look), methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """`POST /api/v1/generate`."""
        body = await json_body(request)
        asked = _checked(body)
        self._desk.offer("suno", asked.text("model"))
        prompt = asked.text("prompt") or asked.text("style")
        ending = await self._desk.ending(prompt)
        task = await self._tasks.create(
            "suno",
            asked.text("model"),
            prompt,
            body,
            origin(request),
            ending,
            SONG,
            PRICE,
            [("text", TEXT_AT), ("first", FIRST_AT), ("complete", 1.0)],
        )
        self._callbacks.wake()
        return accepted(ending, {"taskId": task.id})

    async def look(self, request: Request) -> Response:
        """`GET /api/v1/generate/record-info?taskId=`; an unknown id is a success without data."""
        task = await self._tasks.find(request.query_params.get("taskId", ""), "suno")
        if task is None:
            return envelope(None)
        now, strange = self._clock.now(), None
        if task.outcome == "garbage":
            look = await self._tasks.count_look(task)
            if (nonsense := garbage(look)) is not None:
                return nonsense
            strange = "HUMMING" if look == 3 else None
        return envelope(record(task, origin(request), now, strange))


def _checked(body: Input) -> Asked:
    if not body.get("callBackUrl"):
        raise Refusal(422, "Please enter callBackUrl.")
    asked = Asked(FIELDS, body)
    old = asked.text("model") == "V4"
    needed = ["prompt"]
    if asked.flag("customMode"):
        needed = ["style", "title"] if asked.flag("instrumental") else ["style", "prompt", "title"]
    for name in needed:
        if not asked.text(name).strip():
            raise Refusal(422, f"Please enter {name}.")
    limits = {"negativeTags": NEGATIVE}
    if not asked.flag("customMode"):
        limits["prompt"] = DESCRIPTION
    elif old:
        limits |= {"prompt": LYRICS_V4, "style": STYLE_V4}
    for name, most in limits.items():
        if len(asked.text(name)) > most:
            raise Refusal(
                422 if name == "negativeTags" else 413, f"the length of music {name} cannot exceed {most} characters"
            )
    if asked.number("duration") and not (asked.flag("customMode") and asked.text("model") in ("V5_5", *V6)):
        raise Refusal(422, "duration is not supported by this model or mode")
    return asked


def songs_of(task: Task) -> list[tuple[Song, Cover]]:
    """The two tracks that a task makes, each with its cover."""
    asked = Asked(FIELDS, task.request)
    text = unmarked(task.prompt)
    title = unmarked(asked.text("title")) or " ".join(text.split()[:5])[:80]
    made: list[tuple[Song, Cover]] = []
    for take in TRACKS:
        seconds = asked.number("duration") or _length(text, take)
        song = Song(text, title, unmarked(asked.text("style")), seconds, asked.flag("instrumental"), take)
        made.append((song, Cover(title, take)))
    return made


def _length(text: str, take: int) -> float:
    """About forty seconds, different for every text and take."""
    return 34 + int(digest(Cover(text, take))[:4], 16) % 120 / 10


def status_of(task: Task, now: int) -> Status:
    """Suno's word for where the task stands."""
    if task.ended(now):
        match task.outcome:
            case "fail":
                return "GENERATE_AUDIO_FAILED"
            case "reject":
                return "SENSITIVE_WORD_ERROR"
            case "success" | "garbage" | "lost":
                return "SUCCESS"
    share = task.share(now)
    if share < TEXT_AT:
        return "PENDING"
    return "TEXT_SUCCESS" if share < FIRST_AT or task.outcome in ("fail", "reject") else "FIRST_SUCCESS"


def record(task: Task, base: str, now: int, strange: Status | None = None) -> dict[str, object]:
    """The `data` of a look. `strange` replaces the status by a word nobody knows."""
    status = strange or status_of(task, now)
    code, message = _failure(task) if task.ended(now) else (None, None)
    ready = {"SUCCESS": 2, "FIRST_SUCCESS": 1, "TEXT_SUCCESS": 0}.get(status)
    tracks = None if ready is None else [track(task, base, take, audible=take <= ready) for take in TRACKS]
    return {
        "taskId": task.id,
        "parentMusicId": "",
        "param": orjson.dumps(task.request).decode(),
        "response": None if tracks is None else {"taskId": task.id, "sunoData": tracks},
        "status": status,
        "type": f"chirp-{task.model.lower().replace('_', '-')}",
        "operationType": "generate",
        "errorCode": code,
        "errorMessage": message,
        "createTime": task.created,
    }


def track(task: Task, base: str, take: int, *, audible: bool) -> dict[str, JsonValue]:
    """One track as looks spell it. Before it is audible it has no id and no addresses of sound."""
    song, _ = songs_of(task)[take - 1]
    files = f"{base}/files/{task.id}"
    sound = f"{files}/{take}.mp3" if audible and task.outcome != "garbage" else ""
    cover = f"{files}/{take}.jpeg" if task.outcome != "garbage" else ""
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{task.id}/{take}")) if audible else "",
        "audioUrl": sound,
        "sourceAudioUrl": sound,
        "streamAudioUrl": sound,
        "sourceStreamAudioUrl": sound,
        "imageUrl": cover,
        "sourceImageUrl": cover,
        "prompt": song.prompt,
        "modelName": f"chirp-{task.model.lower().replace('_', '-')}",
        "title": song.title,
        "tags": song.style,
        "createTime": task.created,
        "duration": song.seconds if audible else None,
    }


_SNAKE = {
    "audioUrl": "audio_url",
    "sourceAudioUrl": "source_audio_url",
    "streamAudioUrl": "stream_audio_url",
    "sourceStreamAudioUrl": "source_stream_audio_url",
    "imageUrl": "image_url",
    "sourceImageUrl": "source_image_url",
    "modelName": "model_name",
}  # createTime stays as it is


def letter(task: Task, kind: str) -> bytes:
    """The body of a callback: snake_case where looks are camelCase, and times as text."""
    code, message = _failure(task)
    if kind == "complete" and code is not None:
        data: dict[str, object] = {"callbackType": "error", "task_id": task.id, "data": None}
        return orjson.dumps({"code": code, "msg": message, "data": data})
    ready = {"text": 0, "first": 1}.get(kind, 2)
    written = datetime.fromtimestamp(task.created / SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")
    tracks = [
        {_SNAKE.get(name, name): value for name, value in track(task, task.origin, take, audible=take <= ready).items()}
        | {"createTime": written}
        for take in TRACKS
    ]
    told = {"text": "Text generated successfully.", "first": "First audio generated successfully."}
    data = {"callbackType": kind, "task_id": task.id, "data": tracks}
    return orjson.dumps({"code": 200, "msg": told.get(kind, "All generated successfully."), "data": data})


def _failure(task: Task) -> tuple[int, str] | tuple[None, None]:
    match task.outcome:
        case "fail":
            return 501, "Music generation failed. Please try again."
        case "reject":
            return 400, "Song description contained sensitive words. Please change your prompt."
        case "success" | "garbage" | "lost":
            return None, None
