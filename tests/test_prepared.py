"""Statements that are put into words once do what SQLAlchemy's own do, on both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, bindparam, func, insert, literal, select, update

from conftest import BOTH
from phaya.database import Database
from phaya.prepared import Prepared, Writing, among, write_together
from phaya.schema import accounts, audit, keys, marks, vouchers

pytestmark = pytest.mark.anyio

ENGINES = BOTH
STRANGE = ["", "'", '"', "a,b", "[1]", "%s", ":ids", "\u0e01\u0e38\u0e49\u0e07", "\U0001f98a", "\\"]

_WRITE = Prepared(insert(marks).values(name=bindparam("name"), value=bindparam("value")))
_READ = Prepared(select(marks.c.name, marks.c.value).where(among(marks.c.name, "names")).order_by(marks.c.name))
_RAISE = Prepared(update(marks).where(marks.c.name == bindparam("of")).values(value=marks.c.value + "!"))
_VOUCHER = ("id", "hash", "credits", "uses", "grant_days", "actor", "created_at", "expires_at")
_ISSUE = Prepared(insert(vouchers).values({name: bindparam(name) for name in _VOUCHER}))
_NOTE = Prepared(
    update(vouchers)
    .where(vouchers.c.id == bindparam("of"), vouchers.c.used == bindparam("read"))
    .values(used=vouchers.c.used + 1, grant_days=bindparam("days"))
)
_LINE = ("created_at", "actor", "action", "subject", "details")
_ENTER = Prepared(insert(audit).values({name: bindparam(name) for name in _LINE}).inline())
_OPEN = Prepared(insert(accounts).values({name: bindparam(name) for name in ("id", "email", "created_at")}))
_MINT = Prepared(
    insert(keys).values(
        {name: bindparam(name) for name in ("id", "account_id", "name", "prefix", "hash", "created_at")}
    )
)


def voucher(number: int, days: int | None = None, until: int | None = None) -> dict[str, object]:
    return {
        "id": f"v{number}", "hash": f"h{number}", "credits": 2**62 + number, "uses": 3, "grant_days": days,
        "actor": STRANGE[number % len(STRANGE)], "created_at": number, "expires_at": until,
    }  # fmt: skip


def write(connection: Connection, names: list[str]) -> None:
    _WRITE.run_all(connection, [{"name": name, "value": name} for name in names])


async def test_every_text_of_a_list_is_found_and_no_other(database: Database) -> None:
    await database.write(write, [*STRANGE, "another"])

    def read(connection: Connection) -> list[str]:
        return [name for name, _ in _READ.run(connection, names=STRANGE)]

    assert sorted(await database.read(read)) == sorted(STRANGE)


@pytest.mark.parametrize("count", [0, 1, 5000])
async def test_a_list_may_have_any_length(database: Database, count: int) -> None:
    names = [f"mark {number:04}" for number in range(count)]
    await database.write(write, names)

    def read(connection: Connection) -> list[str]:
        return [name for name, _ in _READ.run(connection, names=names)]

    assert await database.read(read) == names


async def test_values_of_the_statement_itself_are_kept_for_every_row(database: Database) -> None:
    def work(connection: Connection) -> list[str]:
        write(connection, ["a", "b"])
        _RAISE.run_all(connection, [{"of": "a"}, {"of": "b"}])
        return [value for _, value in _READ.run(connection, names=["a", "b"])]

    assert await database.write(work) == ["a!", "b!"]


async def test_a_refused_row_takes_only_its_own_transaction_with_it(database: Database) -> None:
    await database.write(write, ["a"])

    with pytest.raises(Exception, match=r"(?i)unique"):
        await database.write(write, ["b", "a"])

    def read(connection: Connection) -> list[str]:
        return [name for name, _ in _READ.run(connection, names=["a", "b"])]

    assert await database.read(read) == ["a"]


async def test_a_reader_cannot_write_by_them(database: Database) -> None:
    with pytest.raises(Exception, match=r"readonly|does not answer"):
        await database.read(write, ["a"])

    assert await database.read(_READ.run, names=["a"]) == []


async def test_what_takes_no_value_is_run_as_well(database: Database) -> None:
    assert await database.read(Prepared(select(literal(7))).run) == [(7,)]


async def test_rows_that_are_written_together_are_what_they_would_be_one_by_one(database: Database) -> None:
    rows = [voucher(n, days=n if n % 2 else None, until=n if n % 3 else None) for n in range(12)]
    rows += [voucher(n) for n in range(12, 15)]
    columns = [vouchers.c[name] for name in _VOUCHER]

    await database.write(write_together, (_ISSUE, rows))

    found = await database.read(Prepared(select(*columns).order_by(vouchers.c.created_at)).run)
    assert [dict(zip(_VOUCHER, row, strict=True)) for row in found] == rows


async def test_what_is_written_together_is_numbered_in_its_order(database: Database) -> None:
    subjects = [f"{number * 7919 % 1000:03}" for number in range(1000)]
    lines = [{"created_at": 1, "actor": "a", "action": "b", "details": "{}", "subject": one} for one in subjects]

    await database.write(write_together, (_ENTER, lines))

    found = await database.read(Prepared(select(audit.c.subject).order_by(audit.c.id)).run)
    assert [subject for (subject,) in found] == subjects


async def test_of_rows_that_are_changed_together_those_that_have_moved_on_stay(database: Database) -> None:
    await database.write(write_together, (_ISSUE, [voucher(number, days=9) for number in range(4)]))
    changes = [
        {"of": "v0", "read": 0, "days": 1},
        {"of": "v1", "read": 5, "days": 1},
        {"of": "v2", "read": 0, "days": None},
        {"of": "nobody", "read": 0, "days": 1},
    ]

    await database.write(write_together, (_NOTE, changes))

    columns = (vouchers.c.used, vouchers.c.grant_days)
    found = await database.read(Prepared(select(*columns).order_by(vouchers.c.id)).run)
    assert [tuple(row) for row in found] == [(1, 1), (0, 9), (1, None), (0, 9)]


async def test_several_tables_are_written_together_with_what_refers_from_one_to_another(database: Database) -> None:
    names = [f"n{number}" for number in range(5)]
    opened: Writing = _OPEN, [{"id": name, "email": f"{name}@x", "created_at": 1} for name in names]
    minted: Writing = (
        _MINT,
        [
            {"id": f"k{name}", "account_id": name, "name": "k", "prefix": name, "hash": name, "created_at": 2}
            for name in names
        ],
    )

    await database.write(write_together, opened, (_ISSUE, []), minted, (_WRITE, [{"name": "last", "value": "1"}]))

    pairs = select(keys.c.account_id, keys.c.id).join(accounts, accounts.c.id == keys.c.account_id)
    found = await database.read(Prepared(pairs.order_by(keys.c.id)).run)
    assert [tuple(row) for row in found] == [(name, f"k{name}") for name in names]
    assert await database.read(_READ.run, names=["last"]) == [("last", "1")]


async def test_what_is_refused_together_is_refused_as_a_whole(database: Database) -> None:
    await database.write(write, ["a"])
    twice: Writing = _WRITE, [{"name": name, "value": ""} for name in ("b", "a")]

    with pytest.raises(Exception, match=r"(?i)unique"):
        await database.write(write_together, (_ISSUE, [voucher(1)]), twice)

    assert await database.read(_READ.run, names=["a", "b"]) == [("a", "a")]
    assert await database.read(Prepared(select(func.count()).select_from(vouchers)).run) == [(0,)]


async def test_no_text_is_cut_to_fit(database: Database) -> None:
    async def kept(form: str, work: Callable[[Connection, Writing], None]) -> str:
        name = form + "x" * 64
        try:
            await database.write(work, (_WRITE, [{"name": name, "value": ""}]))
        except Exception as refused:  # noqa: BLE001 - both databases are compared with themselves
            return type(refused).__name__
        return str(len(await database.read(_READ.run, names=[name])))

    def one_by_one(connection: Connection, writing: Writing) -> None:
        statement, rows = writing
        statement.run_all(connection, rows)

    assert await kept("a", write_together) == await kept("b", one_by_one)


async def test_nothing_is_written_for_no_rows(database: Database) -> None:
    await database.write(write_together, (_WRITE, []), (_ISSUE, []))

    assert await database.read(Prepared(select(func.count()).select_from(marks)).run) == [(0,)]
