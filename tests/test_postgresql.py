"""PostgreSQL as the database: what it undoes is done again, what is down says so, and nodes may start together."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from typing import Any, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it has none
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select, text, update

from gate import gate
from phaya import keys, ledger
from phaya.credits import NOTHING, Credits, credits
from phaya.errors import DatabaseDown
from phaya.jobs import Job, State, Step
from phaya.migrations import HEAD, version
from phaya.postgresql import PostgreSQL
from phaya.purses import Purses
from phaya.schema import accounts, metadata
from servers import Postgres, postgres

pytestmark = pytest.mark.anyio

NOT_DECLARED = {"meters"}
"""Tables that exist on PostgreSQL only."""


@pytest.fixture(scope="module")
def owned() -> Generator[Postgres]:
    """A PostgreSQL that these tests may stop."""
    with postgres() as server:
        yield server


@pytest.fixture
async def database(owned: Postgres) -> AsyncGenerator[PostgreSQL]:
    opened = await PostgreSQL(owned.new_database(), connections=4).open()
    yield opened
    await opened.close()


def _is_declared(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name not in NOT_DECLARED


def _add(connection: Connection, number: int) -> None:
    connection.execute(insert(accounts).values(id=str(number), email=str(number), balance=0, created_at=0))


async def test_migrated_and_declared_tables_are_the_same(database: PostgreSQL) -> None:
    def compare(connection: Connection) -> tuple[str | None, list[Any]]:
        context = MigrationContext.configure(connection, opts={"include_name": _is_declared})
        return version(connection), compare_metadata(context, metadata)

    assert await database.read(compare) == (HEAD, [])


async def test_nodes_that_start_together_migrate_once(owned: Postgres) -> None:
    url = owned.new_database()
    nodes = [PostgreSQL(url, connections=2) for _ in range(5)]

    await asyncio.gather(*(node.open() for node in nodes))

    assert [HEAD] * 5 == [await node.read(version) for node in nodes]
    for node in nodes:
        await node.close()


async def test_a_crowd_takes_an_account_before_its_key_as_everybody_does(owned: Postgres) -> None:
    url = owned.new_database()
    database = await PostgreSQL(url, connections=2).open()
    account = await database.write(keys.open_account, "a@x", 0)
    _, key = await database.write(keys.mint, b"s", account, "k", 0)
    job = Job(
        id="1", account_id=account.id, key_id=key.id, service="", request="", call="", sandbox=True, price=NOTHING,
        state=State.QUEUED, step=Step.OPEN, lane="", deadline_at=0, created_at=0, next_at=0,
    )  # fmt: skip
    other = cast("Any", await asyncpg.connect(url))  # pyright: ignore[reportUnknownMemberType] - it has no types
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async with other.transaction():
        await other.execute("SELECT FROM keys FOR UPDATE")
        crowd = asyncio.create_task(database.write(Purses, [job]))
        while not await other.fetchval(waits) and not crowd.done():
            await asyncio.sleep(0.01)
        free = await other.fetch("SELECT id FROM accounts FOR UPDATE SKIP LOCKED")

    assert free == []
    await crowd
    await other.close()
    await database.close()


async def test_transactions_that_stand_in_each_others_way_are_all_done(database: PostgreSQL) -> None:
    """Each takes two rows, half of them in the wrong order: PostgreSQL gives some up, and they are run again."""
    for number in range(2):
        await database.write(_add, number)

    def both(connection: Connection, order: list[str]) -> None:
        for one in order:
            connection.execute(update(accounts).where(accounts.c.id == one).values(balance=accounts.c.balance + 1))
            connection.execute(text("SELECT pg_sleep(0.01)"))

    await asyncio.gather(*(database.write(both, ["0", "1"] if n % 2 else ["1", "0"]) for n in range(4)))

    balances = await database.read(lambda c: list(c.execute(select(accounts.c.balance)).scalars()))
    assert balances == [4, 4]


async def test_a_failed_transaction_leaves_nothing(database: PostgreSQL) -> None:
    def fail(connection: Connection) -> None:
        _add(connection, 1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(fail)

    assert await database.read(lambda c: c.execute(select(accounts)).all()) == []


async def test_parallel_charges_never_overdraw(database: PostgreSQL) -> None:
    account = await database.write(keys.open_account, "a@x", 1)
    await database.write(ledger.grant, account.id, credits("10"), "", 1)

    def take(connection: Connection) -> bool:
        taken = update(accounts).where(accounts.c.balance >= 1_000_000_000)
        return connection.execute(taken.values(balance=accounts.c.balance - 1_000_000_000)).rowcount > 0

    took = await asyncio.gather(*(database.write(take) for _ in range(40)))

    assert (sum(took), await database.read(ledger.balance, account.id)) == (10, Credits(0))


async def test_two_who_open_one_account_get_the_same(database: PostgreSQL) -> None:
    made = await asyncio.gather(*(database.write(keys.open_account, "same@x", 1) for _ in range(8)))

    assert len({account.id for account in made}) == 1


async def test_a_pool_without_a_free_connection_says_that_the_database_is_the_matter(owned: Postgres) -> None:
    url = owned.new_database()
    database = await PostgreSQL(url, connections=2).open()
    sleeping = [asyncio.create_task(database.write(lambda c: c.execute(text("SELECT pg_sleep(9)")))) for _ in range(2)]
    await asyncio.sleep(0.2)

    with pytest.raises(DatabaseDown, match="does not answer"):
        await database.write(_add, 1)

    await asyncio.gather(*sleeping)
    await database.close()


async def test_a_restart_of_the_server_is_waited_for(owned: Postgres) -> None:
    database = await PostgreSQL(owned.new_database(), connections=4, persistence=60).open()
    await asyncio.gather(*(database.write(_add, number) for number in range(8)))

    owned.stop(signal.SIGQUIT)
    starting = asyncio.create_task(asyncio.to_thread(owned.start))
    await asyncio.gather(*(database.write(_add, number) for number in range(8, 16)))

    await starting
    assert await database.read(lambda c: len(c.execute(select(accounts)).all())) == 16
    await database.close()


async def test_a_server_that_is_gone_is_told_and_found_again(owned: Postgres, database: PostgreSQL) -> None:
    owned.stop()
    with pytest.raises(DatabaseDown):
        await database.read(version)

    owned.start()

    assert await database.read(version) == HEAD


async def test_a_cut_cable_holds_nobody_for_ever(owned: Postgres) -> None:
    url = owned.new_database()
    async with gate(owned.port) as way:
        through = url.replace(str(owned.port), str(way.port))
        database = await PostgreSQL(through, connections=2, statement=3).open()
        await database.read(version)
        way.swallow()

        with pytest.raises(DatabaseDown):
            await database.read(version)

        await way.close()
        await way.open()
        assert await database.read(version) == HEAD
        await database.close()
