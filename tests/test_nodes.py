"""Several nodes, real processes, on one PostgreSQL: one dies, one is cut off, one's clock is wrong, one sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import conftest
from cluster import Cluster, cluster, settled
from conftest import SQLITE
from gate import gate
from phaya.clock import SharedClock
from phaya.engine import engine
from phaya.jobs import State, Step
from phaya.postgresql import PostgreSQL
from servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

ENGINES = (SQLITE,)

SLEEP = float(os.environ.get("PHAYA_STOP_SECONDS", "25"))
"""Seconds for which a node is stopped: longer than a lease."""
HOUR = 3_600_000

WRONG_CLOCK = """
import time
shift = {shift}
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + shift
time.time_ns = lambda: real_ns() + shift * 1_000_000_000
from phaya.__main__ import main
main()
"""
"""A node whose machine's clock is wrong by so many seconds."""


@contextlib.asynccontextmanager
async def loaded(run: Cluster, seconds: float) -> AsyncGenerator[None]:
    loading = asyncio.create_task(run.load(0.4))
    try:
        await asyncio.sleep(seconds)
        yield
        await asyncio.sleep(seconds)
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    assert loading.cancelled(), loading.exception()


async def test_the_jobs_of_a_node_that_dies_are_finished_by_the_others(tmp_path: Path, postgresql: Postgres) -> None:
    async with cluster(tmp_path, postgresql.new_database(), extra={"PHAYA_DEADLINE_SCALE": "1"}) as run:
        await run.serve()
        dying, _ = [await run.serve(PHAYA_PUBLIC_URL=run.nodes[0].url) for _ in range(2)]
        held = [await run.create("[slow 5]", dying) for _ in range(12)]
        while any(row.step in (Step.OPEN, Step.SUBMITTING) for row in (await run.rows())[1]):
            await asyncio.sleep(0.1)  # what is on its way to the provider at a kill is of unknown fate

        await run.kill(dying)

        run.nodes.remove(dying)
        statuses = await run.finish()
        faults = await run.check()
    assert faults == []
    assert {"completed": 12} == {"completed": sum(statuses[job or ""]["state"] == "completed" for job in held)}


async def test_parallel_creates_over_all_nodes_never_overdraw(tmp_path: Path, postgresql: Postgres) -> None:
    async with cluster(tmp_path, postgresql.new_database()) as run:
        first = await run.serve()
        for _ in range(2):
            await run.serve(PHAYA_PUBLIC_URL=first.url)
        run.key = await run.new_key("poor@x.org", 10)

        answers = await asyncio.gather(
            *(run.ask("POST", "text-to-image/generate", {"prompt": f"{n} [lost]"}, run.nodes[n % 3]) for n in range(60))
        )
        _, left = await run.ask("GET", "user/credits", node=run.nodes[1])

    assert {200: 10, 402: 50} == Counter(status for status, _ in answers)
    assert left["credits_balance"] == 0


async def test_a_node_that_is_cut_off_from_the_database_refuses_and_comes_back(
    tmp_path: Path, postgresql: Postgres
) -> None:
    url = postgresql.new_database()
    async with gate(postgresql.port) as way, cluster(tmp_path, url) as run:
        await run.serve()
        far = await run.serve(
            PHAYA_PUBLIC_URL=run.nodes[0].url, PHAYA_DATABASE_URL=url.replace(str(postgresql.port), str(way.port))
        )
        refused: list[tuple[int, Any]] = []
        async with loaded(run, 1):
            await way.close()
            refused += [await run.ask("GET", "user/credits", node=far) for _ in range(2)]
            refused.append(await run.ask("POST", "text-to-image/generate", {"prompt": "never"}, node=far))
            async with run.session.get(f"{far.url}/readyz") as ready, run.session.get(f"{far.url}/healthz") as alive:
                health = (ready.status, alive.status)
            await way.open()
            async with asyncio.timeout(30):
                while (await run.ask("GET", "user/credits", node=far))[0] != 200:
                    await asyncio.sleep(0.2)

        assert [503] * 3 == [status for status, _ in refused], "trouble with the database is never a wrong key"
        assert {"database_unavailable"} == {body["error"] for _, body in refused}
        assert health == (503, 200)
        await settled(run, "one node cut off")


