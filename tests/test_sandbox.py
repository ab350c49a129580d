"""The sandbox speaks KIE.ai and OpenRouter over real HTTP, keeps what it accepted, and ends as prompts choose."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import signal
import socket
import struct
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import av
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phaya.clock import Clock, SystemClock
from phaya.providers.sandbox import FolderTaken, SandboxSettings, create_sandbox
from phaya.providers.sandbox.endings import ending_of, unmarked
from phaya.providers.sandbox.shapes import example

pytestmark = pytest.mark.anyio

KEY = {"Authorization": "Bearer throw-away"}
PICTURE = {"model": "z-image", "input": {"prompt": "a red kite", "aspect_ratio": "16:9"}}
SONG = {
    "customMode": False,
    "instrumental": True,
    "model": "V5",
    "prompt": "rain on tin roofs",
    "callBackUrl": "http://127.0.0.1:9/nobody",
}
ROOMY = {"creations": (10_000, 1.0), "looks": (10_000, 1.0)}

Json = dict[str, Any]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 1_767_225_600_000

    def now(self) -> int:
        return self.time


@asynccontextmanager
async def served(app: Callable[..., Any]) -> AsyncGenerator[str]:
    """The application on a loopback port."""
    # asyncio switches Nagle's delay off only where the protocol is named, and `create_server` names none.
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    door.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="on", ws="none")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # Started and stopped by hand: `serve` looks only every tenth of a second whether it should end.
    await server.startup(sockets=[door])
    try:
        assert server.started
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        await server.shutdown(sockets=[door])


@dataclass
class Client:
    """Speaks to one sandbox."""

    base: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **query: str) -> Any:
        async with self.session.get(self.base + path, params=query) as answer:
            return await answer.json(content_type=None, loads=exact)

    async def post(self, path: str, body: object) -> Any:
        async with self.session.post(self.base + path, json=body) as answer:
            return await answer.json(content_type=None, loads=exact)

    async def create(self, prompt: str = "a red kite", **more: object) -> str:
        body = {**PICTURE, "input": {"prompt": prompt, "aspect_ratio": "1:1"}, **more}
        return (await self.post("/api/v1/jobs/createTask", body))["data"]["taskId"]

    async def look(self, task: str) -> Json:
        return (await self.get("/api/v1/jobs/recordInfo", taskId=task))["data"]

    async def look_at_song(self, task: str) -> Json:
        return (await self.get("/api/v1/generate/record-info", taskId=task))["data"]

    async def chat(self, prompt: str, **more: object) -> Json:
        return await self.post("/api/v1/chat/completions", chat_body(prompt, **more))

    async def lines(self, prompt: str, **more: object) -> list[str]:
        """The lines of a streamed answer, as many as came."""
        body = chat_body(prompt, stream=True, **more)
        async with self.session.post(self.base + "/api/v1/chat/completions", json=body) as answer:
            content = b""
            try:
                async for piece in answer.content.iter_any():
                    content += piece
            except aiohttp.ClientError:
                pass
            return [line for line in content.decode().split("\n") if line]


async def until(fact: Callable[[], Awaitable[bool]]) -> None:
    """Waits until it is so."""
    async with asyncio.timeout(20):
        for _ in range(2000):
            if await fact():
                return
            await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


def chat_body(prompt: str, **more: object) -> Json:
    return {"model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": prompt}], **more}


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def events(lines: list[str]) -> list[Json]:
    return [exact(line[6:]) for line in lines if line.startswith("data: {")]


def said(lines: list[str]) -> str:
    return "".join(choice["delta"].get("content") or "" for one in events(lines) for choice in one["choices"])


@asynccontextmanager
async def sandbox(folder: Path, clock: Clock | None = None, **settings: Any) -> AsyncGenerator[Client]:
    chosen: Json = {"pace": 0.0, **ROOMY, **settings}
    app = create_sandbox(SandboxSettings(folder, **chosen), clock or SystemClock())
    async with served(app) as base, aiohttp.ClientSession(headers=KEY) as session:
        yield Client(base, session)


@pytest.fixture(scope="module")
async def quick(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Client, None]:
    """A sandbox whose tasks end at once. Tests share it, so they count only their own prompts."""
    async with sandbox(tmp_path_factory.mktemp("sandbox")) as client:
        yield client


@dataclass
class Listener:
    """Hears callbacks, and answers the first of them as told."""

    answers: list[int] = field(default_factory=list[int])
    heard: list[tuple[Mapping[str, str], Json]] = field(default_factory=list[tuple[Mapping[str, str], Json]])
    url: str = ""

    async def hear(self, request: Request) -> Response:
        self.heard.append((request.headers, json.loads(await request.body())))
        return Response(status_code=self.answers.pop(0) if self.answers else 200)

    async def wait(self, count: int) -> list[Json]:
        async def enough() -> bool:
            return len(self.heard) >= count

        await until(enough)
        return [body for _, body in self.heard]


@pytest.fixture
async def listener() -> AsyncGenerator[Listener, None]:
    listener = Listener()
    async with served(Starlette(routes=[Route("/callback", listener.hear, methods=["POST"])])) as base:
        listener.url = f"{base}/callback"
        yield listener


# --- KIE: the jobs API ---


async def test_a_creation_gives_an_id_of_32_hex_signs_twice(quick: Client) -> None:
    """Jobs name the task by `taskId` and `recordId`."""
    answer = await quick.post("/api/v1/jobs/createTask", PICTURE)

    task = answer["data"]["taskId"]
    assert {"code": 200, "msg": "success", "data": {"taskId": task, "recordId": task}} == answer
    assert len(task) == 32
    assert set(task) <= set("0123456789abcdef")


async def test_a_task_passes_through_every_state_by_the_clock_alone(tmp_path: Path) -> None:
    """Waiting, queuing, generating, success: where it stands is a function of the time."""
    clock = HandClock()
    async with sandbox(tmp_path, clock, pace=1.0) as client:
        task = await client.create()
        states: list[str] = []
        for _ in range(5):
            states.append((await client.look(task))["state"])
            clock.time += 450

        assert states == ["waiting", "queuing", "generating", "generating", "generating"]
        clock.time += 1000
        assert (await client.look(task))["state"] == "success"


async def test_a_running_task_has_an_empty_result_and_no_times(tmp_path: Path) -> None:
    """`resultJson` is an empty text until the end, and nothing is said about costs."""
    async with sandbox(tmp_path, pace=1000.0) as client:
        record = await client.look(await client.create())

    assert record["resultJson"] == ""
    assert (record["failCode"], record["completeTime"], record["costTime"]) == (None, None, None)
    assert "creditsConsumed" not in record


async def test_a_success_names_its_result_and_its_cost(quick: Client) -> None:
    """The result is JSON inside a text, its address starts where the asker came from, the cost is exact."""
    task = await quick.create()

    record = await quick.look(task)

    assert {"resultUrls": [f"{quick.base}/files/{task}/1.png"]} == json.loads(record["resultJson"])
    assert Decimal("0.8") == record["creditsConsumed"]


async def test_param_is_encoded_twice_and_holds_the_callback(tmp_path: Path) -> None:
    """`input` is a text inside `param`, which is a text itself."""
    async with sandbox(tmp_path) as client:
        task = await client.create("naïve ทะเล", callBackUrl="http://127.0.0.1:9/x")

        param = json.loads((await client.look(task))["param"])

    assert param["callBackUrl"] == "http://127.0.0.1:9/x"
    assert json.loads(param["input"]) == {"prompt": "naïve ทะเล", "aspect_ratio": "1:1"}


@pytest.mark.parametrize(
    ("model", "given", "code", "text"),
    [
        ("no-such", {}, 422, "The model name you specified is not supported."),
        ("z-image", None, 500, "This field is required"),
        ("z-image", {"aspect_ratio": "1:1"}, 500, "This field is required"),
        ("z-image", {"prompt": " ", "aspect_ratio": "1:1"}, 500, "prompt is required"),
        ("z-image", {"prompt": "x" * 1001, "aspect_ratio": "1:1"}, 500, "cannot exceed 1000"),
        ("z-image", {"prompt": "x", "aspect_ratio": "2:1"}, 500, "not within the range of allowed options"),
        ("sora-2-text-to-video", {"prompt": "x", "n_frames": 10}, 500, "not within the range"),
        ("sora-2-image-to-video", {"prompt": "x", "image_urls": []}, 500, "image_urls is required"),
        ("sora-2-image-to-video", {"prompt": "x", "image_urls": ["file:///etc/passwd"]}, 500, "valid URLs"),
        (
            "bytedance/seedance-1.5-pro",
            {"prompt": "waves", "aspect_ratio": "1:1", "duration": "8"},
            500,
            "duration must be a number",
        ),
        (
            "bytedance/seedance-1.5-pro",
            {"prompt": "waves", "aspect_ratio": "1:1", "duration": 8, "input_urls": ["https://a/b"] * 3},
            500,
            "more than 2",
        ),
    ],
)
async def test_a_wrong_creation_is_refused_inside_http_200(
    quick: Client, model: str, given: object, code: int, text: str
) -> None:
    """The body's code and KIE's text tell what is wrong; nothing is created."""
    before = (await quick.get("/sandbox/tasks"))["created"]
    answer = await quick.post("/api/v1/jobs/createTask", {"model": model, "input": given})

    assert (code, None) == (answer["code"], answer["data"])
    assert text in answer["msg"]
    assert (await quick.get("/sandbox/tasks"))["created"] == before


@pytest.mark.parametrize(
    ("model", "given", "credits"),
    [
        ("seedream/5-lite-text-to-image", {"prompt": "kite", "aspect_ratio": "1:1", "quality": "high"}, "5.5"),
        ("nano-banana-2", {"prompt": "kite", "resolution": "4K", "aspect_ratio": "8:1"}, "18"),
        ("gpt-image-2-text-to-image", {"prompt": "kite"}, "6"),
        ("sora-2-text-to-video", {"prompt": "a dragon", "n_frames": "10"}, "30"),
        ("sora-2-characters", {"character_file_url": ["https://files.example/c.mp4"]}, "1"),
        (
            "bytedance/seedance-1.5-pro",
            {"prompt": "waves", "aspect_ratio": "16:9", "duration": 5, "resolution": "480p", "generate_audio": True},
            "17.5",
        ),
        (
            "kling-2.6/motion-control",
            {
                "input_urls": ["https://files.example/p.png"],
                "video_urls": ["https://files.example/d.mp4"],
                "character_orientation": "video",
                "mode": "720p",
            },
            "55",
        ),
    ],
)
async def test_every_model_costs_what_kie_charges(quick: Client, model: str, given: Json, credits: str) -> None:
    """A success names KIE's price for exactly what was asked, and the balance falls by it."""
    before = (await quick.get("/api/v1/chat/credit"))["data"]
    task = (await quick.post("/api/v1/jobs/createTask", {"model": model, "input": given}))["data"]["taskId"]

    record = await quick.look(task)

    assert ("success", Decimal(credits)) == (record["state"], record["creditsConsumed"])
    assert Decimal(credits) == before - (await quick.get("/api/v1/chat/credit"))["data"]


