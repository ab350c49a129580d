"""The audit log: who did what with an operator's rights, to what, and when. A line is written in the transaction of
what it tells of, and the database refuses to change or delete it. See docs/decisions/0023-audit-log.md.

A line's details hold no secret: what goes into them is named one by one, see deeds.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, insert, select

from phaya.clock import DAY
from phaya.schema import accounts, audit

PAGE = 500
LONGEST = 300
"""Characters of an actor or a subject."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something that was done. `actor` is an account's e-mail address or `cli:` and a user of the operating system;
    `account` is the address of the account whose matter it is, if it is one's."""

    id: int
    created_at: int
    actor: str
    action: str
    subject: str
    account: str | None
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Search:
    """Which lines are looked for; None does not narrow. `day` is counted from 1970 (UTC), `before` a line's id."""

    actor: str | None = None
    action: str | None = None
    account_id: str | None = None
    day: int | None = None
    before: int | None = None


def write(
    connection: Connection,
    actor: str,
    action: str,
    subject: str,
    now: int,
    details: Mapping[str, Any],
    account_id: str | None = None,
) -> None:
    """Adds a line. `details` go into JSON."""
    connection.execute(
        insert(audit).values(
            created_at=now, actor=actor[:LONGEST], action=action, subject=subject[:LONGEST], account_id=account_id,
            details=orjson.dumps(details).decode(),
        )
    )  # fmt: skip


def listing(connection: Connection, search: Search, limit: int) -> list[Line]:
    """Lines, the newest first."""
    columns = (audit, accounts.c.email)
    query = select(*columns).outerjoin(accounts, accounts.c.id == audit.c.account_id)
    for column, wanted in (
        (audit.c.actor, search.actor), (audit.c.action, search.action), (audit.c.account_id, search.account_id),
    ):  # fmt: skip
        if wanted is not None:
            query = query.where(column == wanted)
    if search.day is not None:
        query = query.where(audit.c.created_at >= search.day * DAY, audit.c.created_at < (search.day + 1) * DAY)
    if search.before is not None:
        query = query.where(audit.c.id < search.before)
    return [
        Line(row.id, row.created_at, row.actor, row.action, row.subject, row.email, orjson.loads(row.details))
        for row in connection.execute(query.order_by(audit.c.id.desc()).limit(limit))
    ]
