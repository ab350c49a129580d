"""Statements that are put into a database's words once, for what is done all the time.

SQLAlchemy makes a statement anew at every call, looks for it among those that it has compiled, and reads each row's
values one by one: up to a tenth of a millisecond, of which SQLite itself needs a hundredth. The statements that
every purchase, every move of a job and every look-up of a key run are `Prepared` instead; all others are not worth it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, Self

import orjson
from sqlalchemy import (
    ARRAY,
    BindParameter,
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    String,
    bindparam,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.ext.compiler import compiles  # pyright: ignore[reportUnknownVariableType] - it has no types
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import TypeEngine

_VALUE = re.compile(r"\$(\d+)")
"""The place of a value in PostgreSQL's text of a statement."""


@dataclass(frozen=True, slots=True)
class _Words:
    """A statement as a database is given it."""

    text: str
    own: Mapping[str, Any]
    """The values that the statement itself has."""
    order: Callable[[Mapping[str, Any]], Any]
    """Puts values into the order of the text."""

    @classmethod
    def of(cls, statement: ClauseElement, dialect: Dialect) -> Self:
        """Compiles it."""
        compiled: Any = statement.compile(dialect=dialect)
        own = {name: value for name, value in compiled.params.items() if value is not None}
        return cls(compiled.string, own, _ordered(compiled.positiontup))

    def values(self, given: Mapping[str, Any]) -> Any:
        """What the driver is given."""
        return self.order({**self.own, **given} if self.own else given)


class Prepared:
    """A statement with a named bindparam for each value that changes.

    Values go to the driver as they are, and come back so, in plain tuples: a Boolean is 0 or 1 on SQLite. What SQLite
    refuses is raised as its driver says it.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._words: dict[str, _Words] = {}
        self._many: _Many | None = None

    def run(self, connection: Connection, **values: Any) -> Sequence[tuple[Any, ...]]:
        """Runs it once, and answers its rows; lists are for `among`."""
        words = self._in_words(connection)
        if (sqlite := _sqlite(connection)) is None:
            return connection.exec_driver_sql(words.text, words.values(values)).all()
        values = {name: _listed(value) for name, value in values.items()}
        return sqlite.execute(words.text, words.values(values)).fetchall()

    def run_all(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs it once for each of these rows, in their order; they have all of its values."""
        if not rows:
            return
        words = self._in_words(connection)
        ordered = [words.values(row) for row in rows]
        if (sqlite := _sqlite(connection)) is None:
            connection.exec_driver_sql(words.text, ordered)
        else:
            sqlite.executemany(words.text, ordered)

    def for_many(self, dialect: Dialect) -> _Many:
        """The form of an INSERT or an UPDATE in which PostgreSQL writes many rows at once."""
        if self._many is None:
            self._many = _Many.of(self._statement, dialect)
        return self._many

    def _in_words(self, connection: Connection) -> _Words:
        words = self._words.get(connection.dialect.name)
        if words is None:
            words = self._words[connection.dialect.name] = _Words.of(self._statement, connection.dialect)
        return words


Writing = tuple[Prepared, Sequence[Mapping[str, Any]]]
"""An INSERT or an UPDATE, and the rows of values that it is run with."""


def write_together(connection: Connection, *writings: Writing) -> None:
    """What `run_all` would do with each of these, one after the other, by one statement where that is cheaper.

    What is inserted is numbered in the order of its rows, and its values are named as its columns. What is updated must
    be locked before, as the order is the database's, and no two rows may mean the same one of a table. None of the
    writings may need what another one writes, but for a foreign key.
    """
    if _sqlite(connection) is not None:
        for statement, rows in writings:
            statement.run_all(connection, rows)
        return
    texts, values = list[str](), list[Any]()
    for statement, rows in writings:
        if rows:
            many = statement.for_many(connection.dialect)
            texts.append(many.words.text)
            values += many.values(rows)
    if texts:
        connection.exec_driver_sql(_joined(tuple(texts)), tuple(values))


@dataclass(frozen=True, slots=True)
class _Many:
    """A statement of PostgreSQL that writes many rows: each value comes as an array, with an element for each row.

    The server runs it once. Executed for each row it would take 30 to 40 µs of its time for each.
    """

    words: _Words
    names: Sequence[str]
    order: Callable[[Mapping[str, Any]], tuple[Any, ...]]

    @classmethod
    def of(cls, statement: ClauseElement, dialect: Dialect) -> Self:
        """The form for many rows of a statement for one."""
        compiled: Any = statement.compile(dialect=dialect)
        types = {name: _boundless(bind.type) for name, bind in compiled.binds.items() if bind.value is None}
        arrays = [bindparam(name, type_=ARRAY(kind)) for name, kind in types.items()]
        columns = [column(name, kind) for name, kind in types.items()]
        rows = func.unnest(*arrays).table_valued(*columns, with_ordinality="place").render_derived(name="given")

        def given(element: Any, **_: Any) -> Any:
            return rows.c[element.key] if isinstance(element, BindParameter) and element.key in types else None

        if isinstance(statement, Insert):
            values: list[ColumnElement[Any]] = [rows.c[name] for name in types]
            ordered = select(*values).order_by(rows.c.place)
            whole: Any = insert(statement.table).from_select(list(types), ordered)
        else:
            whole = replacement_traverse(statement, {}, given)
        return cls(_Words.of(whole, dialect), tuple(types), _ordered(tuple(types)))

    def values(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """What the driver is given for these rows."""
        columns = zip(*map(self.order, rows), strict=True)
        return self.words.values(dict(zip(self.names, columns, strict=True)))


@cache
def _joined(texts: tuple[str, ...]) -> str:
    """One statement of several, whose values follow each other. PostgreSQL looks at foreign keys when all is done."""
    numbered, before = list[str](), 0
    for text in texts:
        numbered.append(_VALUE.sub(lambda found, before=before: f"${int(found[1]) + before}", text))
        before += len(set(_VALUE.findall(text)))
    others = [f"part{number} AS ({text})" for number, text in enumerate(numbered[:-1])]
    return f"WITH {', '.join(others)} {numbered[-1]}" if others else numbered[-1]


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


def _ordered(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Puts the values of these names into their order."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple(row[name] for name in names)  # itemgetter would give the value itself


def _boundless(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """Text of any length for a text: what is cast to a bounded one is cut, and not refused."""
    return String() if isinstance(kind, String) else kind
