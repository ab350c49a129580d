"""Moving house: the schema brought forward, and an embedded database carried over into PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, func, insert, select, text, update

import servers
from conftest import Phaya, running
from phaya import inspection, jobs, keys, ledger, transfer
from phaya.catalog import SERVICES
from phaya.clock import MINUTE
from phaya.database import Embedded
from phaya.jobs import Job, Step
from phaya.keys import load_secret
from phaya.migrations import HEAD
from phaya.openings import open_job
from phaya.postgresql import PostgreSQL
from phaya.schema import accounts, authenticators, entries, idempotency, marks, metadata, recovery_codes
from phaya.schema import jobs as table
from phaya.transfer import Untransferable
from test_cli import operator_of, phaya_command

pytestmark = pytest.mark.anyio

PICTURE = SERVICES["text-to-image"]


@pytest.fixture(scope="module")
def server() -> Generator[servers.Postgres]:
    with servers.postgres() as running_one:
        yield running_one


@pytest.fixture(scope="module")
async def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder that a server has worked on, stopped with jobs in flight; and a key of it."""
    folder = tmp_path_factory.mktemp("lived")
    async with running(folder) as phaya:
        key = await phaya.new_key("50", account="a@x.org", cap="40")
        for prompt in ("A tower", "A storm [fail]"):
            await phaya.finish(PICTURE.path, (await phaya.create(PICTURE, key, prompt=prompt))["job_id"], key)
        await phaya.create(PICTURE, key, prompt="A slow dawn [slow 600]")
        await phaya.operate("credits adjust", account="a@x.org", amount="-1", reason="r", by="Ann")
    return folder, key


