"""The client follows a job by its events, and makes do with less."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conftest import Phaya
from phaya.catalog import SERVICES
from phaya.client import ApiError, Wire
from phaya.serving import listen, serving

pytestmark = pytest.mark.anyio

STATES = ("queued", "processing", "completed")


@asynccontextmanager
async def older(*routes: Route) -> AsyncGenerator[Wire]:
    """A client of a server that has only these routes."""
    with listen("127.0.0.1", 0) as listener:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with serving(Starlette(routes=list(routes)), listener), Wire(base, "pk_x") as client:
            yield client


async def followed(client: Wire, job: str, pause: float = 0.01) -> list[str]:
    async with asyncio.timeout(60):
        return [status["state"] async for status in client.follow("text-to-image", job, pause=pause)]


async def test_following_a_job_is_one_request(phaya: Phaya) -> None:
    key = await phaya.new_key("5", rate=None)
    job = (await phaya.create(SERVICES["text-to-image"], key, prompt="A slow sunrise [slow 1]"))["job_id"]

    async with Wire(f"{phaya.url}/api/v1", key) as client:
        states = await followed(client, job)

    assert states[-1] == "completed"
    after = await phaya.get(f"text-to-image/status/{job}", key=key)
    assert after.headers["RateLimit"].startswith('"polls";r=598;'), "one for the stream, one for this"


async def test_a_job_that_is_not_there_is_told_as_such(phaya: Phaya) -> None:
    async with Wire(f"{phaya.url}/api/v1", phaya.key) as client:
        with pytest.raises(ApiError, match="There is no job nothing"):
            await followed(client, "nothing")


async def test_a_server_without_events_is_polled() -> None:
    left = list(STATES)

    def status(request: Request) -> Response:
        return JSONResponse({"state": left.pop(0)})

    async with older(Route("/text-to-image/status/{job}", status)) as client:
        assert await followed(client, "j") == [*STATES]


async def test_a_server_that_fails_now_and_then_is_asked_again() -> None:
    answers: list[Response] = [Response("down", 502), Response("down", 503, {"Retry-After": "0"})]

    def events(request: Request) -> Response:
        return answers.pop(0) if answers else stream({"state": "failed"}, 1)

    async with older(Route("/text-to-image/status/{job}/events", events)) as client:
        assert await followed(client, "j") == ["failed"]


async def test_a_stream_that_breaks_off_is_taken_up_where_it_was() -> None:
    asked: list[str | None] = []

    def events(request: Request) -> Response:
        asked.append(request.headers.get("last-event-id"))
        number = len(asked)
        return stream({"state": STATES[number - 1]}, number)

    async with older(Route("/text-to-image/status/{job}/events", events)) as client:
        assert await followed(client, "j") == [*STATES]
    assert asked == [None, "1", "2"]


def stream(status: dict[str, Any], number: int) -> Response:
    """A stream of a single event, that then ends."""
    event = b"retry: 9\n\n: hello\n\nevent: status\nid: %d\ndata: %s\n\n" % (number, orjson.dumps(status))
    return Response(event, media_type="text/event-stream")