async def test_a_character_is_an_id_and_no_file(quick: Client) -> None:
    """`sora-2-characters` answers `character_id` instead of addresses."""
    body = {"model": "sora-2-characters", "input": {"character_file_url": ["https://files.example/c.mp4"]}}
    task = (await quick.post("/api/v1/jobs/createTask", body))["data"]["taskId"]

    assert json.loads((await quick.look(task))["resultJson"])["character_id"].startswith("char_")


@pytest.mark.parametrize("path", ["/api/v1/jobs/recordInfo?taskId=x", "/api/v1/chat/credit"])
async def test_without_a_key_the_body_says_401(quick: Client, path: str) -> None:
    """The HTTP status stays 200, as for every refusal of KIE."""
    async with aiohttp.ClientSession() as nobody, nobody.get(quick.base + path) as answer:
        body = await answer.json(content_type=None)

    assert (answer.status, body["code"]) == (200, 401)


async def test_an_unknown_task_is_told_in_each_family_s_way(quick: Client) -> None:
    """Jobs say `recordInfo is null`, Suno a success without data; a song is no job."""
    song = (await quick.post("/api/v1/generate", SONG))["data"]["taskId"]

    for task in ("f" * 32, song):
        answer = await quick.get("/api/v1/jobs/recordInfo", taskId=task)
        assert answer == {"code": 422, "msg": "recordInfo is null", "data": None}
    assert await quick.get("/api/v1/generate/record-info", taskId="f" * 32) == {
        "code": 200,
        "msg": "success",
        "data": None,
    }


