"""The status poll: the same job asked again and again, many different ones, and 304."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial

import aiohttp
import orjson

import floors
import subjects
from crowd import fill
from figures import Part, Row, ratio
from load import Answer, Load, ask, request
from phaya.clock import MINUTE, SystemClock
from phaya.workflow import callback_token
from sitting import Points, Sitting

CONNECTIONS = (1, 16, 64, 512)
BARE = "bare ASGI hello"
FINISHED, RUNNING, KNOWN, MANY = (
    "finished job", "running job", "finished job, If-None-Match", "many different jobs",
)  # fmt: skip
CREATE = "/api/v1/text-to-image/generate"
STATUS = "/api/v1/text-to-image/status/"


async def measure(sitting: Sitting) -> Part:
    """Polls at each number of connections, beside a bare server."""
    many = 2000 if sitting.quick else 20_000
    rows: list[Row] = []
    async with contextlib.AsyncExitStack() as stack:
        kie = await stack.enter_async_context(subjects.provider(sitting.folder))
        bare = await stack.enter_async_context(floors.hello(sitting.folder, "asgi", BARE))
        prepared = await stack.enter_async_context(subjects.books(sitting.folder / "polls", "sqlite"))
        await prepared.endow(1)
        async with prepared.open() as database:
            opened = await fill(database, many, (subjects.KIE_KEY,), SystemClock().now(), look_in=60 * MINUTE)
        phaya = await stack.enter_async_context(subjects.serving(prepared, kie))
        key = prepared.purses[0]
        done = await finished_job(phaya.port, kie, key)
        loads = {
            FINISHED: poll(phaya.port, key, [done], "COMPLETED"),
            RUNNING: poll(phaya.port, key, [opened[0].id], "PROCESSING"),
            KNOWN: await _known(phaya.port, key, done),
            MANY: poll(phaya.port, key, [job.id for job in opened], "PROCESSING"),
        }
        points: Points = []
        for connections in CONNECTIONS:
            for subject, name, load in [
                (bare, BARE, floors.greeting(bare.port)), *((phaya, name, load) for name, load in loads.items())
            ]:  # fmt: skip
                row = Row(name)
                row.add(connections=connections)
                rows.append(row)
                points.append((row, partial(subject.take, load, connections, sitting.seconds)))
        await sitting.interleaved(points)
    part = Part("status", "Status polls, SQLite", rows)
    for row in rows:
        floor = part.row(BARE, row.median("connections"))
        assert floor is not None
        row.add(
            ratio=ratio(row.median("rate"), floor.median("rate")), lean=ratio(row.median("each"), floor.median("each"))
        )
    return part


def poll(port: int, key: str, ids: list[str], word: str) -> Load:
    """Polls of these jobs in turn, of which each is to be told with this word."""

    def check(answer: Answer) -> None:
        assert answer.status == 200
        assert answer.json["status"] == word
        assert answer.json["job_id"] in ids
        assert "RateLimit" in answer.headers

    return Load(port, [request("GET", STATUS + one, subjects.bearer(key)) for one in ids], check)


async def _known(port: int, key: str, job_id: str) -> Load:
    first = await ask(port, request("GET", STATUS + job_id, subjects.bearer(key)))

    def check(answer: Answer) -> None:
        assert answer.status == 304
        assert answer.headers["ETag"] == first.headers["ETag"]

    headers = subjects.bearer(key) | {"If-None-Match": first.headers["ETag"]}
    return Load(port, [request("GET", STATUS + job_id, headers)], check)


async def finished_job(port: int, kie: str, key: str) -> str:
    """A job that was bought, made and brought home."""
    made = await ask(port, request("POST", CREATE, subjects.bearer(key), {"prompt": "A lighthouse above a calm sea"}))
    assert made.status == 200, made.body
    job_id: str = made.json["job_id"]
    await end_task(port, kie, job_id)
    until = time.monotonic() + 60
    while (await ask(port, request("GET", STATUS + job_id, subjects.bearer(key)))).json["status"] != "COMPLETED":
        assert time.monotonic() < until, "the job does not end"
        await asyncio.sleep(0.1)
    return job_id


async def end_task(port: int, kie: str, job_id: str) -> None:
    """Lets the provider end a job's task and call back, once it has it."""
    address = f"http://127.0.0.1:{port}/api/v1/text-to-image/callback"
    url = f"{address}?job={job_id}&token={callback_token(subjects.SECRET.encode(), job_id)}"
    until = time.monotonic() + 30
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{kie}/bench/created") as answer:
                tasks: list[tuple[str, str]] = orjson.loads(await answer.read())["tasks"]
            if (ticket := next((ticket for ticket, told in tasks if job_id in told), None)) is not None:
                break
            assert time.monotonic() < until, "the job does not reach its provider"
            await asyncio.sleep(0.05)
        order = orjson.dumps({"tasks": [(ticket, url)], "rate": 0})
        async with session.post(f"{kie}/bench/end", data=order) as answer:
            assert orjson.loads(await answer.read())["refused"] == 0
