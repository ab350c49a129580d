"""A database brought forward to the newest schema, and an embedded one carried over into PostgreSQL.

The copy is one transaction: what arrives is counted, summed and audited like what was left, and any difference undoes
all of it. The embedded database is locked meanwhile and only read.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, create_engine, delete, func, insert, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from phaya import jobs as rows
from phaya import ledger
from phaya.database import Embedded
from phaya.migrations import version
from phaya.postgresql import PostgreSQL
from phaya.schema import (
    accounts,
    audit,
    circuits,
    draws,
    entries,
    grants,
    invitations,
    jobs,
    keys,
    marks,
    metadata,
    payments,
    vouchers,
)

CHUNK = 1000
"""Rows that are in memory at a time."""
OF_NODES = (marks, circuits)
"""What nodes note for each other; it may be there before the copy, and what is copied takes its place."""
SUMS = (
    *(accounts.c.balance, keys.c.spent, jobs.c.price, jobs.c.returned, entries.c.amount, entries.c.id),
    *(grants.c.amount, grants.c.remaining, grants.c.expired, draws.c.amount),
    *(vouchers.c.credits, payments.c.credits, payments.c.price, invitations.c.credits),
)


class Untransferable(Exception):
    """The copy was refused or undone, and nothing was changed; the message says why."""


@dataclass(frozen=True)
class Brought:
    """From which revision to which; None is an empty database."""

    before: str | None
    after: str | None


@dataclass(frozen=True)
class Carried:
    """Rows of each table, jobs that somebody held, and what the audit says of both databases alike."""

    tables: Mapping[str, int]
    released: int
    faults: list[str]


async def bring_forward(folder: Path, url: str | None) -> Brought:
    """Migrates the PostgreSQL at `url`, or else the database in `folder`. Raises InUse, DatabaseDown or ValueError."""
    if url is not None:
        database = PostgreSQL(url, connections=2)
        try:
            before = await database.read(version)
            await database.open()
            return Brought(before, await database.read(version))
        finally:
            await database.close()
    before = None
    if (folder / "phaya.db").exists():
        with _reading(folder) as source:
            before = version(source)
    embedded = Embedded(folder)
    try:
        return Brought(before, await embedded.read(version))
    finally:
        await embedded.close()


async def carry_over(folder: Path, url: str, now: int) -> Carried:
    """Copies the embedded database in `folder` into the empty PostgreSQL at `url`, which is migrated first.

    Raises Untransferable, InUse, DatabaseDown or ValueError (`url` is no address of a PostgreSQL).
    """
    if not (folder / "phaya.db").exists():
        raise Untransferable(f"There is no phaya.db in {folder}.")
    target = PostgreSQL(url, connections=2)
    source = Embedded(folder)  # holds the lock until the end, and is brought forward itself
    try:
        await target.open()
        try:
            return await target.write(_copy, folder, now)
        except DBAPIError as error:
            raise Untransferable(f"PostgreSQL did not take a row, and nothing was kept: {error.orig}") from error
    finally:
        await source.close()
        await target.close()


def _copy(target: Connection, folder: Path, now: int) -> Carried:
    names = ", ".join(table.name for table in metadata.sorted_tables)
    target.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))  # others may read, and wait to write
    for table in metadata.sorted_tables:
        if table in OF_NODES:
            target.execute(delete(table))
        elif target.execute(select(table).limit(1)).first() is not None:
            raise Untransferable(f"The PostgreSQL holds {table.name} already; the copy needs an empty database.")
    with _reading(folder) as source:
        tables = {table.name: _copy_table(source, target, table) for table in metadata.sorted_tables}
        _compare(source, target)
        faults = ledger.audit(source)
        if (found := ledger.audit(target)) != faults:
            raise Untransferable(f"The audits differ: {faults or 'clean'} became {found or 'clean'}.")
    for table in (entries, audit):
        last = select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()
        target.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), last, False)))
    return Carried(tables, rows.release_all(target, now), faults)


def _copy_table(source: Connection, target: Connection, table: Table) -> int:
    count = 0
    found = source.execution_options(yield_per=CHUNK).execute(select(table).order_by(*table.primary_key))
    for chunk in found.mappings().partitions():
        target.execute(insert(table), [_fit(row) for row in chunk])
        count += len(chunk)
    return count


def _fit(row: RowMapping) -> dict[str, Any]:
    """A row as PostgreSQL takes it: its texts hold no NUL, which SQLite's may."""
    return {
        str(name): value.replace("\0", "\ufffd") if isinstance(value, str) else value for name, value in row.items()
    }


def _compare(source: Connection, target: Connection) -> None:
    """Raises Untransferable where not every row and every credit has arrived."""
    asked = [(f"rows of {table.name}", select(func.count()).select_from(table)) for table in metadata.sorted_tables]
    asked += [(f"sum of {column}", select(func.coalesce(func.sum(column), 0))) for column in SUMS]
    for what, query in asked:
        left, arrived = int(source.execute(query).scalar_one()), int(target.execute(query).scalar_one())
        if left != arrived:
            raise Untransferable(f"The {what} is {left} here and {arrived} there; nothing was kept.")


@contextmanager
def _reading(folder: Path) -> Generator[Connection]:
    """A connection to the embedded database that cannot write."""
    file = f"file:{(folder / 'phaya.db').resolve()}"
    engine = create_engine(URL.create("sqlite+pysqlite", database=file, query={"mode": "ro", "uri": "true"}))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