async def test_creations_beyond_the_limit_of_a_key_are_refused(tmp_path: Path) -> None:
    """Twenty in ten seconds for each key; then code 429 and nothing is created, until time has passed."""
    clock = HandClock()
    async with sandbox(tmp_path, clock, creations=(20, 10.0)) as client:
        codes = [(await client.post("/api/v1/jobs/createTask", PICTURE))["code"] for _ in range(23)]
        async with client.session.post(
            client.base + "/api/v1/jobs/createTask", json=PICTURE, headers={"Authorization": "Bearer another"}
        ) as answer:
            other = (await answer.json(content_type=None))["code"]
        clock.time += 10_000
        later = (await client.post("/api/v1/jobs/createTask", PICTURE))["code"]

        assert (codes, other, later) == ([200] * 20 + [429] * 3, 200, 200)
        assert (await client.get("/sandbox/tasks"))["created"] == 22


async def test_looks_beyond_the_limit_of_a_key_are_refused(tmp_path: Path) -> None:
    """Ten in a second for each key."""
    async with sandbox(tmp_path, HandClock(), looks=(10, 1.0)) as client:
        task = await client.create()
        codes = [(await client.get("/api/v1/jobs/recordInfo", taskId=task))["code"] for _ in range(12)]

    assert codes == [200] * 10 + [429] * 2


async def test_only_links_of_ours_get_a_download_link(quick: Client) -> None:
    """A foreign address is `url is wrong`."""
    ours = f"{quick.base}/files/{'0' * 32}/1.png"

    assert {"code": 200, "msg": "success", "data": ours} == await quick.post(
        "/api/v1/common/download-url", {"url": ours}
    )
    assert await quick.post("/api/v1/common/download-url", {"url": "https://example.com/files/x"}) == {
        "code": 422,
        "msg": "url is wrong",
        "data": None,
    }


# --- KIE: endings ---


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (PICTURE, "500"),
        ({"model": "sora-2-text-to-video", "input": {"prompt": "x"}}, "501"),
    ],
)
async def test_fail_ends_as_failed_and_costs_nothing(quick: Client, body: Json, code: str) -> None:
    """The envelope's code stays 200; the record tells the failure."""
    failing = {**body, "input": {**body["input"], "prompt": "a kite [fail]"}}
    task = (await quick.post("/api/v1/jobs/createTask", failing))["data"]["taskId"]

    record = await quick.look(task)

    assert ("fail", code, "", 0) == (
        record["state"],
        record["failCode"],
        record["resultJson"],
        record["creditsConsumed"],
    )
    assert record["failMsg"]


async def test_reject_ends_as_refused_for_its_content(quick: Client) -> None:
    """failCode 400 and a text about the policy."""
    record = await quick.look(await quick.create("[reject] a kite"))

    assert (record["state"], record["failCode"]) == ("fail", "400")
    assert "content policy" in record["failMsg"]


async def test_refuse_refuses_the_creation(quick: Client) -> None:
    """Code 500 with the generic text; there is no task."""
    answer = await quick.post(
        "/api/v1/jobs/createTask", {**PICTURE, "input": {"prompt": "[refuse]", "aspect_ratio": "1:1"}}
    )

    assert (answer["code"], answer["data"]) == (500, None)
    assert answer["msg"].startswith("Server exception")


async def test_slow_takes_its_seconds_whatever_the_pace(tmp_path: Path) -> None:
    """Twenty seconds, not a millisecond less."""
    clock = HandClock()
    async with sandbox(tmp_path, clock, pace=0.0) as client:
        task = await client.create("a kite [slow 20]")
        clock.time += 19_999
        before = (await client.look(task))["state"]
        clock.time += 1

        assert (before, (await client.look(task))["state"]) == ("generating", "success")


async def test_lost_never_ends(tmp_path: Path) -> None:
    """Neither after an hour nor after a month."""
    clock = HandClock()
    async with sandbox(tmp_path, clock) as client:
        task = await client.create("a kite [lost]")
        clock.time += 30 * 24 * 3_600_000

        assert (await client.look(task))["state"] == "generating"


async def test_drop_closes_the_connection_and_runs_the_task(quick: Client, listener: Listener) -> None:
    """The creator gets not one byte; the task is there once, and calls back."""
    body = {
        "model": "z-image",
        "input": {"prompt": "a kite [drop]", "aspect_ratio": "1:1"},
        "callBackUrl": listener.url,
    }
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await quick.post("/api/v1/jobs/createTask", body)

    (letter,) = await listener.wait(1)
    assert letter["data"]["state"] == "success"
    assert (await quick.get("/sandbox/tasks", prompt="a kite [drop]"))["created"] == 1


