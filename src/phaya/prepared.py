"""Statements that are put into a database's words once, for what is done all the time.

SQLAlchemy makes a statement anew at every call, looks for it among those that it has compiled, and reads each row's
values one by one: up to a tenth of a millisecond, of which SQLite itself needs a hundredth. The statements that
every purchase, every move of a job and every look-up of a key run are `Prepared` instead; all others are not worth it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import ARRAY, ClauseElement, ColumnElement, Connection, String, bindparam
from sqlalchemy.ext.compiler import compiles  # pyright: ignore[reportUnknownVariableType] - it has no types

_Words = tuple[str, Callable[[Mapping[str, Any]], Any], Mapping[str, Any]]
"""A statement's text, how a row's values are put into its order, and the values that the statement itself has."""


class Prepared:
    """A statement with a named bindparam for each value that changes.

    Values go to the driver as they are, and come back so, in plain tuples: a Boolean is 0 or 1 on SQLite. What SQLite
    refuses is raised as its driver says it.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._words: dict[str, _Words] = {}

    def run(self, connection: Connection, **values: Any) -> Sequence[tuple[Any, ...]]:
        """Runs it once, and answers its rows; lists are for `among`."""
        text, order, own = self._in_words(connection)
        if (sqlite := _sqlite(connection)) is None:
            return connection.exec_driver_sql(text, order({**own, **values})).all()
        values = {name: _listed(value) for name, value in values.items()}
        return sqlite.execute(text, order({**own, **values})).fetchall()

    def run_all(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs it once for each of these rows, which have all of its values."""
        if not rows:
            return
        text, order, own = self._in_words(connection)
        ordered = [order({**own, **row} if own else row) for row in rows]
        if (sqlite := _sqlite(connection)) is None:
            connection.exec_driver_sql(text, ordered)
        else:
            sqlite.executemany(text, ordered)

    def _in_words(self, connection: Connection) -> _Words:
        words = self._words.get(connection.dialect.name)
        if words is None:
            compiled: Any = self._statement.compile(dialect=connection.dialect)
            names: list[str] = compiled.positiontup
            order = itemgetter(*names) if len(names) > 1 else _only(names)
            own = {name: value for name, value in compiled.params.items() if value is not None}
            words = self._words[connection.dialect.name] = compiled.string, order, own
        return words


class among(ColumnElement[bool]):  # noqa: N801 - it reads as SQLAlchemy's own and_ and or_
    """Whether a column's text is in the list that is given by a name: one parameter, however many there are."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[str], name: str) -> None:
        self.column = column
        self.name = name


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: Any, **options: Any) -> str:  # pyright: ignore[reportUnusedFunction]
    ids = compiler.process(bindparam(element.name, type_=String()), **options)
    column = compiler.process(element.column, **options)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608 - both are SQLAlchemy's words


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: Any, **options: Any) -> str:  # pyright: ignore[reportUnusedFunction]
    ids = compiler.process(bindparam(element.name, type_=ARRAY(String())), **options)
    return f"{compiler.process(element.column, **options)} = ANY ({ids})"


def _sqlite(connection: Connection) -> sqlite3.Connection | None:
    """SQLite's own connection, where it is SQLite: SQLAlchemy's way there is five times as long as the statement."""
    driver = connection.connection.driver_connection
    return driver if isinstance(driver, sqlite3.Connection) else None


def _listed(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, list) else value


def _only(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """The order of one value, or of none: itemgetter would give the value itself."""
    return lambda row: tuple(row[name] for name in names)
