"""Traces from the request to the provider, as a collector receives them; and nothing where none are asked for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from conftest import Phaya, running
from phaya import __version__, tracing
from phaya.catalog.images import TextToImage
from phaya.serving import listen

pytestmark = pytest.mark.anyio

PROMPT = "a red boat that nobody may read about"
THEIRS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Seen:
    """A span as it was sent."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    links: list[str]
    failed: bool
    values: dict[str, Any]


@dataclass
class Collector:
    """Takes spans by OTLP, and answers chats as OpenRouter would."""

    url: str
    spans: list[Seen] = field(default_factory=list[Seen])
    resource: dict[str, Any] = field(default_factory=dict[str, Any])
    heard: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    raw: bytes = b""

    async def take(self, request: web.Request) -> web.Response:
        self.raw += (body := await request.read())
        for told in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = _values(told.resource.attributes)
            for scope in told.scope_spans:
                self.spans += [
                    Seen(
                        span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.kind,
                        [link.trace_id.hex() for link in span.links], span.status.code == 2, _values(span.attributes),
                    )
                    for span in scope.spans
                ]  # fmt: skip
        return web.Response(content_type="application/x-protobuf")

    async def chat(self, request: web.Request) -> web.Response:
        self.heard.append({name.lower(): value for name, value in request.headers.items()})
        if b"[fail]" in await request.read():
            return web.json_response({"error": {"code": 502, "message": "no"}}, status=502)
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15, "cost": 0.0001}
        return web.json_response({"id": "gen-1", "choices": [choice], "usage": usage})

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@asynccontextmanager
async def collecting(monkeypatch: pytest.MonkeyPatch, **environment: str) -> AsyncGenerator[Collector]:
    """Traces are on for the block, and all of them have arrived after it."""
    with listen("127.0.0.1", 0) as listener:
        collector = Collector(f"http://127.0.0.1:{listener.getsockname()[1]}")
        app = web.Application()
        app.router.add_post("/v1/traces", collector.take)
        app.router.add_post("/chat/completions", collector.chat)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **environment}.items():
            monkeypatch.setenv(name, value)
        await asyncio.to_thread(tracing.start, __version__)
        try:
            yield collector
        finally:
            await asyncio.to_thread(tracing.stop)
            await runner.cleanup()


async def finished(phaya: Phaya, **fields: Any) -> dict[str, Any]:
    made = await phaya.create(TextToImage, **fields)
    return await phaya.finish("text-to-image", made["job_id"])


async def test_a_job_is_one_trace_that_its_request_is_linked_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with collecting(monkeypatch) as collector, running(tmp_path) as phaya:
        job = await finished(phaya, prompt=PROMPT)

    [request] = collector.named("POST /api/v1/text-to-image/generate")
    [root] = collector.named("job text-to-image")
    [submit] = collector.named("generate_content z-image")
    assert request.links == [root.trace]
    assert request.values["http.response.status_code"] == 200
    assert request.values["phaya.job.id"] == root.values["phaya.job.id"] == job["job_id"]
    assert root.values["phaya.job.state"] == "completed"
    moves = [span for span in collector.spans if span.trace == root.trace and span.name.startswith("job ")]
    assert {"job open", "job awaiting", "job text-to-image"} <= {span.name for span in moves}
    assert {span.parent for span in moves if span is not root} == {root.id}
    assert submit.trace == root.trace
    assert submit.parent in {span.id for span in collector.named("job open")}
    assert submit.kind == 3
    assert submit.values["gen_ai.provider.name"] == "kie"
    assert submit.values["gen_ai.request.model"] == "z-image"
    assert submit.values["gen_ai.operation.name"] == "generate_content"
    assert collector.resource["service.name"] == "phaya"
    assert PROMPT.encode() not in collector.raw
    assert phaya.key.encode() not in collector.raw


async def test_a_chat_is_told_with_its_tokens_and_strangers_learn_nothing_of_the_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with collecting(monkeypatch, OTEL_SERVICE_NAME="shop") as collector:
        provider = {"OPENROUTER_API_KEY": "sk-or-x", "OPENROUTER_BASE_URL": collector.url}
        async with running(tmp_path, **provider) as phaya:
            for word in (PROMPT, f"[fail] {PROMPT}"):
                body = {"messages": [{"role": "user", "content": word}]}
                await phaya.post("phaya-gpt/chat/completions", body, traceparent=THEIRS)

    good, bad = collector.named("POST /api/v1/phaya-gpt/chat/completions")
    asked = collector.named("chat google/gemini-2.5-flash")
    [first] = [span for span in asked if span.parent == good.id]
    assert first.trace == good.trace
    assert (first.values["gen_ai.usage.input_tokens"], first.values["gen_ai.usage.output_tokens"]) == (11, 4)
    assert first.values["gen_ai.response.id"] == "gen-1"
    assert first.values["gen_ai.provider.name"] == "openrouter"
    assert not first.failed
    failed = [span for span in asked if span.parent == bad.id]
    assert failed
    assert all(span.failed and span.values["error.type"] in ("unavailable", "rejected") for span in failed)
    assert good.trace != THEIRS[3:35]
    assert THEIRS[3:35] in good.links
    assert collector.heard
    assert not [head for head in collector.heard if {"traceparent", "tracestate", "baggage"} & head.keys()]
    assert collector.resource["service.name"] == "shop"
    assert PROMPT.encode() not in collector.raw


async def test_sampling_keeps_or_leaves_out_whole_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    async with collecting(monkeypatch, **ratio) as collector, running(tmp_path) as phaya:
        await finished(phaya)

    assert collector.spans == []


def test_every_node_and_version_gives_a_job_the_same_trace() -> None:
    from phaya.spans import ids_of

    trace, span = ids_of("00000000-0000-4000-8000-000000000001")

    assert f"{trace:032x} {span:016x}" == "8578391dfac35a87f79c8d44f07ffdec 71f32c966425af16"


def test_traces_without_the_extra_end_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "phaya.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)

    with pytest.raises(tracing.NoTracing, match=r"pip install 'phaya\[otel\]'"):
        tracing.start(__version__)


def test_an_exporter_that_there_is_not_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")

    with pytest.raises(tracing.NoTracing, match="otlp, console or none"):
        tracing.start(__version__)


OFF = """
import asyncio, pathlib, sys, tempfile
from conftest import running
from phaya.catalog.images import TextToImage

async def run():
    with tempfile.TemporaryDirectory() as folder:
        async with running(pathlib.Path(folder)) as phaya:
            made = await phaya.create(TextToImage)
            await phaya.finish("text-to-image", made["job_id"])
            await phaya.post("phaya-gpt/chat/completions", {"messages": [{"role": "user", "content": "hello"}]})

asyncio.run(run())
print(__import__("json").dumps(sorted(sys.modules)))
"""


def test_without_traces_nothing_that_makes_them_is_loaded() -> None:
    """Also where the extra is installed. The bare API, which does nothing by itself, is loaded by FastAPI."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OTEL_TRACES_EXPORTER": "otlp"}
    done = subprocess.run([sys.executable, "-c", OFF], env=environment, capture_output=True, timeout=120, check=True)

    loaded: list[str] = orjson.loads(done.stdout.splitlines()[-1])
    assert "phaya.tracing" in loaded
    assert [name for name in loaded if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))] == []
    assert "phaya.spans" not in loaded