async def test_429_refuses_a_prompt_once(tmp_path: Path) -> None:
    """The first creation with a prompt is refused, the next accepted, also by a restarted sandbox."""
    body = {**PICTURE, "input": {"prompt": "a kite [429]", "aspect_ratio": "1:1"}}
    async with sandbox(tmp_path) as client:
        first = (await client.post("/api/v1/jobs/createTask", body))["code"]
    async with sandbox(tmp_path) as client:
        second = (await client.post("/api/v1/jobs/createTask", body))["code"]

    assert (first, second) == (429, 200)


async def test_garbage_answers_looks_with_nonsense_in_turn(quick: Client) -> None:
    """An HTML page, JSON that breaks off, a strange state, then a success without an address."""
    task = await quick.create("a kite [garbage]")
    answers: list[tuple[int, str]] = []
    for _ in range(4):
        async with quick.session.get(quick.base + "/api/v1/jobs/recordInfo", params={"taskId": task}) as answer:
            answers.append((answer.status, await answer.text()))

    assert [status for status, _ in answers] == [525, 200, 200, 200]
    assert "<html>" in answers[0][1]
    with pytest.raises(json.JSONDecodeError):
        json.loads(answers[1][1])
    assert json.loads(answers[2][1])["data"]["state"] == "dreaming"
    last = json.loads(answers[3][1])["data"]
    assert (last["state"], last["resultJson"]) == ("success", '{"resultUrls":[]}')


# --- KIE: callbacks ---


async def test_a_callback_is_signed_over_task_and_time(tmp_path: Path, listener: Listener) -> None:
    """With a webhook key, the headers hold a base64 HMAC of `task.seconds`."""
    async with sandbox(tmp_path, webhook_key="kie-test-hmac-key") as client:
        task = await client.create(callBackUrl=listener.url)
        await listener.wait(1)

    headers, body = listener.heard[0]
    signed = f"{task}.{headers['x-webhook-timestamp']}".encode()
    mac = hmac.new(b"kie-test-hmac-key", signed, hashlib.sha256).digest()
    assert base64.b64encode(mac).decode() == headers["x-webhook-signature"]
    assert (200, task, "success") == (body["code"], body["data"]["taskId"], body["data"]["state"])


async def test_a_failure_calls_back_with_code_501(quick: Client, listener: Listener) -> None:
    """The letter of a failed task has no result, and no headers where no key is set."""
    await quick.create("[fail]", callBackUrl=listener.url)

    (letter,) = await listener.wait(1)
    assert (letter["code"], letter["data"]["state"], letter["data"]["resultJson"]) == (501, "fail", None)
    assert "x-webhook-signature" not in listener.heard[0][0]


async def test_a_callback_is_tried_three_times_more_and_then_dropped(tmp_path: Path, listener: Listener) -> None:
    """Whatever the listener answers except 200 is a failure."""
    listener.answers = [500, 302, 404, 503]
    async with sandbox(tmp_path, pace=0.01) as client:
        await client.create(callBackUrl=listener.url)
        await listener.wait(4)

        async def none_left() -> bool:
            return not (await client.get("/sandbox/tasks"))["letters"]

        await until(none_left)

    assert len(listener.heard) == 4


async def test_twice_sends_a_callback_twice(quick: Client, listener: Listener) -> None:
    """Both letters are the same."""
    await quick.create("a kite [twice]", callBackUrl=listener.url)

    first, second = await listener.wait(2)
    assert first == second


# --- KIE: Suno ---


async def test_a_song_passes_through_suno_s_states(tmp_path: Path) -> None:
    """Text first, then one track, then both."""
    clock = HandClock()
    async with sandbox(tmp_path, clock, pace=1.0) as client:
        task = (await client.post("/api/v1/generate", SONG))["data"]["taskId"]
        seen: list[tuple[str, int]] = []
        for _ in range(4):
            record = await client.look_at_song(task)
            tracks: list[Json] = record["response"]["sunoData"] if record["response"] else []
            seen.append((record["status"], sum(1 for track in tracks if track["audioUrl"])))
            clock.time += 1700

    assert seen == [("PENDING", 0), ("TEXT_SUCCESS", 0), ("FIRST_SUCCESS", 1), ("SUCCESS", 2)]


async def test_a_song_has_two_different_tracks(quick: Client) -> None:
    """Each with an id, a title, a length and addresses of its own."""
    task = (await quick.post("/api/v1/generate", SONG))["data"]["taskId"]

    first, second = (await quick.look_at_song(task))["response"]["sunoData"]

    assert f"{quick.base}/files/{task}/1.mp3" == first["audioUrl"]
    assert f"{quick.base}/files/{task}/2.mp3" == second["audioUrl"]
    assert first["id"] != second["id"]
    assert first["duration"] != second["duration"]
    assert first["title"] == "rain on tin roofs"


async def test_a_song_calls_back_three_times_in_snake_case(quick: Client, listener: Listener) -> None:
    """Text, first, complete; sound is named as it becomes ready."""
    await quick.post("/api/v1/generate", {**SONG, "callBackUrl": listener.url})

    letters = sorted((letter["data"] for letter in await listener.wait(3)), key=lambda data: data["callbackType"])
    assert [data["callbackType"] for data in letters] == ["complete", "first", "text"]
    assert [sum(1 for track in data["data"] if track["audio_url"]) for data in letters] == [2, 1, 0]
    assert "audioUrl" not in letters[0]["data"][0]


