"""Statements that are put into words once do what SQLAlchemy's own do, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, bindparam, insert, literal, select, update

from conftest import BOTH
from phaya.database import Database
from phaya.prepared import Prepared, among
from phaya.schema import marks

pytestmark = pytest.mark.anyio

ENGINES = BOTH
STRANGE = ["", "'", '"', "a,b", "[1]", "%s", ":ids", "\u0e01\u0e38\u0e49\u0e07", "\U0001f98a", "\\"]

_WRITE = Prepared(insert(marks).values(name=bindparam("name"), value=bindparam("value")))
_READ = Prepared(select(marks.c.name, marks.c.value).where(among(marks.c.name, "names")).order_by(marks.c.name))
_RAISE = Prepared(update(marks).where(marks.c.name == bindparam("of")).values(value=marks.c.value + "!"))


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
