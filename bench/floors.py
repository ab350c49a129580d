"""The floors, and the proof that neither the load nor the upstream is what is measured."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import orjson

import machine
import subjects
from figures import Part, Row
from load import Answer, Load, request
from sitting import Sitting
from upstream import WORDS, upstream

HERE = Path(__file__).parent
AT = 64
BODY = {"model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": "Say good morning in Thai."}]}


@contextlib.asynccontextmanager
async def hello(folder: Path, kind: str, name: str) -> AsyncGenerator[subjects.Subject]:
    """The bare server of a kind, on the server's core."""
    port = machine.free_port()
    command = (sys.executable, str(HERE / "hello.py"), kind, str(port))
    async with machine.spawned(folder / f"{kind}.log", command, {}, machine.SERVER) as process:
        await machine.answered(f"http://127.0.0.1:{port}/hello")
        yield subjects.Subject(name, port, process)


def greeting(port: int) -> Load:
    """A load for such a server."""
    return Load(port, [request("GET", "/hello")], _alive)


def _alive(answer: Answer) -> None:
    assert answer.status == 200
    assert answer.json["status"] == "alive"


def _said(answer: Answer) -> None:
    assert answer.status == 200
    assert WORDS.split()[0].encode() in answer.body


async def debits(kind: str, where: str, accounts: int, seconds: float) -> dict[str, float]:
    """Raw debits in a process of their own, on the server's core."""
    command = (sys.executable, str(HERE / "debit.py"), kind, where, str(accounts), str(seconds))
    done = orjson.loads(await machine.printed(machine.pinned(machine.SERVER, *command), {}))
    return {"rate": done["count"] / done["seconds"], "cpu": 1e6 * done["cpu"] / done["count"]}


async def measure(sitting: Sitting) -> Part:
    """Load and upstream alone, bare servers, raw debits."""
    rows = [Row("wrk and nginx alone, plain chat", note="both on the cores that are not the server's")]
    rows += [Row("wrk and nginx alone, streamed chat", note="the ceiling of everything that is measured with them")]
    rows += [Row("bare ASGI hello"), Row("FastAPI hello, one Pydantic answer")]
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(upstream(sitting.folder / "upstream"))
        loads = [
            Load(port, [request("POST", f"/{shape}/v1/chat/completions", {}, BODY)], _said)
            for shape in ("plain", "stream")
        ]
        alone = [partial(_alone, load, sitting.seconds) for load in loads]
        servers = [await stack.enter_async_context(hello(sitting.folder, kind, kind)) for kind in ("asgi", "fastapi")]
        bare = [partial(server.take, greeting(server.port), AT, sitting.seconds) for server in servers]
        for row in rows:
            row.add(connections=AT)
        await sitting.interleaved(zip(rows, [*alone, *bare], strict=True))
    return Part("floors", "Floors", rows)


async def _alone(load: Load, seconds: float) -> dict[str, float]:
    burst = await load.run(AT, seconds)
    return {"rate": burst.rate, "p50": burst.p50, "p99": burst.p99}