@pytest.mark.parametrize(
    ("marker", "status", "code"),
    [("[fail]", "GENERATE_AUDIO_FAILED", 501), ("[reject]", "SENSITIVE_WORD_ERROR", 400)],
)
async def test_a_song_fails_in_suno_s_words(
    quick: Client, listener: Listener, marker: str, status: str, code: int
) -> None:
    """The look has the word, the last letter the code and no data."""
    body = {**SONG, "prompt": f"rain {marker}", "callBackUrl": listener.url}
    task = (await quick.post("/api/v1/generate", body))["data"]["taskId"]

    record = await quick.look_at_song(task)
    last = next(letter for letter in await listener.wait(3) if letter["data"]["callbackType"] == "error")

    assert (status, code, None) == (record["status"], record["errorCode"], record["response"])
    assert (code, None) == (last["code"], last["data"]["data"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"callBackUrl": None}, "Please enter callBackUrl."),
        ({"prompt": ""}, "Please enter prompt."),
        ({"customMode": True}, "Please enter style."),
        ({"negativeTags": "x" * 201}, "the length of music negativeTags cannot exceed 200 characters"),
        ({"model": "V3"}, "not within the range of allowed options"),
        ({"instrumental": "yes"}, "instrumental must be a boolean"),
        ({"duration": 60}, "duration is not supported"),
    ],
)
async def test_a_wrong_song_is_refused(quick: Client, change: Json, text: str) -> None:
    """The flat body is checked as strictly as jobs are."""
    answer = await quick.post("/api/v1/generate", SONG | change)

    assert answer["code"] in (422, 500)
    assert text in answer["msg"]


# --- durability ---

SERVER = """
import sys, pathlib, uvicorn
from phaya.providers.sandbox import SandboxSettings, create_sandbox
app = create_sandbox(SandboxSettings(pathlib.Path(sys.argv[1])))
uvicorn.run(app, port=int(sys.argv[2]), log_level="critical", ws="none")
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


@asynccontextmanager
async def another_process(folder: Path) -> AsyncGenerator[tuple[Client, asyncio.subprocess.Process]]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, str(folder), str(port))
    try:
        async with aiohttp.ClientSession(headers=KEY) as session:
            client = Client(f"http://127.0.0.1:{port}", session)
            async with asyncio.timeout(20):
                while True:
                    try:
                        await client.get("/sandbox/tasks")
                        break
                    except aiohttp.ClientConnectorError:
                        await asyncio.sleep(0.05)
            yield client, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_an_accepted_task_survives_kill_9_and_its_callback_comes_after_the_restart(
    tmp_path: Path, listener: Listener
) -> None:
    """What was answered is kept; links follow the port on which the sandbox came back."""
    async with another_process(tmp_path) as (client, process):
        task = await client.create("a kite [slow 2]", callBackUrl=listener.url)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert listener.heard == []

    async with another_process(tmp_path) as (client, _):
        (letter,) = await listener.wait(1)
        record = await client.look(task)

    assert task == letter["data"]["taskId"]
    assert json.loads(record["resultJson"])["resultUrls"][0].startswith(client.base)


async def test_a_second_sandbox_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two never mix their tasks; the first goes on."""
    second = create_sandbox(SandboxSettings(tmp_path))
    async with sandbox(tmp_path) as client:
        with pytest.raises(FolderTaken):
            async with second.router.lifespan_context(second):
                pass

        assert (await client.look(await client.create()))["state"] == "success"


async def test_the_inspection_counts_what_was_accepted(tmp_path: Path) -> None:
    """By model and state, and by prompt, so that a test can prove that nothing was bought twice."""
    async with sandbox(tmp_path) as client:
        for prompt in ("one", "two [fail]", "two [fail]", "three [lost]"):
            await client.create(prompt)

        seen = await client.get("/sandbox/tasks")
        counts = {(row["model"], row["state"]): row["count"] for row in seen["counts"]}
        assert counts == {("z-image", "failed"): 2, ("z-image", "running"): 1, ("z-image", "succeeded"): 1}
        assert [row["prompt"] for row in seen["tasks"]][:2] == ["three [lost]", "two [fail]"]
        assert (await client.get("/sandbox/tasks", prompt="two [fail]"))["created"] == 2
        assert (await client.get("/sandbox/tasks", prompt="two"))["created"] == 0


# --- results ---


@dataclass
class Fetched:
    """A file as a client got it."""

    status: int
    headers: Mapping[str, str]
    content: bytes


async def download(url: str, **headers: str) -> Fetched:
    """Without any key."""
    async with aiohttp.ClientSession() as nobody, nobody.get(url, headers=headers) as answer:
        return Fetched(answer.status, answer.headers, await answer.read())


async def result(client: Client, model: str, given: Json) -> str:
    """The address of what a task made."""
    task = (await client.post("/api/v1/jobs/createTask", {"model": model, "input": given}))["data"]["taskId"]
    return json.loads((await client.look(task))["resultJson"])["resultUrls"][0]


async def picture(client: Client, prompt: str, ratio: str = "1:1") -> Fetched:
    return await download(await result(client, "z-image", {"prompt": prompt, "aspect_ratio": ratio}))


def kept(folder: Path) -> list[str]:
    return sorted(path.suffix for path in (folder / "files").iterdir())


async def test_a_picture_is_a_picture_of_the_asked_shape(quick: Client) -> None:
    """PNG with its content type, for anybody."""
    found = await picture(quick, "a red kite over rice fields", "16:9")

    assert (found.status, found.headers["Content-Type"]) == (200, "image/png")
    with Image.open(io.BytesIO(found.content)) as opened:
        assert (opened.format, opened.size) == ("PNG", (1280, 720))


async def test_a_part_of_a_file_can_be_asked_for(quick: Client) -> None:
    """Ranges are answered by 206 and fit the whole."""
    url = await result(quick, "z-image", {"prompt": "a red kite", "aspect_ratio": "1:1"})
    whole, part = await download(url), await download(url, Range="bytes=100-199")

    assert (part.status, part.content) == (206, whole.content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole.content)}"
    assert part.headers["ETag"] == whole.headers["ETag"]


async def test_what_is_not_ready_is_not_found(tmp_path: Path) -> None:
    """Running and failed tasks have no files, and finished ones only their own."""
    async with sandbox(tmp_path, pace=1000.0) as client:
        running = await client.create()
        failed = await client.create("[fail] [slow 0]")
        done = await client.create("[slow 0]")

        for path in (f"{running}/1.png", f"{failed}/1.png", f"{done}/2.png", f"{done}/1.jpg", "../sandbox.db"):
            assert (await download(f"{client.base}/files/{path}")).status == 404


