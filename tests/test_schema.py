"""The migrations lead to the tables that the code uses, and an old database is brought forward."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, insert, select, text

from phaya import migrations
from phaya.database import Embedded, InUse
from phaya.migrations import HEAD, migrate, version
from phaya.schema import accounts, complete

pytestmark = pytest.mark.anyio


def test_migrated_and_declared_tables_are_the_same() -> None:
    with create_engine("sqlite://").connect() as connection:
        migrate(connection)

        assert version(connection) == HEAD
        assert compare_metadata(MigrationContext.configure(connection), complete()) == []


def test_head_is_the_newest_migration() -> None:
    folder = Path(__file__).parents[1] / "src/phaya/migrations/versions"

    assert max(file.name[:4] for file in folder.glob("[0-9]*.py")) == HEAD


def test_an_old_database_is_brought_forward_with_its_rows(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with create_engine(f"sqlite:///{tmp_path / 'old.db'}").connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(insert(accounts).values(id="a", email="a@x", balance=7, created_at=0))
        connection.commit()

        migrate(connection)

        assert version(connection) == HEAD
        assert connection.execute(select(accounts.c.balance)).scalar() == 7


async def test_every_commit_is_on_disk_before_it_is_answered(tmp_path: Path) -> None:
    database = Embedded(tmp_path)
    try:
        assert await database.write(lambda c: c.execute(text("PRAGMA synchronous")).scalar()) == 2
        assert await database.write(lambda c: c.execute(text("PRAGMA journal_mode")).scalar()) == "wal"
    finally:
        await database.close()


async def test_a_failed_transaction_takes_none_of_its_group_along(tmp_path: Path) -> None:
    def open_account(connection: Connection, number: int) -> int:
        values = {"id": str(number), "email": str(number), "balance": -(number % 2), "created_at": 0}
        return connection.execute(insert(accounts).values(values)).rowcount

    database = Embedded(tmp_path)
    try:
        answers = await asyncio.gather(
            *(database.write(open_account, number) for number in range(40)), return_exceptions=True
        )
        kept = await database.read(lambda c: {row.id for row in c.execute(select(accounts.c.id))})
    finally:
        await database.close()

    assert kept == {str(n) for n in range(0, 40, 2)}
    assert [isinstance(answer, Exception) for answer in answers] == [bool(n % 2) for n in range(40)]


async def test_readers_cannot_write(tmp_path: Path) -> None:
    from sqlalchemy.exc import OperationalError

    database = Embedded(tmp_path)
    try:
        with pytest.raises(OperationalError, match="readonly"):
            await database.read(lambda c: c.execute(text("DELETE FROM accounts")))
    finally:
        await database.close()


async def test_one_folder_has_one_process(tmp_path: Path) -> None:
    database = Embedded(tmp_path)
    try:
        with pytest.raises(InUse, match="Another Phaya runs"):
            Embedded(tmp_path)
    finally:
        await database.close()
    await Embedded(tmp_path).close()
