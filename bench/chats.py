"""Chats, plain and streamed, billed exactly, beside what else people put before a chat provider."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

import rivals
import subjects
from figures import Part, Row
from load import Answer, Load, Void, request
from phaya.catalog.language import ChatRequest, cost
from sitting import Points, Sitting
from upstream import COMPLETION_TOKENS, PROMPT_TOKENS, WORDS, upstream

CONNECTIONS = (1, 16, 64)
SHAPES = ("plain", "stream")
DIRECT, PHAYA, LITELLM, PORTKEY = "the upstream asked directly", "Phaya", "LiteLLM", "Portkey"
PRICE = cost(ChatRequest.rates, PROMPT_TOKENS, COMPLETION_TOKENS)


async def measure(sitting: Sitting) -> Part:
    """The same chat by each gateway, and without any."""
    points: Points = []
    missing: list[Row] = []
    slack = 0
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(upstream(sitting.folder / "upstream"))
        prepared = await stack.enter_async_context(subjects.books(sitting.folder / "chats", "sqlite"))
        await prepared.endow(1)
        phaya = await stack.enter_async_context(
            subjects.serving(prepared, openrouter=f"http://127.0.0.1:{port}/v1", name=PHAYA)
        )
        loads: list[tuple[subjects.Subject | None, str, Callable[[str], Load]]] = [
            (None, DIRECT, partial(_direct, port)), (phaya, PHAYA, partial(_phaya, phaya.port, prepared.purses[0])),
        ]  # fmt: skip
        for name, start in ((LITELLM, _litellm), (PORTKEY, _portkey)):
            try:
                subject, load = await start(stack, sitting, port)
                loads.append((subject, subject.name, load))
            except Void as error:
                missing.append(Row(name, void=str(error)))
                sitting.say(f"{name}: {error}")
        for shape in SHAPES:
            for connections in CONNECTIONS:
                for subject, name, load in loads:
                    row = Row(f"{name}, {shape}")
                    row.add(connections=connections)
                    points.append((row, partial(_take, subject, load(shape), connections, sitting.seconds)))
                slack += sitting.repeats * (connections + 2)
        await sitting.interleaved(points)
    part = Part("chat", "Chats, SQLite", [*(row for row, _ in points), *missing])
    try:
        note = await prepared.proven(phaya.answers, PRICE, slack)
    except Void as error:
        note = ""
        for row in part.rows:
            if row.name.startswith(PHAYA):
                row.void = row.void or str(error)
    sitting.say(f"Phaya: {note}")
    for row in part.rows:
        direct = part.row(f"{DIRECT}, {row.name.rpartition(', ')[2]}", 1)
        if row.readings.get("connections") == [1] and direct is not None and direct is not row:
            row.add(added=row.median("p50") - direct.median("p50"))
    first = part.row(f"{PHAYA}, plain", 1)
    assert first is not None
    first.note = note
    return part


async def _take(subject: subjects.Subject | None, load: Load, connections: int, seconds: float) -> dict[str, float]:
    if subject is not None:
        return await subject.take(load, connections, seconds)
    burst = await load.run(connections, seconds)
    return {"rate": burst.rate, "p50": burst.p50, "p99": burst.p99}


def _body(shape: str, model: str) -> dict[str, object]:
    asked: dict[str, object] = {
        "model": model, "messages": [{"role": "user", "content": "Say good morning in Thai."}], "max_tokens": 100,
    }  # fmt: skip
    return asked | ({"stream": True, "stream_options": {"include_usage": True}} if shape == "stream" else {})


def _load(port: int, path: str, headers: dict[str, str], body: dict[str, object], shape: str) -> Load:
    """A chat whose answer has all words and, when whole or ended, its usage."""

    def check(answer: Answer) -> None:
        assert answer.status == 200
        for word in WORDS.split():
            assert word.encode() in answer.body
        assert b'"prompt_tokens":11' in answer.body.replace(b" ", b"")
        if shape == "stream":
            assert answer.body.rstrip().endswith(b"data: [DONE]")
        else:
            assert answer.json["choices"][0]["message"]["content"] == WORDS

    return Load(port, [request("POST", path, headers, body)], check)


def _direct(port: int, shape: str) -> Load:
    return _load(port, f"/{shape}/v1/chat/completions", {}, _body(shape, "bench"), shape)


def _phaya(port: int, key: str, shape: str) -> Load:
    return _load(port, "/v1/chat/completions", subjects.bearer(key), _body(shape, "phaya-gpt"), shape)


Started = tuple[subjects.Subject, Callable[[str], Load]]


async def _litellm(stack: contextlib.AsyncExitStack, sitting: Sitting, upstream: int) -> Started:
    subject = await stack.enter_async_context(rivals.litellm(sitting.folder, upstream))

    def load(shape: str) -> Load:
        return _load(subject.port, "/v1/chat/completions", subjects.bearer(rivals.MASTER), _body(shape, shape), shape)

    return subject, load


async def _portkey(stack: contextlib.AsyncExitStack, sitting: Sitting, upstream: int) -> Started:
    subject = await stack.enter_async_context(rivals.portkey(sitting.folder))

    def load(shape: str) -> Load:
        headers = subjects.bearer("bench") | {
            "x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/{shape}/v1",
        }  # fmt: skip
        return _load(subject.port, "/v1/chat/completions", headers, _body(shape, "bench"), shape)

    return subject, load