async def test_equal_requests_share_one_file(tmp_path: Path) -> None:
    """However many ask at once; another prompt has another picture."""
    async with sandbox(tmp_path) as client:
        same = await asyncio.gather(*(picture(client, "a kite") for _ in range(6)))
        other = await picture(client, "a boat")

    assert len({found.content for found in same}) == 1
    assert other.content != same[0].content
    assert kept(tmp_path) == [".png", ".png"]
    assert not list((tmp_path / "making").iterdir())


async def test_kept_files_stay_within_the_cap(tmp_path: Path) -> None:
    """What was longest unused goes first, and is made again, the same, when it is asked for."""
    async with sandbox(tmp_path, cap=1) as client:
        first = await picture(client, "a kite")
        await picture(client, "a boat")
        assert kept(tmp_path) == [".png"]

        assert (await picture(client, "a kite")).content == first.content


async def test_an_interrupted_make_leaves_no_half_file(tmp_path: Path) -> None:
    """What a killed process was at is cleared at the next start."""
    (tmp_path / "making" / "x").mkdir(parents=True)
    (tmp_path / "making" / "x" / "half.png").write_bytes(b"half")

    async with sandbox(tmp_path) as client:
        assert (await client.look(await client.create()))["state"] == "success"
        assert not list((tmp_path / "making").iterdir())


async def test_a_still_is_fetched_by_the_caller_s_own_rules(tmp_path: Path) -> None:
    """The picture shows it; where it cannot be had, the picture is made without it."""
    still = io.BytesIO()
    Image.new("RGB", (400, 400), "magenta").save(still, "PNG")
    asked: list[str] = []

    async def fetch(url: str) -> bytes:
        asked.append(url)
        if "private" in url:
            raise PermissionError(url)
        return b"no picture" if "text" in url else still.getvalue()

    async with sandbox(tmp_path, fetch=fetch) as client:
        urls = [f"https://files.example/{name}.png" for name in ("still", "private", "text")]
        given = {"prompt": "make it dusk", "aspect_ratio": "1:1", "resolution": "1K", "output_format": "jpg"}
        found = [await download(await result(client, "nano-banana-2", {**given, "image_input": [url]})) for url in urls]

    assert asked == urls
    assert [(one.status, one.headers["Content-Type"]) for one in found] == [(200, "image/jpeg")] * 3
    assert found[0].content != found[1].content


async def test_a_film_plays_as_long_as_asked(quick: Client) -> None:
    """H.264 in the size of the resolution and ratio, with sound where it was asked for."""
    given: Json = {"prompt": "waves", "aspect_ratio": "16:9", "duration": 4, "resolution": "480p"}
    found = await download(await result(quick, "bytedance/seedance-1.5-pro", {**given, "generate_audio": True}))

    assert found.headers["Content-Type"] == "video/mp4"
    with av.open(io.BytesIO(found.content), "r") as film:
        (video,), (audio,) = film.streams.video, film.streams.audio
        assert (video.codec_context.name, video.width, video.height) == ("h264", 856, 480)
        assert audio.codec_context.name == "aac"
        assert film.duration == pytest.approx(4 * av.time_base, abs=av.time_base / 10)


async def test_both_songs_play_and_have_covers(quick: Client) -> None:
    """MP3 of the length that the record names, and a square picture."""
    task = (await quick.post("/api/v1/generate", SONG))["data"]["taskId"]
    tracks = (await quick.look_at_song(task))["response"]["sunoData"]

    for track in tracks:
        song, cover = await download(track["audioUrl"]), await download(track["imageUrl"])
        assert (song.headers["Content-Type"], cover.headers["Content-Type"]) == ("audio/mpeg", "image/jpeg")
        with av.open(io.BytesIO(song.content), "r") as opened:
            assert opened.duration == pytest.approx(float(track["duration"]) * av.time_base, abs=av.time_base)


# --- OpenRouter ---


async def test_an_answer_quotes_the_request_and_says_what_it_is(quick: Client) -> None:
    """The same request gives the same words."""
    first, second = await quick.chat("How do kites fly?"), await quick.chat("How do kites fly?")

    content = first["choices"][0]["message"]["content"]
    assert "How do kites fly?" in content
    assert "sandbox" in content
    assert content == second["choices"][0]["message"]["content"]
    assert first["id"] != second["id"]


async def test_usage_costs_price_times_tokens_exactly(quick: Client) -> None:
    """The cost is a decimal number without rounding, the same plain and streamed."""
    plain = (await quick.chat("ว่าวบินได้อย่างไร"))["usage"]
    streamed = events(await quick.lines("ว่าวบินได้อย่างไร"))[-1]["usage"]

    expected = Decimal("0.0000003") * plain["prompt_tokens"] + Decimal("0.0000025") * plain["completion_tokens"]
    assert (expected, plain) == (plain["cost"], streamed)


async def test_a_stream_is_comments_chunks_usage_and_done(quick: Client) -> None:
    """Every delta repeats the role, usage comes last without choices, then `[DONE]`."""
    lines = await quick.lines("Hello there")
    chunks = events(lines)

    assert (lines[0], lines[-1]) == (": OPENROUTER PROCESSING", "data: [DONE]")
    assert ": OPENROUTER PROCESSING" in lines[2:]
    assert {"assistant"} == {chunk["choices"][0]["delta"]["role"] for chunk in chunks[:-1]}
    assert (chunks[-2]["choices"][0]["finish_reason"], chunks[-1]["choices"]) == ("stop", [])
    assert (await quick.chat("Hello there"))["choices"][0]["message"]["content"] == said(lines)


