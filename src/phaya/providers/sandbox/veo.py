"""KIE.ai's dedicated Veo route: a flat body in mixed spellings, a number for a state, a callback of its own shape."""

from __future__ import annotations

from decimal import Decimal

import orjson
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phaya.clock import Clock
from phaya.providers.sandbox.callbacks import Callbacks
from phaya.providers.sandbox.desk import Desk, accepted, garbage
from phaya.providers.sandbox.endings import unmarked
from phaya.providers.sandbox.fields import Asked, Choice, Field, Flag, Input, Number, Refusal, Text, links
from phaya.providers.sandbox.products import Film
from phaya.providers.sandbox.sizes import film_size
from phaya.providers.sandbox.tasks import Task, Tasks
from phaya.providers.sandbox.wire import envelope, json_body, origin

RUNNING, MADE, NOT_CREATED, FAILED, STRANGE = range(5)
"""`successFlag`; KIE documents the first four."""

FILM = 6.0  # seconds at pace 1
PRICE = {"veo3_lite": Decimal(30), "veo3_fast": Decimal(60), "veo3": Decimal(250)}
MORE = {"720p": Decimal(0), "1080p": Decimal(5), "4k": Decimal(120)}
KINDS = ("TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO")
RATIOS = ("16:9", "9:16", "Auto")

FIELDS: dict[str, Field] = {
    "prompt": Text(20000),
    "model": Choice(tuple(PRICE), "veo3_fast"),
    "generationType": Choice(KINDS, ""),
    "imageUrls": links(3),
    "aspect_ratio": Choice(RATIOS, "16:9"),
    "resolution": Choice(tuple(MORE), "720p"),
    "duration": Number(4, 8, 8),
    "enableTranslation": Flag(default=True),
    "watermark": Text(200),
    "seeds": Number(10000, 99999, 10000),
    "enableFallback": Flag(),
}
POLICY = "Rejected by Google's content policy (public error unsafe generation). Please change your prompt."


class Veo:
    """The doors of the dedicated Veo route."""

    def __init__(self, tasks: Tasks, desk: Desk, callbacks: Callbacks, clock: Clock) -> None:
        self._tasks = tasks
        self._desk = desk
        self._callbacks = callbacks
        self._clock = clock

    def routes(self) -> list[Route]:
        """Paths as on api.kie.ai."""
        return [
            Route("/api/v1/veo/generate", self._desk.creating(self.create), methods=["POST"]),
            Route("/api/v1/veo/record-info", self._desk.looking(self.look), methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """`POST /api/v1/veo/generate`."""
        body = await json_body(request)
        asked = _checked(body)
        prompt = asked.text("prompt")
        ending = await self._desk.ending(prompt)
        model = asked.text("model")
        self._desk.offer("veo", model)
        price = PRICE[model] + MORE[asked.text("resolution")]
        task = await self._tasks.create(
            "veo", model, prompt, body, origin(request), ending, FILM, price, [("end", 1.0)]
        )
        self._callbacks.wake()
        return accepted(ending, {"taskId": task.id})

    async def look(self, request: Request) -> Response:
        """`GET /api/v1/veo/record-info?taskId=`."""
        task_id = request.query_params.get("taskId", "")
        task = await self._tasks.find(task_id, "veo")
        if task is None:
            return envelope(code=422, message=f"Record not found for taskId: {task_id}")
        now, strange = self._clock.now(), None
        if task.outcome == "garbage":
            look = await self._tasks.count_look(task)
            if (nonsense := garbage(look)) is not None:
                return nonsense
            strange = STRANGE if look == 3 else None
        return envelope(record(task, origin(request), now, strange))


def _checked(body: Input) -> Asked:
    if not str(body.get("prompt") or "").strip():
        raise Refusal(422, "Please enter prompt")
    # Older pages spell the ratio in camelCase, and both were taken.
    ratio = body.get("aspect_ratio", body.get("aspectRatio"))
    if ratio is not None and ratio not in RATIOS:
        raise Refusal(422, "Ratio error")
    asked = Asked(FIELDS, {**body, "aspect_ratio": ratio})
    stills, kind = len(asked.texts("imageUrls")), asked.text("generationType")
    if kind == "REFERENCE_2_VIDEO" and asked.text("model") == "veo3":
        raise Refusal(422, "REFERENCE_2_VIDEO only supports the veo3_fast and veo3_lite models")
    if (kind == "REFERENCE_2_VIDEO" and not stills) or (
        kind == "FIRST_AND_LAST_FRAMES_2_VIDEO" and stills not in (1, 2)
    ):
        raise Refusal(422, "The number of images does not match the generationType")
    return asked


def films_of(task: Task) -> list[Film]:
    """The film, and its original of 16:9 where another ratio was asked for."""
    asked = _checked(task.request)
    ratio, resolution = asked.text("aspect_ratio"), asked.text("resolution").replace("4k", "1080p")
    ratios = ["16:9"] if ratio != "9:16" else [ratio, "16:9"]
    films: list[Film] = []
    for shape in ratios:
        width, height = film_size(shape, resolution)
        stills = asked.texts("imageUrls")
        films.append(Film(unmarked(task.prompt), width, height, asked.number("duration"), stills=stills))
    return films


def flag_of(task: Task, now: int) -> int:
    """Veo's number for where the task stands."""
    if not task.ended(now):
        return RUNNING
    match task.outcome:
        case "fail":
            return FAILED
        case "reject":
            return NOT_CREATED
        case "success" | "garbage" | "lost":
            return MADE


def record(task: Task, base: str, now: int, strange: int | None = None) -> dict[str, object]:
    """The `data` of a look. `strange` replaces the flag by one that nobody documented."""
    flag = flag_of(task, now) if strange is None else strange
    code, message = _failure(task) if flag in (NOT_CREATED, FAILED) else (None, "")
    said = {name: value for name, value in task.request.items() if name != "callBackUrl"}
    said["aspectRatio"] = said.pop("aspect_ratio", said.get("aspectRatio"))  # stored so, whichever way it came
    return {
        "taskId": task.id,
        "paramJson": orjson.dumps(said).decode(),
        "response": {"taskId": task.id, **_response(task, base), "fullResultUrls": None} if flag == MADE else None,
        "successFlag": flag,
        "fallbackFlag": False,
        "completeTime": None if flag == RUNNING else task.ends,
        "createTime": task.created,
        "errorCode": code,
        "errorMessage": message,
    }


def _response(task: Task, base: str) -> dict[str, JsonValue]:
    urls: list[JsonValue] = []
    if task.outcome != "garbage":
        urls = [f"{base}/files/{task.id}/{number}.mp4" for number, _ in enumerate(films_of(task), 1)]
    resolution = task.request.get("resolution", "720p")
    return {"resultUrls": urls[:1] or None, "originUrls": urls[1:] or None, "resolution": resolution}


def letter(task: Task, _kind: str) -> bytes:
    """The body of the callback. It has no flag, and a failure's reason stands in `msg` only."""
    data: dict[str, object] = {"taskId": task.id, "fallbackFlag": False}
    if task.outcome in ("fail", "reject"):
        code, message = _failure(task)
        return orjson.dumps({"code": code, "msg": message, "data": data})
    data["info"] = _response(task, task.origin)
    return orjson.dumps({"code": 200, "msg": "Veo3.1 video generated successfully.", "data": data})


def _failure(task: Task) -> tuple[int, str]:
    return (400, POLICY) if task.outcome == "reject" else (501, "Video generation failed upstream.")
