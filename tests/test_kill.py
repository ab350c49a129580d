"""`kill -9` of real nodes at random instants under load: no accepted job lost, none bought twice, every failed one paid
back once. On SQLite, on PostgreSQL, and on PostgreSQL with three nodes of which one after the other dies.

Two hundred kills and more: `PHAYA_KILLS=70 .venv/bin/pytest tests/test_kill.py -s`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from cluster import KILLS, Cluster, Node, cluster, settled
from servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180 + 10 * KILLS)]


@contextlib.asynccontextmanager
async def under_load(run: Cluster) -> AsyncGenerator[None]:
    loading = asyncio.create_task(run.load())
    try:
        yield
        await asyncio.sleep(1)
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    assert loading.cancelled(), loading.exception()


async def test_no_kill_of_the_only_process_loses_a_job_buys_twice_or_keeps_a_credit(tmp_path: Path) -> None:
    async with cluster(tmp_path) as run:
        node = await run.serve()
        async with under_load(run):
            for _ in range(KILLS):
                await asyncio.sleep(run.dice.uniform(0.05, 1.5))
                await run.kill(node)
                await run.start(node)

        await settled(run, f"SQLite, {KILLS} kills")


@pytest.mark.parametrize("count", [1, 3])
async def test_no_kill_among_nodes_loses_a_job_buys_twice_or_keeps_a_credit(
    tmp_path: Path, postgresql: Postgres, count: int
) -> None:
    async with cluster(tmp_path, postgresql.new_database()) as run:
        nodes = [await run.serve() for _ in range(count)]
        async with under_load(run):
            for _ in range(KILLS):
                await asyncio.sleep(run.dice.uniform(0.05, 1.5))
                node: Node = run.dice.choice(nodes)
                await run.kill(node)
                await run.start(node)

        await settled(run, f"PostgreSQL, {count} nodes, {KILLS} kills")


async def test_the_embedded_sandbox_survives_the_kill_with_its_tasks(tmp_path: Path) -> None:
    """One process, as on a laptop: provider and Phaya die together, and go on together."""
    async with cluster(tmp_path, embedded=True) as run:
        node = await run.serve()
        for number in range(12):
            await run.create("[slow 4]" if number % 2 else "[fail]")
            if number % 4 == 3:
                await asyncio.sleep(run.dice.uniform(0, 0.6))
                await run.kill(node)
                await run.start(node)

        statuses = await run.finish()
        faults = await run.check()
        _, credits = await run.ask("GET", "user/credits")

    completed = [job for job, status in statuses.items() if status["state"] == "completed"]
    assert faults == []
    assert len(statuses) == 12
    assert completed, "most tasks were accepted before the kill"
    assert all("[slow 4]" in run.accepted[job] for job in completed)
    assert credits["credits_balance"] == 100_000 - len(completed)


@pytest.mark.parametrize("shared", [False, True], ids=["sqlite", "postgresql"])
async def test_a_restart_with_thirty_jobs_in_flight_submits_none_again(
    tmp_path: Path, postgresql: Postgres, shared: bool
) -> None:
    async with cluster(tmp_path, postgresql.new_database() if shared else None) as run:
        run.extra["PHAYA_DEADLINE_SCALE"] = "1"
        node = await run.serve()
        await asyncio.gather(*(run.create("[slow 5]") for _ in range(30)))
        async with asyncio.timeout(60):
            while len(await run.bought()) < 30:
                await asyncio.sleep(0.1)

        await run.kill(node)
        await run.start(node)

        assert {"completed": 30} == dict(await settled(run, "a restart"))