async def test_thai_signs_are_torn_between_writes(quick: Client) -> None:
    """At least one piece of the stream is no whole UTF-8, all together are."""
    body = chat_body("สวัสดี", stream=True)
    async with quick.session.post(quick.base + "/api/v1/chat/completions", json=body) as answer:
        pieces = [piece async for piece, _ in answer.content.iter_chunks()]

    def whole(piece: bytes) -> bool:
        try:
            piece.decode()
        except UnicodeDecodeError:
            return False
        return True

    assert not all(whole(piece) for piece in pieces)
    assert "สวัสดี" in said(b"".join(pieces).decode().split("\n"))


@pytest.mark.parametrize("bound", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_keeps_within_its_bound(quick: Client, bound: str) -> None:
    """Both spellings; the finish reason is `length`."""
    answer = await quick.chat("How do kites fly?", **{bound: 7})

    assert (answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 7)


async def test_an_answer_ends_before_a_stop_text(quick: Client) -> None:
    """The stop text itself is not said."""
    answer = await quick.chat("How do kites fly?", stop=["kites"])

    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["message"]["content"].endswith("How do ")


TOOLS: list[Json] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
                "required": ["city", "days"],
            },
        },
    }
]


async def test_a_tool_that_is_named_is_called_with_arguments_of_its_shape(quick: Client) -> None:
    """Plain and streamed agree; fragments of the arguments add up."""
    answer = await quick.chat("Please get weather for Krabi", tools=TOOLS)
    call = answer["choices"][0]["message"]["tool_calls"][0]
    streamed = events(await quick.lines("Please get weather for Krabi", tools=TOOLS))
    deltas = [call for one in streamed for choice in one["choices"] for call in choice["delta"].get("tool_calls", [])]

    assert (answer["choices"][0]["finish_reason"], call["function"]["name"]) == ("tool_calls", "get_weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Please get weather for Krabi", "days": 1}
    assert call["function"]["arguments"] == "".join(delta["function"]["arguments"] for delta in deltas)
    assert len(deltas) > 2


async def test_after_a_tool_s_result_words_follow(quick: Client) -> None:
    """The answer quotes what the tool said."""
    messages: list[Json] = [
        {"role": "user", "content": "get weather for Krabi"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "call_1", "content": "31 degrees"},
    ]
    answer = await quick.post("/api/v1/chat/completions", {"messages": messages, "tools": TOOLS})

    assert "31 degrees" in answer["choices"][0]["message"]["content"]


async def test_structured_output_has_the_schema_s_shape(quick: Client) -> None:
    """Enums, references, lists and bounds are kept; `json_object` is an object."""
    schema = {
        "type": "object",
        "$defs": {"Mood": {"enum": ["calm", "wild"]}},
        "properties": {
            "mood": {"$ref": "#/$defs/Mood"},
            "score": {"type": "number", "minimum": 3, "maximum": 4},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
        "required": ["mood", "score", "tags"],
    }
    shaped = await quick.chat(
        "kites", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    )
    loose = await quick.chat("kites", response_format={"type": "json_object"})

    expected = {"mood": "calm", "score": 3, "tags": ["kites", "kites"], "note": "kites"}
    assert expected == json.loads(shaped["choices"][0]["message"]["content"])
    assert isinstance(json.loads(loose["choices"][0]["message"]["content"]), dict)


def test_a_schema_that_refers_to_itself_ends() -> None:
    """Trees stop growing somewhere."""
    tree: Any = {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                },
            }
        },
    }

    assert example(tree, "a")["name"] == "a"  # type: ignore[index,call-overload]


async def test_every_generation_can_be_read_afterwards(quick: Client) -> None:
    """By the id that the answer and its header name."""
    body = chat_body("How do kites fly?")
    async with quick.session.post(quick.base + "/api/v1/chat/completions", json=body) as answer:
        name, usage = answer.headers["X-Generation-Id"], (await answer.json(loads=exact))["usage"]

    data = (await quick.get("/api/v1/generation", id=name))["data"]
    assert name.startswith("gen-")
    assert (False, False, usage["cost"]) == (data["cancelled"], data["streamed"], data["total_cost"])
    assert usage["completion_tokens"] == data["native_tokens_completion"]
    assert (await quick.get("/api/v1/generation", id="gen-0-x"))["error"]["code"] == 404


async def test_who_hangs_up_pays_for_the_tokens_so_far(quick: Client) -> None:
    """The generation is marked as cancelled, with the tokens that were made until then."""
    body = chat_body("[forever] tell me a story", stream=True)
    async with quick.session.post(quick.base + "/api/v1/chat/completions", json=body) as answer:
        name = answer.headers["X-Generation-Id"]
        heard = b""
        while heard.count(b'"content"') < 3:
            heard += await answer.content.readany()
        answer.close()

    async def known() -> bool:
        return "data" in await quick.get("/api/v1/generation", id=name)

    await until(known)
    data = (await quick.get("/api/v1/generation", id=name))["data"]
    assert data["cancelled"]
    assert 3 <= data["native_tokens_completion"] <= 5
    assert 0 < data["total_cost"] < Decimal("0.0001")


async def test_a_failing_chat_is_502_with_the_upstream_s_text(quick: Client) -> None:
    """Plain and streamed requests fail alike before the first token."""
    for more in ({}, {"stream": True}):
        body = chat_body("[fail]", **more)
        async with quick.session.post(quick.base + "/api/v1/chat/completions", json=body) as answer:
            error = (await answer.json(content_type=None))["error"]

        assert (answer.status, error["code"]) == (502, 502)
        assert "overloaded" in error["metadata"]["raw"]


async def test_a_chat_is_refused_once_with_a_hint(quick: Client) -> None:
    """429 with Retry-After, then the answer."""
    seen: list[tuple[int, str | None]] = []
    for _ in range(2):
        body = chat_body("[429] kites")
        async with quick.session.post(quick.base + "/api/v1/chat/completions", json=body) as answer:
            seen.append((answer.status, answer.headers.get("Retry-After")))

    assert seen == [(429, "1"), (200, None)]


