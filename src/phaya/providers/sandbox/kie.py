"""KIE.ai's jobs API, account and download routes, as documented and seen on the wire until October 2026."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Literal, cast
from urllib.parse import urlsplit

import orjson
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phaya.clock import SECOND, Clock
from phaya.providers.sandbox.callbacks import Callbacks
from phaya.providers.sandbox.desk import Desk, accepted, garbage
from phaya.providers.sandbox.fields import Asked, Refusal
from phaya.providers.sandbox.models import model_named
from phaya.providers.sandbox.products import Character, Picture, Product, Song
from phaya.providers.sandbox.sound_models import SONGS
from phaya.providers.sandbox.tasks import Task, Tasks
from phaya.providers.sandbox.wire import envelope, json_body, number, origin

State = Literal["waiting", "queuing", "generating", "success", "fail", "dreaming"]

POLICY = "The content was flagged as sensitive or prohibited by our content policy. Please change your prompt."
NOTHING = Decimal(0)


class Kie:
    """The doors of KIE's jobs API."""

    def __init__(
        self,
        tasks: Tasks,
        desk: Desk,
        callbacks: Callbacks,
        clock: Clock,
        played: Mapping[str, str] | None = None,
    ) -> None:
        self._played = played or {}
        self._tasks = tasks
        self._desk = desk
        self._callbacks = callbacks
        self._clock = clock

    def routes(self) -> list[Route]:
        """Paths as on api.kie.ai."""
        return [
            Route("/api/v1/jobs/createTask", self._desk.creating(self.create), methods=["POST"]),
            Route("/api/v1/jobs/recordInfo", self._desk.looking(self.look), methods=["GET"]),
            Route("/api/v1/chat/credit", self._desk.open(self.credit), methods=["GET"]),
            Route("/api/v1/common/download-url", self._desk.open(self.download_url), methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """`POST /api/v1/jobs/createTask`."""
        body = await json_body(request)
        name = body.get("model")
        self._desk.offer(str(name))
        model = model_named(self._played.get(str(name), name))
        given = body.get("input")
        if not isinstance(given, dict):
            raise Refusal(500, "This field is required")
        asked = model.asked(given)
        prompt = prompt_of(asked)
        ending = await self._desk.ending(prompt)
        task = await self._tasks.create(
            "jobs",
            model.name,
            prompt,
            body,
            origin(request),
            ending,
            model.seconds,
            model.price(asked),
            [("end", 1.0)],
        )
        self._callbacks.wake()
        return accepted(ending, {"taskId": task.id, "recordId": task.id})

    async def look(self, request: Request) -> Response:
        """`GET /api/v1/jobs/recordInfo?taskId=`."""
        task_id = request.query_params.get("taskId", "")
        if not task_id:
            return envelope(code=400, message="taskId parameter is required")
        task = await self._tasks.find(task_id, "jobs")
        if task is None:
            return envelope(code=422, message="recordInfo is null")
        now, state = self._clock.now(), None
        if task.outcome == "garbage":
            look = await self._tasks.count_look(task)
            if (nonsense := garbage(look)) is not None:
                return nonsense
            state = "dreaming" if look == 3 else None
        return envelope(record(task, origin(request), now, state))

    async def credit(self, request: Request) -> Response:
        """`GET /api/v1/chat/credit`: a number that may have a fraction."""
        return envelope(number(await self._tasks.balance()))

    async def download_url(self, request: Request) -> Response:
        """`POST /api/v1/common/download-url`: only for links of ours, which need no other form."""
        url = (await json_body(request)).get("url")
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.netloc != urlsplit(origin(request)).netloc or not parts.path.startswith("/files/"):
            return envelope(code=422, message="url is wrong")
        return envelope(url)


def prompt_of(asked: Asked) -> str:
    """The text that may hold markers: the prompt, or for a character what is said of it."""
    return asked.text("prompt") or asked.text("character_prompt") or asked.text("text")


def products_of(task: Task) -> list[Product]:
    """The files that a task of the jobs API makes, in the order of their links; none for a character."""
    model = model_named(task.model)
    product = model.product(_asked(task))
    match product:
        case Character():
            return []
        case Picture() | Song() if model.takes > 1:
            return [replace(product, take=take) for take in range(1, model.takes + 1)]
        case _:
            return [product]


def _asked(task: Task) -> Asked:
    return model_named(task.model).asked(cast("dict[str, JsonValue]", task.request["input"]))


def state_of(task: Task, now: int) -> State:
    """KIE's word for where the task stands."""
    if task.ended(now):
        return "fail" if task.outcome in ("fail", "reject") else "success"
    share = task.share(now)
    return "waiting" if share < 0.1 else "queuing" if share < 0.25 else "generating"


def record(task: Task, base: str, now: int, strange: State | None = None) -> dict[str, object]:
    """The `data` of a look, with results under `base`. `strange` replaces the state by a word nobody knows."""
    state = strange or state_of(task, now)
    code, message = _failure(task) if state == "fail" else (None, None)
    done = state in ("success", "fail")
    data: dict[str, object] = {
        "taskId": task.id,
        "model": task.model,
        "state": state,
        "param": _param(task),
        "resultJson": _result(task, base) if state == "success" else "",
        "failCode": code,
        "failMsg": message,
        # whole seconds on the wire, although KIE's page says milliseconds
        "costTime": task.duration // SECOND if done else None,
        "completeTime": task.ends if done else None,
        "createTime": task.created,
        "updateTime": task.ends if done else task.created,
    }
    if done:
        data["creditsConsumed"] = number(task.price if state == "success" else NOTHING)
    return data


def letter(task: Task, _kind: str) -> bytes:
    """The body of the callback, which KIE sends once, at the end. Its times are rounded to seconds."""
    ends = task.ends or task.created
    data = record(task, task.origin, ends)
    data |= {name: round(moment / SECOND) * SECOND for name, moment in _times(task, ends).items()}
    failed = data["state"] == "fail"
    if failed:
        data["resultJson"] = None
    message = "Playground task failed." if failed else "Playground task completed successfully."
    return orjson.dumps({"code": 501 if failed else 200, "msg": message, "data": data})


def _times(task: Task, ends: int) -> dict[str, int]:
    return {"createTime": task.created, "completeTime": ends, "updateTime": ends}


def _param(task: Task) -> str:
    """JSON in JSON in JSON: `input` is a text inside `param`, which is a text itself."""
    said = {"input": orjson.dumps(task.request["input"]).decode(), "model": task.model}
    if task.callback_url:
        said["callBackUrl"] = task.callback_url
    return orjson.dumps(said).decode()


def _result(task: Task, base: str) -> str:
    if task.outcome == "garbage":
        return '{"resultUrls":[]}'
    products = products_of(task)
    if not products:
        return orjson.dumps({"character_id": f"char_{task.id[:24]}"}).decode()
    urls = [f"{base}/files/{task.id}/{number}.{product.suffix}" for number, product in enumerate(products, 1)]
    if task.model != SONGS:
        return orjson.dumps({"resultUrls": urls}).decode()
    songs = [_song(task, product, url) for product, url in zip(products, urls, strict=True)]
    return orjson.dumps({"code": 200, "data": songs, "msg": "success", "task_id": task.id}).decode()


def _song(task: Task, product: Product, url: str) -> dict[str, object]:
    """A song as createTask tells it: in snake_case, its time in milliseconds."""
    assert isinstance(product, Song)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{task.id}/{product.take}")),
        "title": product.title,
        "duration": product.seconds,
        "audio_url": url,
        "stream_audio_url": url,
        "image_url": "",
        "model_name": "chirp-v6",
        "prompt": product.prompt,
        "tags": product.style,
        "createTime": task.created,
    }


def _failure(task: Task) -> tuple[str, str]:
    if task.outcome == "reject":
        return "400", POLICY
    if any(isinstance(product, Picture) for product in products_of(task)):
        return "500", "Internal Error, Please try again later."
    return "501", "The upstream model failed to generate a video."
