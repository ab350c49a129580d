"""Stored files and rows are compared in chunks: what is missing, what is left over, and what is swept."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import orjson
import pytest
from sqlalchemy import Connection

import servers
from conftest import Clock
from phaya import jobs, keys
from phaya.clock import DAY, HOUR
from phaya.credits import NOTHING
from phaya.database import Database, Embedded
from phaya.inventory import Inventory, Missing, Stray
from phaya.jobs import Job, State, Step
from phaya.postgresql import PostgreSQL
from phaya.storage import Storage

pytestmark = pytest.mark.anyio

MONTH = "2026/11"


def _payer(connection: Connection) -> tuple[str, str]:
    account = keys.open_account(connection, "a@x", 0)
    _, key = keys.mint(connection, b"s", account, "k", 0)
    return account.id, key.id


class Shop:
    """A database and a storage, with jobs and files as a test puts them there. Its clock is two days ahead."""

    def __init__(self, database: Database, storage: Storage, folder: Path) -> None:
        self.database = database
        self.storage = storage
        self.folder = folder
        self.clock = Clock(int(time.time() * 1000) + 2 * DAY)
        self.inventory = Inventory(storage, database, self.clock)

    async def file(self, *names: str) -> None:
        source = self.folder / "source"
        source.write_bytes(b"hello")
        for name in names:
            await self.storage.put(name, source)

    async def job(self, job_id: str, *files: str, sound: str | None = None) -> None:
        """A completed job that keeps these files."""
        account, key = await self.database.write(_payer)
        kept = {"files": [{"key": name, "type": "image/png", "bytes": 5} for name in files], "sound": sound}
        job = Job(
            job_id, account, key, "text-to-image", "{}", "{}", True, NOTHING, State.COMPLETED, Step.DONE, "remote",
            0, 0, None, results=orjson.dumps(kept).decode() if files else None,
        )  # fmt: skip
        await self.database.write(jobs.insert_jobs, [job])

    async def strays(self) -> list[Stray]:
        return sorted([stray async for stray in self.inventory.strays()], key=lambda stray: stray.key)

    async def missing(self) -> list[Missing]:
        return sorted([missing async for missing in self.inventory.missing()], key=lambda missing: missing.key)

    async def stored(self) -> set[str]:
        return {stat.key async for stat in self.storage.listing()}


@pytest.fixture(scope="module")
def postgres() -> Generator[servers.Postgres]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(params=["SQLite and a folder", "PostgreSQL and a bucket"])
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    database: Database
    if request.param == "SQLite and a folder":
        database = Embedded(tmp_path / "database")
        storage = Storage((tmp_path / "media").as_uri(), "https://phaya.example")
    else:
        database = await PostgreSQL(request.getfixturevalue("postgres").new_database()).open()
        storage = Storage(f"s3://{request.getfixturevalue('s3').new_bucket()}/p", "https://phaya.example")
    yield Shop(database, storage, tmp_path)
    await database.close()


async def test_nothing_is_found_where_rows_and_files_agree(shop: Shop) -> None:
    await shop.file(f"{MONTH}/a/2-1.png", f"{MONTH}/a/2-sound.m4a", "inputs/2026/11/x.png")
    await shop.job("a", f"{MONTH}/a/2-1.png", sound=f"{MONTH}/a/2-sound.m4a")
    await shop.job("b")

    assert (await shop.missing(), await shop.strays(), await shop.inventory.sweep()) == ([], [], 0)
    assert len(await shop.stored()) == 3


async def test_results_whose_file_is_gone_are_named(shop: Shop) -> None:
    await shop.file(f"{MONTH}/a/2-1.png")
    await shop.job("a", f"{MONTH}/a/2-1.png", f"{MONTH}/a/2-2.png", sound=f"{MONTH}/a/2-sound.m4a")

    found = await shop.missing()

    assert found == [Missing("a", f"{MONTH}/a/2-2.png"), Missing("a", f"{MONTH}/a/2-sound.m4a")]


async def test_what_a_lost_claim_left_is_swept_and_the_owners_file_stays(shop: Shop) -> None:
    await shop.file(f"{MONTH}/a/2-1.png", f"{MONTH}/a/5-1.png", f"{MONTH}/b/1-1.png")
    await shop.job("a", f"{MONTH}/a/5-1.png")
    await shop.job("b")

    assert await shop.strays() == [
        Stray(f"{MONTH}/a/2-1.png", 5, known=True),
        Stray(f"{MONTH}/b/1-1.png", 5, known=True),
    ]
    assert await shop.inventory.sweep() == 2
    assert await shop.stored() == {f"{MONTH}/a/5-1.png"}


async def test_a_file_that_is_not_a_day_old_is_left_to_its_claim(shop: Shop) -> None:
    await shop.file(f"{MONTH}/a/2-1.png")
    await shop.job("a")
    shop.clock.pass_seconds(-(DAY + HOUR) / 1000)

    assert (await shop.strays(), await shop.inventory.sweep()) == ([], 0)
    assert await shop.stored() == {f"{MONTH}/a/2-1.png"}


async def test_files_of_jobs_that_the_database_does_not_know_are_told_but_stay(shop: Shop) -> None:
    """They are another Phaya's, or younger than the backup that the database was brought back from."""
    await shop.file(f"{MONTH}/elsewhere/2-1.png", "2026/notes/readme.txt", "other/2026/11/x.png")

    assert await shop.strays() == [Stray(f"{MONTH}/elsewhere/2-1.png", 5, known=False)]
    assert await shop.inventory.sweep() == 0
    assert len(await shop.stored()) == 3


async def test_more_than_a_chunk_is_gone_through(shop: Shop) -> None:
    inventory = Inventory(shop.storage, shop.database, shop.clock, chunk=3)
    for number in range(8):
        await shop.job(f"job{number}", f"{MONTH}/job{number}/2-1.png")
        await shop.file(f"{MONTH}/job{number}/1-1.png")

    assert [missing.job_id async for missing in inventory.missing()] == [f"job{number}" for number in range(8)]
    assert await inventory.sweep() == 8
    assert await shop.stored() == set()
