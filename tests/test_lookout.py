"""One lookout serves all who wait, and a list reads what it should: both on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import pytest
from sqlalchemy import Connection

import servers
from phaya import jobs, keys, ledger
from phaya.credits import credits
from phaya.database import Database, Embedded
from phaya.errors import DatabaseDown, TooManyRequests
from phaya.jobs import Job, Search, Sight, State, Step
from phaya.lookout import CHUNK, Lookout
from phaya.openings import open_job
from phaya.postgresql import PostgreSQL
from phaya.workflow import call_off, cancel_job

pytestmark = pytest.mark.anyio

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Counted:
    """A database that counts the ids of each look, and fails as often as it is told to."""

    inner: Database
    looks: list[int] = field(default_factory=list[int])
    down: int = 0

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.inner.write(work, *args, **kwargs)

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.looks.append(len(cast("list[str]", args[0])))
        if self.down:
            self.down -= 1
            raise DatabaseDown()
        return await self.inner.read(work, *args, **kwargs)

    async def ready(self) -> None:
        await self.inner.ready()

    async def close(self) -> None:
        await self.inner.close()


@dataclass
class Store:
    """A database with an account that has jobs."""

    database: Database
    account: str
    key: str

    async def open(self, service: str = "text-to-image", at: int = 1000, **values: Any) -> Job:
        given: dict[str, Any] = {
            "id": str(uuid.uuid4()), "account_id": self.account, "key_id": self.key, "service": service,
            "request": "{}", "call": "{}", "sandbox": True, "price": credits("1"), "state": State.QUEUED,
            "step": Step.OPEN, "lane": "remote", "deadline_at": 10**12, "created_at": at, "next_at": at,
        }  # fmt: skip
        job = Job(**(given | values))
        await self.database.write(open_job, job)
        return job

    async def cancel(self, job: Job) -> None:
        assert await self.database.write(cancel_job, job.id, self.account, 2000, 1000)

    async def list(self, limit: int = 10, **search: Any) -> list[str]:
        given: dict[str, Any] = {"services": {"text-to-image": (), "seedream": ()}}
        wanted = Search(**(given | search))
        return [job.id for job in await self.database.read(jobs.history, self.account, wanted, limit)]


@pytest.fixture(scope="module")
def server() -> Generator[servers.Postgres]:
    with servers.postgres() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    if request.param == "sqlite":
        database: Database = Embedded(tmp_path)
    else:
        database = await PostgreSQL(request.getfixturevalue("server").new_database(), connections=4).open()
    account = await database.write(keys.open_account, "a@x", 0)
    _, key = await database.write(keys.mint, b"s", account, "k", 0)
    await database.write(ledger.grant, account.id, credits("10000"), "", 0)
    yield Store(database, account.id, key.id)
    await database.close()


def ended(sight: Sight) -> bool:
    return sight.state.ended


async def gathered(lookout: Lookout, many: int) -> None:
    async with asyncio.timeout(30):
        while lookout.waiting < many:
            await asyncio.sleep(0.01)


async def test_an_end_that_another_process_wrote_is_seen(store: Store) -> None:
    job, other = await store.open(), await store.open()
    lookout = Lookout(store.database, tick=0.01)
    waiting = asyncio.create_task(lookout.until(job.id, ended, 60))
    longer = asyncio.create_task(lookout.until(other.id, ended, 60))
    await gathered(lookout, 2)

    await store.cancel(job)

    assert await waiting is True
    assert not longer.done(), "another job has not ended"
    await lookout.close()
    assert await longer is False


async def test_what_this_process_wrote_is_seen_without_a_tick(store: Store) -> None:
    job = await store.open()
    lookout = Lookout(store.database, tick=3600)
    waiting = asyncio.create_task(lookout.until(job.id, ended, 60))
    await gathered(lookout, 1)

    await store.cancel(job)
    lookout.nudge(job.id)

    assert await waiting is True
    await lookout.close()


async def test_a_thousand_who_wait_cost_few_queries_and_no_connections(store: Store, server: servers.Postgres) -> None:
    opened = [await store.open() for _ in range(20)]
    ids = [*(job.id for job in opened), *(str(uuid.uuid4()) for _ in range(CHUNK))]
    database = Counted(store.database)
    lookout = Lookout(database, tick=0.02)
    waits = [asyncio.create_task(lookout.until(job_id, ended, 60)) for job_id in (*ids, *ids[: 1000 - len(ids)])]
    await gathered(lookout, 1000)
    async with asyncio.timeout(30):
        while len(database.looks) < 6:
            await asyncio.sleep(0.01)

    assert set(database.looks) == {CHUNK, 32}, "two queries a tick, their sizes made round"
    connections = server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'phaya'")
    assert int(connections) <= 4, "of which one transaction and one look"
    for job in opened:
        await store.cancel(job)
    assert all(await asyncio.gather(*(wait for wait, job_id in zip(waits, ids, strict=False) if job_id in ids[:20])))
    await lookout.close()
    await asyncio.gather(*waits)
    assert lookout.waiting == 0


async def test_trouble_with_the_database_makes_nobody_fail(store: Store) -> None:
    job = await store.open()
    database = Counted(store.database, down=3)
    lookout = Lookout(database, tick=0.01)
    waiting = asyncio.create_task(lookout.until(job.id, ended, 60))
    await store.cancel(job)

    assert await waiting is True
    assert len(database.looks) == 4
    await lookout.close()


async def test_nobody_looks_when_nobody_waits(store: Store) -> None:
    job = await store.open()
    database = Counted(store.database)
    lookout = Lookout(database, tick=0.01)

    assert await lookout.until(job.id, ended, 0.05) is False
    await asyncio.sleep(0.05)
    looked = len(database.looks)
    await asyncio.sleep(0.1)

    assert (lookout.waiting, len(database.looks)) == (0, looked)
    await lookout.close()


async def test_a_process_that_parts_ends_every_wait_and_begins_none(store: Store) -> None:
    job = await store.open()
    lookout = Lookout(store.database)
    waiting = asyncio.create_task(lookout.until(job.id, ended, 60))
    await gathered(lookout, 1)

    lookout.part()

    assert await waiting is False
    assert await lookout.until(job.id, ended, 60) is False
    await lookout.close()


async def test_a_key_has_so_many_places_and_gets_them_back(tmp_path: Path) -> None:
    database = Embedded(tmp_path)
    lookout = Lookout(database, most=2)
    with lookout.place("one"), lookout.place("one"):
        with pytest.raises(TooManyRequests, match="2 waits and event streams"), lookout.place("one"):
            pass
        with lookout.place("another"):
            pass
    with lookout.place("one"):
        pass
    await database.close()


async def test_pages_show_every_job_once_newest_first_whatever_comes_in_between(store: Store) -> None:
    opened = [await store.open(at=1000 + number // 4) for number in range(10)]
    right = [job.id for job in sorted(opened, key=lambda job: (job.created_at, job.id), reverse=True)]
    at = {job.id: job.created_at for job in opened}

    pages = [await store.list(3)]
    while len(pages[-1]) == 3:
        await store.open(at=2000)
        last = pages[-1][-1]
        pages.append(await store.list(3, before=(at[last], last)))

    assert [job_id for page in pages for job_id in page] == right


async def test_a_list_keeps_to_what_is_looked_for(store: Store) -> None:
    old = await store.open(at=1000)
    real = await store.open(at=2000, sandbox=False)
    gone = await store.open(at=3000, service="seedream")
    await store.open(at=3000, service="phaya-gpt")
    await store.cancel(gone)

    assert await store.list() == [gone.id, real.id, old.id]
    assert await store.list(since=2000) == [gone.id, real.id]
    assert await store.list(until=2000) == [old.id]
    assert await store.list(sandbox=False) == [real.id]
    assert await store.list(services={"seedream": [State.CANCELLED], "text-to-image": [State.FAILED]}) == [gone.id]
    assert await store.list(services={"seedream": [State.QUEUED], "text-to-image": ()}) == [real.id, old.id]
    assert await store.list(services={}) == []


async def test_no_lease_outlasts_the_moment_that_the_user_gave(store: Store) -> None:
    job = await store.open(cancel_at=5000)

    [held] = await store.database.write(jobs.claim, "remote", 9, 1000, 60_000)
    assert held.next_at == 5000
    assert await store.database.write(jobs.extend, held, 60_000, 0)
    kept = await store.database.write(jobs.change, held, 1000, hold=True, next_at=180_000)
    assert kept.next_at == 5000
    assert await store.database.read(jobs.overdue, ["remote"], 4999, 9) == []
    assert await store.database.read(jobs.overdue, ["remote"], 5000, 9) == [job.id]
    [again] = await store.database.write(jobs.claim, "remote", 9, 5000, 60_000)
    assert (again.claimed, again.next_at) == (True, 65_000), "whoever cancels it has a lease of its own"
    await store.database.write(call_off, again, 5000, 1000, "over")
    after = await store.database.read(jobs.find, job.id)
    assert after is not None
    assert (after.state, after.next_at) == (State.CANCELLED, None)
    assert await store.database.read(ledger.audit) == []
