"""What all nodes of a database agree on, one short text for each name."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from phaya.schema import marks


def read(connection: Connection, name: str) -> str | None:
    """What stands at a name."""
    return connection.execute(select(marks.c.value).where(marks.c.name == name)).scalar()


def swap(connection: Connection, name: str, before: str | None, after: str) -> bool:
    """Writes a text where another one, or nothing, stands; False where somebody else was faster."""
    if before is not None:
        held = (marks.c.name == name) & (marks.c.value == before)
        return connection.execute(update(marks).where(held).values(value=after)).rowcount == 1
    try:
        with connection.begin_nested():
            connection.execute(insert(marks).values(name=name, value=after))
    except IntegrityError:
        return False
    return True
