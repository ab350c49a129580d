"""A disk or a memory without room: nothing is half kept, everybody is told, and room is all that it takes to go on."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select

from conftest import running
from phaya.catalog.images import TextToImage
from phaya.database import Embedded
from phaya.errors import DatabaseDown
from phaya.schema import accounts

pytestmark = pytest.mark.anyio

ROOMY = 1 << 30


def _limit(connection: Connection, pages: int) -> None:
    """Says how large the database may be; what is there already stays."""
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()


def _add(connection: Connection, name: str, size: int = 1) -> None:
    connection.execute(insert(accounts).values(id=name, email=name + "x" * size, balance=0, created_at=0))


def _names(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(accounts)).scalar_one()


@contextmanager
def no_room(size: int) -> Generator[None]:
    """No file of this process grows beyond `size` bytes. Python itself ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_group_that_fills_the_disk_is_kept_by_nobody(tmp_path: Path) -> None:
    """SQLite gives up the whole transaction there; what came after it in the group must not be kept alone."""
    database = Embedded(tmp_path)
    await database.write(_limit, 1)

    outcomes = await asyncio.gather(
        *(database.write(_add, f"{n}", 500_000 if n == 3 else 1) for n in range(9)), return_exceptions=True
    )

    failed = [outcome for outcome in outcomes if outcome is not None]
    assert failed
    assert all(isinstance(outcome, DatabaseDown) for outcome in failed), failed
    assert await database.read(_names) == 9 - len(failed)
    await database.write(_limit, ROOMY)
    await database.write(_add, "after", 500_000)
    assert await database.read(_names) == 10 - len(failed)
    await database.close()


async def test_a_full_disk_refuses_creates_and_room_mends_it(tmp_path: Path) -> None:
    async with running(tmp_path) as phaya:
        key = await phaya.new_key("60")
        body = await phaya.example(TextToImage)
        with no_room((tmp_path / "phaya.db-wal").stat().st_size):
            refused = await asyncio.gather(*(phaya.post(TextToImage.create_path(), body, key=key) for _ in range(5)))
            there = await phaya.balance(key)

        assert {answer.status for answer in refused} == {503}, refused[0].content
        assert {answer.json["error"] for answer in refused} == {"database_unavailable"}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
        assert there == await phaya.balance(key) == 60
        created = await phaya.create(TextToImage, key)
        assert (await phaya.finish(TextToImage.path, created["job_id"], key))["state"] == "completed"
        assert await phaya.audit() == []


async def test_a_transaction_without_memory_fails_alone_and_the_writer_goes_on(tmp_path: Path) -> None:
    def swell(connection: Connection) -> int:
        _add(connection, "half done")
        return len(bytes(1 << 60))

    database = Embedded(tmp_path)
    outcomes = await asyncio.gather(
        database.write(_add, "before"), database.write(swell), database.write(_add, "after"), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [type(None), MemoryError, type(None)]
    assert await database.read(_names) == 2
    await database.close()