async def test_wrong_clocks_steal_no_lease_and_lose_no_job(tmp_path: Path, postgresql: Postgres) -> None:
    url = postgresql.new_database()
    async with cluster(tmp_path, url) as run:
        first = await run.serve()
        for shift in (3600, -3600):
            wrong = ("-c", WRONG_CLOCK.format(shift=shift))
            await run.serve(program=wrong, PHAYA_PUBLIC_URL=first.url)
        async with loaded(run, 3):
            pass

        await settled(run, "clocks an hour off")
        _, rows = await run.rows()
        async with engine(conftest.settings(tmp_path / "now", PHAYA_DATABASE_URL=url)) as opened:
            now = opened.clock.now()
    assert all(abs(now - row.created_at) < HOUR / 2 for row in rows), "every node tells the database's time"


async def test_a_node_that_slept_past_its_leases_changes_nothing_that_is_not_its_own(
    tmp_path: Path, postgresql: Postgres
) -> None:
    async with cluster(tmp_path, postgresql.new_database()) as run:
        await run.serve()
        sleeper = await run.serve(PHAYA_PUBLIC_URL=run.nodes[0].url)
        async with loaded(run, 1):
            assert sleeper.process is not None
            sleeper.process.send_signal(signal.SIGSTOP)
            run.asleep.add(sleeper.url)
        await asyncio.sleep(SLEEP)
        await run.finish()
        before = await _ended(run)

        sleeper.process.send_signal(signal.SIGCONT)
        run.asleep.clear()
        async with asyncio.timeout(30):
            while (await run.ask("GET", "user/credits", node=sleeper))[0] != 200:
                await asyncio.sleep(0.2)
        await asyncio.sleep(2)

        after = await _ended(run)
        assert before == {job: after[job] for job in before}
        await settled(run, f"one node stopped for {SLEEP:g} s")


async def test_a_worker_for_renders_takes_them_from_the_servers(tmp_path: Path, postgresql: Postgres) -> None:
    async with cluster(tmp_path, postgresql.new_database()) as run:
        server = await run.serve("--only", "remote")
        picture = await run.create()
        await run.finish()
        _, told = await run.ask("GET", f"text-to-image/status/{picture}")
        status, clip = await run.ask("POST", "image-to-video/create", {"image_url": told["image_url"], "duration": 1})
        assert status == 200, clip
        await asyncio.sleep(2)
        _, waiting = await run.ask("GET", f"image-to-video/status/{clip['job_id']}")

        await run.work("--only", "render")

        async with asyncio.timeout(60):
            while (made := (await run.ask("GET", f"image-to-video/status/{clip['job_id']}"))[1])[
                "state"
            ] != "completed":
                assert made["state"] in ("queued", "processing"), made
                await asyncio.sleep(0.2)
        async with run.session.get(made["video_url"]) as film:
            content = await film.read()
    assert (waiting["state"], server.port is not None) == ("queued", True)
    assert content[4:8] == b"ftyp"


async def test_a_shared_clock_goes_by_the_database_whatever_the_machines_says(
    postgresql: Postgres,
) -> None:
    database = await PostgreSQL(postgresql.new_database(), connections=2).open()
    try:
        elapsed = 5
        clock = SharedClock(lambda: elapsed)
        await clock.follow(database.now)
        told = clock.now()
        elapsed += 90_000

        assert abs(told - await database.now()) < HOUR
        assert clock.now() == told + 90_000, "a time in which the process was stopped counts"
    finally:
        await database.close()


async def test_a_node_with_another_secret_is_not_let_in(tmp_path: Path, postgresql: Postgres) -> None:
    async with cluster(tmp_path, postgresql.new_database()) as run:
        run.extra["PHAYA_SECRET"] = "another"
        code, _ = await run.phaya("serve", "--port", "0")
        refused, _ = await run.phaya("keys", "list", "--account", "k@x.org")

    assert (code, refused) == (1, 1)


async def _ended(run: Cluster) -> dict[str, tuple[Any, ...]]:
    """Every ended job with its row and its files, as they are."""
    _, rows = await run.rows()
    media = run.folder / "data" / "media"
    found: dict[str, tuple[Any, ...]] = {}
    for row in rows:
        if State(row.state).ended and row.next_at is None:
            files = sorted(
                (file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in media.glob(f"*/*/{row.id}/*")
            )
            found[row.id] = (row.rev, row.state, row.returned, row.results, row.ended_at, tuple(files))
    return found
