"""A process that is told to stop goes soon, whatever is under way, and the next one ends it without a second charge."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cluster import Cluster, Node, cluster, settled

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

BOUND = 20.0
"""Seconds until the process must be gone: twice what is promised, for a machine that is busy."""


async def _listen(run: Cluster, node: Node, path: str, body: Any = None) -> tuple[int, bytes]:
    """A long answer as it ends: nothing may be cut off in the middle of its transfer."""
    headers = {"Authorization": f"Bearer {run.key}"}
    method = "GET" if body is None else "POST"
    async with run.session.request(method, f"{node.url}/{path}", json=body, headers=headers) as answer:
        return answer.status, await answer.read()


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

        start = time.monotonic()
        stopping = asyncio.create_task(run.kill(node, signal.SIGTERM))
        heard = await asyncio.gather(*waiting, return_exceptions=True)
        await stopping
        took = time.monotonic() - start
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, IndexError):
            await loading
        await run.start(node)

        assert took < BOUND
        assert not [one for one in heard if isinstance(one, BaseException)], heard
        states = await settled(run, "told to stop")
        assert states["completed"] > 0
