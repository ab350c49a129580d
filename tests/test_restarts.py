"""What Phaya relies on goes away under load and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from cluster import cluster, settled
from servers import postgres

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def test_a_database_that_restarts_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with postgres() as server:
        async with cluster(tmp_path, server.new_database()) as run:
            node = await run.serve()
            loading = asyncio.create_task(run.load(0.1))
            await asyncio.sleep(1)
            server.stop(signal.SIGQUIT)
            headers = {"Authorization": f"Bearer {run.key}"}
            address = f"{node.url}/api/v1/text-to-image/generate"
            async with run.session.post(address, json={"prompt": "never"}, headers=headers) as refused:
                told = await refused.json()
            async with run.session.get(f"{node.url}/readyz") as ready:
                seen = await ready.json()
            await asyncio.to_thread(server.start)
            await asyncio.sleep(1)
            loading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loading

            assert (refused.status, told["error"]) == (503, "database_unavailable")
            assert int(refused.headers["Retry-After"]) > 0
            assert (ready.status, list(seen["troubles"])) == (503, ["database"])
            await settled(run, "a database that restarted")