async def test_a_dropped_stream_breaks_off_in_the_middle(quick: Client) -> None:
    """Some chunks come, no finish reason and no `[DONE]`."""
    lines = await quick.lines("[drop] kites")

    assert len(events(lines)) > 2
    assert "data: [DONE]" not in lines
    assert {None} == {chunk["choices"][0]["finish_reason"] for chunk in events(lines)}


async def test_a_dropped_plain_answer_was_made_and_is_lost(quick: Client) -> None:
    """The connection closes without a byte; the generation exists."""
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await quick.chat("[drop] a plain kite")

    assert (await quick.get("/sandbox/generations", prompt="[drop] a plain kite"))["created"] == 1


async def test_an_error_in_the_middle_is_an_event_with_choices(quick: Client) -> None:
    """HTTP 200, some chunks, then `error`; a plain answer carries the error in its body."""
    chunks = events(await quick.lines("[midfail] kites"))
    plain = await quick.chat("[midfail] kites")

    assert (chunks[-1]["error"]["code"], chunks[-1]["choices"][0]["finish_reason"]) == (502, "error")
    assert len(chunks) > 2
    assert (plain["error"]["code"], plain["choices"]) == (502, None)


async def test_a_garbage_chat_is_http_200_without_choices(quick: Client) -> None:
    """`choices` is null, and there is no error."""
    answer = await quick.chat("[garbage]")

    assert answer["choices"] is None
    assert "error" not in answer


async def test_a_slow_stream_sends_signs_of_life(quick: Client) -> None:
    """Comments before the first token."""
    lines = await quick.lines("[slow 1] kites")

    assert lines[:3] == [": OPENROUTER PROCESSING"] * 3


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("chat/completions", {"messages": []}, 400),
        ("chat/completions", {"model": "no/such", "messages": [{"role": "user", "content": "x"}]}, 400),
        ("chat/completions", {"messages": [{"role": "king", "content": "x"}]}, 400),
        ("chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}, 400),
        ("embeddings", {"input": []}, 400),
        ("embeddings", {"input": "x", "dimensions": 5000}, 400),
        ("embeddings", {"input": "x", "model": "google/gemini-2.5-flash"}, 400),
    ],
)
async def test_a_wrong_request_is_an_error_envelope(quick: Client, path: str, body: Json, status: int) -> None:
    """The HTTP status is the code of the error."""
    async with quick.session.post(f"{quick.base}/api/v1/{path}", json=body) as answer:
        error = (await answer.json(content_type=None))["error"]

    assert (status, status) == (answer.status, error["code"])


async def test_openrouter_without_a_key_is_401(quick: Client) -> None:
    """With one of its texts."""
    async with (
        aiohttp.ClientSession() as nobody,
        nobody.post(quick.base + "/api/v1/chat/completions", json=chat_body("x")) as answer,
    ):
        assert answer.status == 401
        assert (await answer.json(content_type=None))["error"]["message"] == "No auth credentials found"


async def test_embeddings_come_in_the_order_of_their_inputs(quick: Client) -> None:
    """Floats and base64 hold the same vectors, of length one, and near texts are nearer than far ones."""
    inputs = ["a boat on the sea", "the boat sails on the sea", "quarterly tax report"]
    asked = {"model": "qwen/qwen3-embedding-8b", "input": inputs}
    floats = await quick.post("/api/v1/embeddings", asked)
    packed = await quick.post("/api/v1/embeddings", {**asked, "encoding_format": "base64", "dimensions": 256})

    vectors = [[float(value) for value in row["embedding"]] for row in floats["data"]]
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert [row["index"] for row in floats["data"]] == [0, 1, 2]
    assert {4096} == {len(vector) for vector in vectors}
    assert pytest.approx(1.0, abs=1e-5) == sum(value * value for value in vectors[0])
    assert near > far + 0.2
    assert len(struct.unpack("<256f", base64.b64decode(packed["data"][0]["embedding"]))) == 256
    assert Decimal("0.00000001") * floats["usage"]["prompt_tokens"] == floats["usage"]["cost"]


async def test_models_name_prices_as_decimal_texts(quick: Client) -> None:
    """Text models by default, embeddings by a filter."""
    models = {row["id"]: row for row in (await quick.get("/api/v1/models"))["data"]}
    embeddings = await quick.get("/api/v1/models", output_modalities="embeddings")

    assert models["google/gemini-2.5-flash"]["pricing"] == {
        "prompt": "0.0000003",
        "completion": "0.0000025",
        "request": "0",
        "image": "0",
    }
    assert "qwen/qwen3-embedding-8b" not in models
    assert "qwen/qwen3-embedding-8b" in [row["id"] for row in embeddings["data"]]


async def test_the_key_knows_what_it_spent_and_credits_are_closed(quick: Client) -> None:
    """Usage is the sum of all generations; credits need a management key."""
    before = (await quick.get("/api/v1/key"))["data"]["usage"]
    costs = [(await quick.chat(f"kite {number}"))["usage"]["cost"] for number in range(3)]

    assert before + sum(costs) == (await quick.get("/api/v1/key"))["data"]["usage"]
    assert (await quick.get("/api/v1/credits"))["error"]["code"] == 403


# --- endings as text ---


@pytest.mark.parametrize(
    ("prompt", "words", "slow", "rest"),
    [
        ("a kite", set[str](), None, "a kite"),
        ("a [FAIL] kite [slow 2.5]", {"fail"}, 2.5, "a kite"),
        ("[lost]", {"lost"}, None, "[lost]"),
        ("[slow] [chorus]\nla  la", set[str](), None, "[slow] [chorus]\nla la"),
    ],
)
def test_markers_are_read_and_left_out(prompt: str, words: set[str], slow: float | None, rest: str) -> None:
    """Other words in brackets, such as the parts of a song, are no markers."""
    ending = ending_of(prompt)

    assert (words, slow, rest) == (ending.words, ending.slow, unmarked(prompt))
