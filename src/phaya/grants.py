"""Credits that expire. They are in the balance like all others; a row remembers how many of them no job has taken.

What expires first is spent first, and what a job returns goes back to where it came from. An account that has no open
grant has no `expiring_at` and costs none of this. See docs/decisions/0020-credits-that-expire.md.

Every function expects that its transaction has locked the account's row, by updating it or by FOR NO KEY UPDATE.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, delete, func, insert, or_, select, tuple_, update

from phaya.credits import Credits
from phaya.schema import accounts, draws, grants, jobs


@dataclass(frozen=True, slots=True)
class Grant:
    """Credits of an account that are good until a moment; `remaining` is what no job has taken of them."""

    id: str
    amount: Credits
    remaining: Credits
    expires_at: int
    created_at: int


def add(connection: Connection, account_id: str, amount: Credits, expires_at: int, now: int) -> None:
    """Remembers that credits which were just entered expire."""
    connection.execute(
        insert(grants).values(
            id=str(uuid.uuid4()),
            account_id=account_id,
            amount=amount.units,
            remaining=amount.units,
            expires_at=expires_at,
            created_at=now,
        )
    )
    known = accounts.c.expiring_at
    first = case((or_(known.is_(None), known > expires_at), expires_at), else_=known)
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(expiring_at=first))


def draw(connection: Connection, account_id: str, amount: Credits, job_id: str | None, now: int) -> None:
    """Takes an amount, which has left the balance, from what expires first, as far as that goes."""
    wanted = amount.units
    for grant in living(connection, account_id, now):
        if not wanted:
            return
        part = min(wanted, grant.remaining.units)
        wanted -= part
        _move(connection, grant.id, -part)
        if job_id is not None:
            connection.execute(insert(draws).values(job_id=job_id, grant_id=grant.id, amount=part))


def restore(connection: Connection, job_id: str, price: Credits, returned: Credits, now: int) -> None:
    """Puts what a job returns of its price back into the grants that paid for it, those that expire last first: what
    it used is what was taken first. What belongs to a grant that has expired meanwhile stays in the balance for good.
    """
    drawn = connection.execute(
        select(draws.c.grant_id, draws.c.amount, _open(now).label("open"))
        .join(grants, grants.c.id == draws.c.grant_id)
        .where(draws.c.job_id == job_id)
        .order_by(grants.c.expires_at.desc(), grants.c.id.desc())
    ).all()
    lasting = price.units - sum(row.amount for row in drawn)
    back = max(0, returned.units - lasting)
    for row in drawn:
        part = min(back, row.amount)
        back -= part
        if part and row.open:
            _move(connection, row.grant_id, part)
    connection.execute(delete(draws).where(draws.c.job_id == job_id))


def living(connection: Connection, account_id: str, now: int) -> list[Grant]:
    """The account's grants that have something left, in the order in which they are spent."""
    return _listed(connection, account_id, _open(now) & (grants.c.remaining > 0))


def lapsed(connection: Connection, account_id: str, now: int) -> list[Grant]:
    """The account's grants that have expired and are not closed yet."""
    return _listed(connection, account_id, grants.c.closed_at.is_(None) & (grants.c.expires_at <= now))


def close(connection: Connection, account_id: str, taken: dict[str, Credits], now: int) -> None:
    """Ends expired grants, of each of which so much was taken from the balance."""
    for grant_id, amount in taken.items():
        connection.execute(
            update(grants).where(grants.c.id == grant_id).values(remaining=0, expired=amount.units, closed_at=now)
        )
    left = select(func.min(grants.c.expires_at)).where(grants.c.account_id == account_id, grants.c.closed_at.is_(None))
    first = left.scalar_subquery()
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(expiring_at=first))


def due(connection: Connection, now: int, limit: int) -> list[str]:
    """Ids of accounts with a grant that has expired and is not closed. The one function here that needs no lock."""
    found = select(accounts.c.id).where(accounts.c.expiring_at <= now).order_by(accounts.c.expiring_at).limit(limit)
    return list(connection.execute(found).scalars())


def forget(connection: Connection, _before: int, limit: int) -> int:
    """Deletes up to `limit` memories of what ended jobs took from closed grants; answers how many. Needs no lock."""
    old = (
        select(draws.c.job_id, draws.c.grant_id)
        .join(grants, grants.c.id == draws.c.grant_id)
        .join(jobs, jobs.c.id == draws.c.job_id)
        .where(grants.c.closed_at.is_not(None), jobs.c.ended_at.is_not(None))
        .limit(limit)
    )
    return connection.execute(delete(draws).where(tuple_(draws.c.job_id, draws.c.grant_id).in_(old))).rowcount


def audit(connection: Connection) -> Iterator[str]:
    """Where grants and balances disagree, one line each."""
    unclosed = grants.c.closed_at.is_(None)
    held = (
        select(
            grants.c.account_id,
            func.sum(case((unclosed, grants.c.remaining), else_=0)).label("remaining"),
            func.min(case((unclosed, grants.c.expires_at))).label("first"),
        )
        .group_by(grants.c.account_id)
        .subquery()
    )
    remaining = func.coalesce(held.c.remaining, 0)
    for row in connection.execute(
        select(accounts.c.email, accounts.c.balance, remaining.label("remaining"))
        .outerjoin(held, held.c.account_id == accounts.c.id)
        .where(
            or_(
                remaining > accounts.c.balance,
                func.coalesce(accounts.c.expiring_at, 0) != func.coalesce(held.c.first, 0),
            )
        )
    ):
        yield (
            f"account {row.email}: balance {Credits(row.balance)}, of which {Credits(int(row.remaining))} are said to "
            "expire; or it is not known when the next do"
        )
    for row in connection.execute(select(grants.c.id).where(~unclosed, grants.c.remaining != 0)):
        yield f"grant {row.id} is closed and has something left"


def _open(now: int) -> ColumnElement[bool]:
    return grants.c.closed_at.is_(None) & (grants.c.expires_at > now)


def _listed(connection: Connection, account_id: str, condition: ColumnElement[bool]) -> list[Grant]:
    query = select(grants).where(grants.c.account_id == account_id, condition)
    return [
        Grant(row.id, Credits(row.amount), Credits(row.remaining), row.expires_at, row.created_at)
        for row in connection.execute(query.order_by(grants.c.expires_at, grants.c.id))
    ]


def _move(connection: Connection, grant_id: str, units: int) -> None:
    connection.execute(update(grants).where(grants.c.id == grant_id).values(remaining=grants.c.remaining + units))
