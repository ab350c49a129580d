"""The line in which the jobs of one account stand, so that nobody with ten thousand of them keeps another's first
waiting.

Of an account's jobs that wait to be begun only a few stand in line, and are due as the queue of all accounts goes. The
others are parked behind them, and each that begins lets the next one in, in the same transaction. So however many jobs
one account has, others see no more than those few before them. See docs/decisions/0026-a-line-for-each-account.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    ScalarSelect,
    String,
    and_,
    bindparam,
    false,
    func,
    literal,
    select,
    update,
)

from phaya.prepared import Prepared, among
from phaya.schema import jobs

PLACES: Mapping[str, int] = {"remote": 2}
"""How many jobs of an account stand in line in a lane, where it is not one: so that the next one is at hand while one
is being submitted."""

QUEUED = "queued"
OPEN = "open"


def _waiting(account: ColumnElement[str], lane: ColumnElement[str]) -> ColumnElement[bool]:
    # As the index says it: see ix_jobs_open.
    return and_(
        jobs.c.account_id == account,
        jobs.c.state == literal(QUEUED),
        jobs.c.lane == lane,
        jobs.c.ended_at.is_(None),
    )


_ACCOUNT, _LANE, _LIMIT = (
    bindparam("account", type_=String),
    bindparam("lane", type_=String),
    bindparam("places", type_=Integer),
)


def _taken(
    account: ColumnElement[str],
    lane: ColumnElement[str],
    *more: ColumnElement[bool],
    of: FromClause | None = None,
    most: ColumnElement[int] = _LIMIT,
) -> ScalarSelect[int]:
    """How many places of a line are taken, as far as there are places; of the line of each row, if it is `of` rows."""
    standing = select(literal(1)).where(_waiting(account, lane), ~jobs.c.parked, *more).limit(most)
    if of is not None:
        standing = standing.correlate(of)
    return select(func.count()).select_from(standing.subquery()).scalar_subquery()


_OPENED = jobs.c.step == literal(OPEN)
_PARKED = Prepared(
    select(jobs.c.id)
    .where(_waiting(_ACCOUNT, _LANE), jobs.c.parked, ~jobs.c.claimed)
    .order_by(jobs.c.created_at, jobs.c.id)
    .limit(_LIMIT)
    .with_for_update(skip_locked=True)
)
_TAKEN = Prepared(select(_taken(_ACCOUNT, _LANE, _OPENED)))
_UNCLAIMED = Prepared(select(_taken(_ACCOUNT, _LANE, _OPENED, ~jobs.c.claimed)))
# As the index says it, too: it is read from end to end here.
_LINES = (
    select(jobs.c.account_id, jobs.c.lane)
    .where(jobs.c.state == literal(QUEUED), jobs.c.parked, jobs.c.ended_at.is_(None))
    .distinct()
    .subquery()
)
_OF_EACH = _taken(_LINES.c.account_id, _LINES.c.lane, _OPENED, ~jobs.c.claimed, of=_LINES)
_HALTED = Prepared(select(_LINES.c.account_id, _LINES.c.lane, _OF_EACH.label("taken")).where(_OF_EACH < _LIMIT))
_LET_IN = Prepared(
    update(jobs).where(jobs.c.id == bindparam("of"), jobs.c.parked).values(parked=false(), next_at=bindparam("now"))
)
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
    line = {"account": account_id, "lane": lane, "places": places(lane)}
    ids = [row[0] for row in _PARKED.run(connection, **line)]
    if not ids:
        return 0
    [(taken,)] = (_UNCLAIMED if halted else _TAKEN).run(connection, **line)
    ids = ids[: max(0, places(lane) - taken)]
    _LET_IN.run_all(connection, [{"of": job_id, "now": now} for job_id in ids])
    return len(ids)


def advance_all(connection: Connection, halted: Collection[tuple[str, str]], now: int) -> int:
    """The same for lines that have halted, by account and lane."""
    return sum(advance(connection, account, lane, now, halted=True) for account, lane in halted)


def halted(connection: Connection, limit: int) -> list[tuple[str, str]]:
    """Lines in which jobs are parked although there are places: what was parked at the very moment in which the line
    before it became empty, or while a node of an older version worked on that, or behind the jobs of a node that died.
    """
    found = _HALTED.run(connection, places=max(PLACES.values()))
    return [(account, lane) for account, lane, taken in found if taken < places(lane)][:limit]


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


def standing(each: FromClause, lane: str) -> ScalarSelect[int]:
    """How many jobs of each of these accounts stand in line in a lane, as far as there are places."""
    return _taken(each.c.id, literal(lane), of=each, most=literal(places(lane)))