@pytest.fixture
def folder(lived: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it, with a claim that nobody holds any more."""
    for name in ("phaya.db", "secret"):
        shutil.copy(lived[0] / name, tmp_path / name)
    with sqlite(tmp_path).connect() as connection:
        connection.execute(
            update(table).where(table.c.next_at.is_not(None)).values(claimed=True, next_at=table.c.next_at + 10**9)
        )
        account = connection.execute(select(table.c.account_id, table.c.id).limit(1)).one()
        row = {"account_id": account[0], "key": "k", "fingerprint": "f", "job_id": account[1], "created_at": 0}
        connection.execute(insert(idempotency).values(row | {"answer": b"a\0b"}))
        app = {"account_id": account[0], "sealed": b"a\0b", "created_at": 0, "confirmed_at": 1, "last_step": 2}
        connection.execute(insert(authenticators).values(app))
        connection.execute(insert(recovery_codes).values(account_id=account[0], hash="h"))
        connection.commit()
    return tmp_path


def sqlite(folder: Path) -> Engine:
    return create_engine(f"sqlite:///{folder / 'phaya.db'}")


@pytest.fixture
async def empty(server: servers.Postgres) -> AsyncGenerator[tuple[str, PostgreSQL]]:
    """The address of an empty database, and a way to look at it."""
    url = server.new_database()
    database = PostgreSQL(url, connections=2)
    yield url, database
    await database.close()


def contents(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, in an order that does not depend on the database."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in metadata.sorted_tables:
        rows = [{str(name): value for name, value in row.items()} for row in connection.execute(select(one)).mappings()]
        found[one.name] = sorted(rows, key=repr)
    return found


def without_claims(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    for row in found["jobs"]:
        row["next_at"] = row["next_at"] is not None
    return found


async def test_every_row_arrives_with_its_sequence_and_nobody_holds_a_job(
    folder: Path, lived: tuple[Path, str], empty: tuple[str, PostgreSQL]
) -> None:
    url, target = empty
    with sqlite(folder).connect() as connection:
        here = contents(connection)

    done = await transfer.carry_over(folder, url, 5000)

    there = await target.read(contents)
    assert without_claims(there) == without_claims(here)
    assert done.tables == {name: len(rows) for name, rows in here.items()}
    assert (len(here["entries"]), done.faults) == (7, [])
    assert (done.released, [job.ticket for job in await target.write(jobs.claim, "remote", 9, 5000, MINUTE)]) == (
        1, [row["ticket"] for row in here["jobs"] if row["state"] == "processing"],
    )  # fmt: skip
    key = await target.read(keys.authenticate, load_secret(None, folder), lived[1], 0)
    assert str(await target.read(ledger.balance, key.account_id)) == "47"
    await target.write(ledger.adjust, key.account_id, key.spent, "the next entry", 1, "Ann")
    assert await target.read(lambda c: c.execute(select(func.max(entries.c.id))).scalar()) == 8
    assert (await target.read(inspection.check, b"", 5000, {"at_rest": True}))["faults"] == []


async def test_a_job_in_flight_goes_on_from_its_row(folder: Path, empty: tuple[str, PostgreSQL]) -> None:
    url, target = empty
    await transfer.carry_over(folder, url, 5000)
    [job] = await target.write(jobs.claim, "remote", 9, 5000, MINUTE)

    after = await target.write(jobs.change, job, 5000, step=Step.KEEPING, next_at=5000)

    assert (job.step, after.step, after.rev) == (Step.AWAITING, Step.KEEPING, job.rev + 1)


async def test_a_database_with_anything_in_it_is_refused_and_left_alone(
    folder: Path, empty: tuple[str, PostgreSQL]
) -> None:
    url, target = empty
    await target.open()

    def fill(connection: Connection) -> None:
        connection.execute(insert(accounts).values(id="b", email="b@x.org", balance=0, created_at=0))
        connection.execute(insert(marks).values(name="secret", value="another"))

    await target.write(fill)

    with pytest.raises(Untransferable, match="holds accounts already"):
        await transfer.carry_over(folder, url, 0)

    left = await target.read(contents)
    assert {name: len(rows) for name, rows in left.items() if rows} == {"accounts": 1, "marks": 1}


async def test_what_nodes_noted_before_is_no_obstacle(folder: Path, empty: tuple[str, PostgreSQL]) -> None:
    url, target = empty
    await target.open()
    await target.write(lambda c: c.execute(insert(marks).values(name="secret", value="another")).rowcount)

    await transfer.carry_over(folder, url, 0)

    with sqlite(folder).connect() as source:
        assert (await target.read(contents))["marks"] == contents(source)["marks"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE jobs SET ticket = printf('%.200c', 'x')", "PostgreSQL did not take a row"),
        ("UPDATE accounts SET created_at = 'yesterday'", "PostgreSQL did not take a row"),
    ],
)
async def test_a_row_that_does_not_fit_undoes_the_whole_copy(
    folder: Path, empty: tuple[str, PostgreSQL], damage: str, told: str
) -> None:
    url, target = empty
    with sqlite(folder).connect() as connection:
        connection.execute(text(damage))
        connection.commit()

    with pytest.raises(Untransferable, match=told):
        await transfer.carry_over(folder, url, 0)

    assert not any((await target.read(contents)).values())


async def test_a_row_that_is_lost_on_the_way_undoes_the_whole_copy(
    folder: Path, server: servers.Postgres, empty: tuple[str, PostgreSQL]
) -> None:
    url, target = empty
    await target.open()

    def swallow(connection: Connection) -> None:
        connection.execute(
            text(
                "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN IF NEW.reason = 'adjustment' THEN RETURN NULL; END IF; RETURN NEW; END $$"
            )
        )
        connection.execute(
            text("CREATE TRIGGER swallow BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION swallow()")
        )

    await target.write(swallow)

    with pytest.raises(Untransferable, match="rows of entries is 7 here and 6 there"):
        await transfer.carry_over(folder, url, 0)

    assert not any((await target.read(contents)).values())


async def test_faults_are_carried_over_as_they_are(folder: Path, empty: tuple[str, PostgreSQL]) -> None:
    with sqlite(folder).connect() as connection:
        connection.execute(update(accounts).where(accounts.c.email == "a@x.org").values(balance=1))
        connection.commit()

    done = await transfer.carry_over(folder, empty[0], 0)

    assert done.faults == ["account a@x.org: balance 0.000000001, entries say 47"]


async def test_many_rows_are_carried_over_in_chunks(tmp_path: Path, empty: tuple[str, PostgreSQL]) -> None:
    def fill(connection: Connection) -> None:
        account = keys.open_account(connection, "a@x.org", 0)
        _, key = keys.mint(connection, b"s", account, "k", 0)
        ledger.grant(connection, account.id, ledger.Credits(10**12), "", 0)
        for number in range(2 * transfer.CHUNK + 1):
            open_job(
                connection,
                Job(
                    id=f"{number:05}", account_id=account.id, key_id=key.id, service="s", request="{}", call="{}",
                    sandbox=True, price=ledger.Credits(number), state=jobs.State.QUEUED, step=Step.OPEN, lane="remote",
                    deadline_at=0, created_at=number, next_at=number, trouble="a NUL \0 from somewhere",
                ),
            )  # fmt: skip

    embedded = Embedded(tmp_path)
    await embedded.write(fill)
    await embedded.close()

    done = await transfer.carry_over(tmp_path, empty[0], 0)

    assert (done.tables["jobs"], done.tables["entries"]) == (2001, 2002)
    troubles = await empty[1].read(lambda c: set(c.execute(select(table.c.trouble)).scalars()))
    assert troubles == {"a NUL \ufffd from somewhere"}


async def test_the_command_copies_and_says_what_keeps_keys_working(folder: Path, empty: tuple[str, PostgreSQL]) -> None:
    code, printed, problems = await phaya_command("copy", "--to", empty[0], PHAYA_DATA_DIR=str(folder))
    again, _, told = await phaya_command("copy", "--to", empty[0], PHAYA_DATA_DIR=str(folder))
    third, _, third_told = await phaya_command("copy", "--to", "mysql://x/y", PHAYA_DATA_DIR=str(folder))
    nothing, _, missing = await phaya_command("copy", "--to", empty[0], PHAYA_DATA_DIR=str(folder / "elsewhere"))

    assert code == 0, problems
    assert "7 entries" in printed
    assert f"the file {folder / 'secret'}" in printed
    assert (again, third, nothing) == (1, 1, 1)
    assert "needs an empty database" in told
    assert "must be like postgresql://" in third_told
    assert "There is no phaya.db in" in missing
    assert not (folder / "elsewhere").exists()


async def test_migrate_says_from_where_to_where(tmp_path: Path, empty: tuple[str, PostgreSQL]) -> None:
    here = {"PHAYA_DATA_DIR": str(tmp_path)}

    told = [
        (await phaya_command("migrate", **environment))[1].strip()
        for environment in (
            here,
            here,
            here | {"PHAYA_DATABASE_URL": empty[0]},
            here | {"PHAYA_DATABASE_URL": empty[0]},
        )
    ]

    assert [line.rpartition(" from ")[2] for line in (told[0], told[2])] == [f"nothing to {HEAD}."] * 2
    assert [line.rpartition(" is ")[2] for line in (told[1], told[3])] == [f"at {HEAD} already."] * 2


async def test_a_folder_that_a_server_holds_is_neither_migrated_nor_copied(
    phaya: Phaya, empty: tuple[str, PostgreSQL]
) -> None:
    for command in (("migrate",), ("copy", "--to", empty[0])):
        code, _, told = await phaya_command(*command, **operator_of(phaya))

        assert (code, "Another Phaya runs on" in told) == (1, True)


def test_the_sums_that_are_compared_are_of_every_amount() -> None:
    """A new column of money has to be compared as well."""
    amounts = {"balance", "spent", "price", "returned", "amount", "remaining", "expired", "credits"}
    there = {column for one in metadata.sorted_tables for column in one.c if column.name in amounts}

    text_columns = {table.c.spent}  # the provider's own credits, as it wrote them
    assert there - text_columns <= set(transfer.SUMS)
