"""The line in which the jobs of one account stand, so that nobody with ten thousand of them keeps another's first
waiting.

Of an account's jobs that wait to be begun only a few stand in line, and are due as the queue of all accounts goes. The
others are parked behind them, and each that begins lets the next one in, in the same transaction. So however many jobs
one account has, others see no more than those few before them. See docs/decisions/0026-a-line-for-each-account.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select, update

from phaya.prepared import Prepared, among
from phaya.schema import accounts, jobs

PLACES: Mapping[str, int] = {"remote": 2}
"""How many jobs of an account stand in line in a lane, where it is not one: so that the next one is at hand while one
is being submitted."""

QUEUED = "queued"
OPEN = "open"

_COUNTED = (jobs.c.account_id, jobs.c.state, jobs.c.lane, jobs.c.parked)
# As the index goes, so that it is read once from end to end and nothing is sorted: an account may have many.
_COUNT = Prepared(
    select(*_COUNTED, func.count().label("n"))
    .where(among(jobs.c.account_id, "accounts"), jobs.c.ended_at.is_(None))
    .group_by(*_COUNTED)
)


def places(lane: str) -> int:
    """How many jobs of an account stand in line in a lane."""
    return PLACES.get(lane, 1)


def waits(state: str, step: str) -> bool:
    """Whether a job waits to be begun."""
    return state == QUEUED and step == OPEN


def advance(connection: Connection, account_id: str, lane: str, now: int, *, halted: bool = False) -> int:
    """Lets parked jobs into the line as far as there are places, the oldest first; answers how many.

    Where the line has `halted`, those that somebody has claimed take no place: that may be a node that died.
    """
    parked = connection.execute(
        select(jobs.c.id)
        .where(_waiting(account_id, lane), jobs.c.parked, ~jobs.c.claimed)
        .order_by(jobs.c.created_at, jobs.c.id)
        .limit(places(lane))
        .with_for_update(skip_locked=True)
    ).scalars()
    ids = list(parked)
    if not ids:
        return 0
    standing = select(jobs.c.id).where(_waiting(account_id, lane), ~jobs.c.parked, jobs.c.step == OPEN)
    if halted:
        standing = standing.where(~jobs.c.claimed)
    taken = connection.execute(select(func.count()).select_from(standing.limit(places(lane)).subquery())).scalar_one()
    ids = ids[: max(0, places(lane) - taken)]
    if ids:
        connection.execute(update(jobs).where(jobs.c.id.in_(ids), jobs.c.parked).values(parked=False, next_at=now))
    return len(ids)


def advance_all(connection: Connection, now: int, limit: int) -> int:
    """The same for every account that has parked jobs: what was parked at the very moment in which the line before it
    became empty, or while a node of an older version worked on that, or behind the jobs of a node that died, is let in
    here."""
    pairs = select(jobs.c.account_id, jobs.c.lane).where(jobs.c.parked).distinct().limit(limit)
    return sum(
        advance(connection, row.account_id, row.lane, now, halted=True) for row in connection.execute(pairs).all()
    )


def parked(connection: Connection) -> bool:
    """Whether any job is."""
    return connection.execute(select(jobs.c.id).where(jobs.c.parked).limit(1)).scalar() is not None


def count(connection: Connection, account_ids: Collection[str]) -> Mapping[str, dict[str, tuple[int, int, int]]]:
    """Of each account's jobs that have not ended, by lane: how many wait, how many are under way, and how many of those
    that wait stand in line."""
    found: dict[str, dict[str, tuple[int, int, int]]] = {account: {} for account in account_ids}
    for account_id, state, name, parked, n in _COUNT.run(connection, accounts=sorted(account_ids)):
        queued, begun, line = found[account_id].get(name, (0, 0, 0))
        if state != QUEUED:
            begun += n
        else:
            queued, line = queued + n, line + (0 if parked else n)
        found[account_id][name] = queued, begun, line
    return found


def standing(connection: Connection, account_ids: Collection[str], lane: str) -> dict[str, int]:
    """How many jobs of each account stand in line in a lane, as far as there are places."""
    rows = _STANDING.run(connection, accounts=sorted(account_ids), lane=lane, places=places(lane))
    return {account_id: int(found) for account_id, found in rows}


def _waiting(account_id: str | ColumnElement[str], lane: str | ColumnElement[str]) -> ColumnElement[bool]:
    # As the index says it: see ix_jobs_open.
    return and_(
        jobs.c.account_id == account_id,
        jobs.c.state == QUEUED,
        jobs.c.lane == lane,
        jobs.c.ended_at.is_(None),
    )


_FIRST = select(jobs.c.id).where(_waiting(accounts.c.id, bindparam("lane")), ~jobs.c.parked).correlate(accounts)
_STANDING = Prepared(
    select(
        accounts.c.id,
        select(func.count())
        .select_from(_FIRST.limit(bindparam("places")).subquery())
        .scalar_subquery()
        .label("standing"),
    ).where(among(accounts.c.id, "accounts"))
)
