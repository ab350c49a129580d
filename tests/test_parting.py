"""A process that is told to stop goes soon, whatever is under way, and the next one ends it without a second charge."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from PIL import Image

from cluster import START, Cluster, Node, cluster, settled

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

BOUND = 30.0
"""Seconds until the process must be gone: thrice what is promised, for a machine that is busy."""
CHAT = "api/v1/phaya-gpt/chat/completions"


async def _listen(run: Cluster, node: Node, path: str, body: Any = None) -> tuple[int, bytes]:
    """A long answer as it ends: nothing may be cut off in the middle of its transfer."""
    headers = {"Authorization": f"Bearer {run.key}"}
    method = "GET" if body is None else "POST"
    async with run.session.request(method, f"{node.url}/{path}", json=body, headers=headers) as answer:
        return answer.status, await answer.read()


def _chat(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "[forever] Tell me of the sea"}], "stream": True, **fields}


async def _upload(run: Cluster, node: Node, begun: asyncio.Event) -> tuple[int, Any]:
    """An upload that never comes to its end."""

    async def file() -> AsyncGenerator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        while True:
            yield bytes(5000)
            begun.set()
            await asyncio.sleep(0.1)

    headers = {"Authorization": f"Bearer {run.key}", "Content-Type": "multipart/form-data; boundary=x"}
    async with run.session.post(f"{node.url}/api/v1/media/upload", data=file(), headers=headers) as answer:
        return answer.status, await answer.json()


async def _picture(run: Cluster, node: Node) -> str:
    """The address of an uploaded picture."""
    content = io.BytesIO()
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(content, "PNG")
    form = aiohttp.FormData()
    form.add_field("file", content.getvalue(), filename="a.png")
    headers = {"Authorization": f"Bearer {run.key}"}
    async with run.session.post(f"{node.url}/api/v1/media/upload", data=form, headers=headers) as answer:
        return (await answer.json())["url"]


async def _working(run: Cluster, job: str) -> None:
    """Returns once a film is being rendered."""
    async with asyncio.timeout(60):
        while True:
            _, status = await run.ask("GET", f"image-to-video/status/{job}")
            assert status["state"] in ("queued", "processing"), status
            if status["progress"]:
                return
            await asyncio.sleep(0.1)


async def _stopped(run: Cluster, node: Node) -> None:
    """Told to stop, and gone."""
    async with asyncio.timeout(BOUND):
        await run.kill(node, signal.SIGTERM)


async def test_a_process_that_is_told_to_stop_is_gone_soon_and_the_next_ends_its_jobs(tmp_path: Path) -> None:
    async with cluster(tmp_path) as run:
        node = await run.serve()
        job = await run.create("[slow 3]")
        waiting = [
            asyncio.create_task(_listen(run, node, f"api/v1/text-to-image/status/{job}?wait=60")),
            asyncio.create_task(_listen(run, node, f"api/v1/jobs/{job}/events")),
        ]
        loading = asyncio.create_task(run.load(0.05))
        await asyncio.sleep(1.5)

        stopping = asyncio.create_task(_stopped(run, node))
        heard = await asyncio.gather(*waiting, return_exceptions=True)
        await stopping
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, IndexError):
            await loading
        await run.start(node)

        assert not [one for one in heard if isinstance(one, BaseException)], heard
        states = await settled(run, "told to stop")
        assert states["completed"] > 0


async def test_streams_uploads_and_renders_that_a_stop_breaks_off_end_in_words_and_cost_once(tmp_path: Path) -> None:
    """A chat is ended by an event and paid for what was said; an upload is refused; a render is begun by the next."""
    async with cluster(tmp_path, embedded=True) as run:
        node = await run.serve(PHAYA_SANDBOX_PACE="1", PHAYA_DEADLINE_SCALE="1")
        film = {"image_url": await _picture(run, node), "duration": 60, "zoom": {"mode": "pan_left"}}
        _, render = await run.ask("POST", "image-to-video/create", film)
        begun = asyncio.Event()
        native = asyncio.create_task(_listen(run, node, CHAT, _chat()))
        openai = asyncio.create_task(_listen(run, node, "v1/chat/completions", _chat(model="phaya-gpt")))
        upload = asyncio.create_task(_upload(run, node, begun))
        await begun.wait()
        await _working(run, render["job_id"])

        stopping = asyncio.create_task(_stopped(run, node))
        streams = await asyncio.gather(native, openai)
        refused = await upload
        await stopping
        await run.start(node)
        await _working(run, render["job_id"])
        _, history = await run.ask("GET", "user/credits/history")
        await run.ask("POST", f"image-to-video/cancel/{render['job_id']}", {})
        _, after = await run.ask("GET", "user/credits")
        faults = await run.check()
        told = (tmp_path / "serve.log").read_text()

    for status, body in streams:
        last = orjson.loads(body.strip().split(b"\n\n")[-1].removeprefix(b"data: "))
        assert (status, last["error"]["code"]) == (200, "provider_error"), last
    assert (refused[0], refused[1]["error"]) == (503, "restarting")
    charges = [entry for entry in history["history"] if entry["amount"] < 0]
    assert [entry["service"] for entry in charges if entry["job_id"] == render["job_id"]] == ["image-to-video"]
    assert len(charges) == 3
    # The film was given up in the end: what is missing is the price of what the chats said, and no more.
    talked = -sum(Decimal(str(entry["amount"])) for entry in history["history"] if entry["service"] == "phaya-gpt")
    assert 0 < talked < 1
    assert Decimal(str(after["credits_balance"])) == START - talked
    assert faults == []
    assert "Traceback" not in told
