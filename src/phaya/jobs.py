"""Jobs as rows. The row is the whole memory of a job, and every write to it says which revision it has read:
whoever lost its claim changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Row, and_, case, false, func, insert, null, or_, select, true, update

from phaya.credits import NOTHING, Credits
from phaya.schema import jobs


class State(StrEnum):
    """What the user is told, in every vocabulary's common words."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen for the user."""
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


class Step(StrEnum):
    """Where the engine stands. Each name says what is done next, or what is being waited for."""

    OPEN = "open"  # to be submitted, or done here
    SUBMITTING = "submitting"  # the intent is written: from here on it is never submitted again
    UNSURE = "unsure"  # submitted or not, nobody can tell: waiting for a callback that names the ticket
    AWAITING = "awaiting"  # the provider works; looked at now and then
    KEEPING = "keeping"  # the provider is done; its files are to be copied
    TALKING = "talking"  # a chat, carried by its HTTP request
    WATCHING = "watching"  # over for the user, but what the provider did is not known yet
    DONE = "done"


class Lost(Exception):
    """The row has moved on since it was read; whoever holds it now decides."""


@dataclass(frozen=True, slots=True)
class Job:
    """One row. Amounts are credits, times milliseconds since 1970, progress thousandths."""

    id: str
    account_id: str
    key_id: str
    service: str
    request: str
    call: str
    sandbox: bool
    price: Credits
    state: State
    step: Step
    lane: str
    deadline_at: int
    created_at: int
    next_at: int | None
    claimed: bool = False
    rev: int = 0
    pokes: int = 0
    attempts: int = 0
    progress: int = 0
    returned: Credits = NOTHING
    hint: str | None = None
    provider_key: str | None = None
    ticket: str | None = None
    outcome: str | None = None
    results: str | None = None
    spent: str | None = None
    error: str | None = None
    error_code: str | None = None
    trouble: str | None = None
    ways: str | None = None
    rates: str | None = None
    submitted_at: int | None = None
    ended_at: int | None = None
    cancel_at: int | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What of a job's row its owner can see change, as far as it goes on."""

    state: State
    progress: int
    ticket: str | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """What a row that was read shows."""
        return cls(job.state, job.progress, job.ticket)


@dataclass(frozen=True, slots=True)
class Search:
    """Which of an account's jobs are looked for. Times are milliseconds since 1970; None does not narrow.

    `services` says of each service in which states its jobs are wanted; no states are all of them. `before` is the
    moment and the id of the last job of the page before.
    """

    services: Mapping[str, Collection[State]]
    since: int | None = None
    until: int | None = None
    sandbox: bool | None = None
    before: tuple[int, str] | None = None

    @classmethod
    def of(cls, services: Iterable[str], states: Collection[State] = ()) -> Self:
        """The jobs of some services, all in the same states."""
        return cls(dict.fromkeys(services, states))


_NAMES = tuple(field.name for field in fields(Job))


def insert_job(connection: Connection, job: Job) -> None:
    """Writes a new job's row."""
    connection.execute(insert(jobs).values({name: _plain(getattr(job, name)) for name in _NAMES}))


def find(connection: Connection, job_id: str, account_id: str | None = None, *, lock: bool = False) -> Job | None:
    """The job, or None where there is none (of this account, if one is given).

    With `lock` nobody else writes to it before this transaction ends.
    """
    query = select(jobs).where(jobs.c.id == job_id)
    if account_id is not None:
        query = query.where(jobs.c.account_id == account_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _job(row)


def history(connection: Connection, account_id: str, search: Search, limit: int) -> list[Job]:
    """An account's jobs, newest first."""
    query = (
        select(jobs)
        .where(jobs.c.account_id == account_id, _wanted(search))
        .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
        .limit(limit)
    )
    if search.since is not None:
        query = query.where(jobs.c.created_at >= search.since)
    if search.until is not None:
        query = query.where(jobs.c.created_at < search.until)
    if search.sandbox is not None:
        query = query.where(jobs.c.sandbox.is_(search.sandbox))
    if search.before is not None:
        moment, job_id = search.before
        # The first half alone lets the index begin at the right place.
        query = query.where(jobs.c.created_at <= moment, or_(jobs.c.created_at < moment, jobs.c.id < job_id))
    return [_job(row) for row in connection.execute(query)]


def _wanted(search: Search) -> ColumnElement[bool]:
    alike: dict[frozenset[State], list[str]] = {}
    for service, states in search.services.items():
        alike.setdefault(frozenset(states), []).append(service)
    return or_(
        false(),
        *(
            and_(jobs.c.service.in_(services), jobs.c.state.in_([s.value for s in states]) if states else true())
            for states, services in alike.items()
        ),
    )


def sights(connection: Connection, ids: Collection[str]) -> dict[str, Sight]:
    """What there is to see of some jobs, by id; none for ids that are no job's."""
    query = select(jobs.c.id, jobs.c.state, jobs.c.progress, jobs.c.ticket).where(jobs.c.id.in_(ids))
    return {row.id: Sight(State(row.state), row.progress, row.ticket) for row in connection.execute(query)}


def claim(connection: Connection, lane: str, limit: int, now: int, lease: int) -> list[Job]:
    """Takes up to `limit` due jobs of a lane for `lease` milliseconds, the longest due first.

    A job that comes back with `claimed` set was in somebody's hands when they died or hung. No lease outlasts the
    moment at which the user wants the job cancelled: it is due then, whoever works on it.
    """
    due = (
        select(jobs.c.id, jobs.c.claimed)
        .where(jobs.c.lane == lane, jobs.c.next_at <= now)
        .order_by(jobs.c.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    before = {row.id: row.claimed for row in connection.execute(due)}
    if not before:
        return []
    rows = connection.execute(
        update(jobs)
        .where(jobs.c.id.in_(before))
        .values(claimed=True, rev=jobs.c.rev + 1, next_at=_until(now + lease, now))
        .returning(jobs)
    )
    return [_job(row, claimed=before[row.id]) for row in rows]


def next_due(connection: Connection, lanes: list[str]) -> int | None:
    """When the next job of these lanes is due."""
    return connection.execute(select(func.min(jobs.c.next_at)).where(jobs.c.lane.in_(lanes))).scalar()


def change(connection: Connection, job: Job, now: int, *, hold: bool = False, **values: Any) -> Job:
    """Writes what became of a job that the caller read as `job`, and lets go of it unless `hold`.

    A callback heard in the meantime makes the job due at once, and so does the moment at which the user wants it
    cancelled. Raises Lost where somebody else wrote since.
    """
    later = values.get("next_at")
    if later is not None and job.cancel_at is not None and not State(values.get("state", job.state)).ended:
        values["next_at"] = later = min(later, job.cancel_at)
    if "next_at" in values and not hold:
        values["next_at"] = null() if later is None else case((jobs.c.pokes != job.pokes, now), else_=later)
    row = connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id, jobs.c.rev == job.rev)
        .values({name: _plain(value) for name, value in values.items()} | {"rev": job.rev + 1, "claimed": hold})
        .returning(jobs)
    ).one_or_none()
    if row is None:
        raise Lost(job.id)
    after = _job(row)
    # While the claim is held, a callback heard since it began still counts as not yet answered.
    return replace(after, pokes=job.pokes) if hold else after


def extend(connection: Connection, job: Job, until: int, progress: int) -> bool:
    """Renews the lease of work that takes long, and tells how far it is; False where the claim is lost.

    The revision stays, so that the worker may go on writing with the row it holds.
    """
    done = connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id, jobs.c.rev == job.rev, jobs.c.claimed)
        .values(next_at=until if job.cancel_at is None else min(until, job.cancel_at), progress=progress)
    )
    return done.rowcount > 0


def forget_results(connection: Connection, job_id: str) -> None:
    """The job's files are gone."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(results=null()))


def poke(connection: Connection, job_id: str, hint: str | None, now: int) -> bool:
    """A callback: makes the job due now, or right after the move that somebody is making. Trusts nothing else."""
    done = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.next_at.is_not(None))
        .values(
            pokes=jobs.c.pokes + 1,
            hint=func.coalesce(jobs.c.hint, hint),
            next_at=case((jobs.c.claimed, jobs.c.next_at), else_=now),
        )
    )
    return done.rowcount > 0


def release_all(connection: Connection, now: int) -> int:
    """Ends every claim: at the start of the only process of an embedded database nobody can hold one."""
    return connection.execute(
        update(jobs).where(jobs.c.claimed, jobs.c.next_at.is_not(None)).values(next_at=now)
    ).rowcount


def overdue(connection: Connection, lanes: list[str], now: int, limit: int) -> list[str]:
    """Jobs of these lanes that nobody works on and that their users want cancelled by now."""
    query = select(jobs.c.id).where(jobs.c.lane.in_(lanes), jobs.c.next_at <= now, jobs.c.cancel_at <= now)
    running = (State.QUEUED.value, State.PROCESSING.value)
    return list(connection.execute(query.where(jobs.c.state.in_(running)).limit(limit)).scalars())


def count_open(connection: Connection) -> dict[str, int]:
    """How many jobs wait, by lane and step, as `lane/step`."""
    rows = connection.execute(
        select(jobs.c.lane, jobs.c.step, func.count().label("n"))
        .where(jobs.c.next_at.is_not(None))
        .group_by(jobs.c.lane, jobs.c.step)
    )
    return {f"{row.lane}/{row.step}": row.n for row in rows}


def count_busy(connection: Connection) -> dict[str, dict[str, int]]:
    """How many jobs of all accounts have not ended, by lane and state."""
    found: dict[str, dict[str, int]] = {}
    rows = connection.execute(
        select(jobs.c.lane, jobs.c.state, func.count().label("n"))
        .where(jobs.c.next_at.is_not(None), jobs.c.state.in_((State.QUEUED.value, State.PROCESSING.value)))
        .group_by(jobs.c.lane, jobs.c.state)
    )
    for row in rows:
        found.setdefault(row.lane, {})[row.state] = row.n
    return found


def expired(connection: Connection, before: int, limit: int, without: tuple[str, ...] = ()) -> list[Job]:
    """Ended jobs whose results are older than the retention, without those of some services."""
    old = select(jobs).where(jobs.c.ended_at < before, jobs.c.results.is_not(None), jobs.c.service.not_in(without))
    return [_job(row) for row in connection.execute(old.limit(limit))]


def _until(lease: int, now: int) -> ColumnElement[Any]:
    """The end of a lease, or the moment at which the user wants the job cancelled, if that comes first."""
    sooner = and_(jobs.c.cancel_at > now, jobs.c.cancel_at < lease)
    return case((sooner, jobs.c.cancel_at), else_=lease)


def _plain(value: Any) -> Any:
    if isinstance(value, Credits):
        return value.units
    return value.value if isinstance(value, StrEnum) else value


def _job(row: Row[Any], claimed: bool | None = None) -> Job:
    values: dict[str, Any] = {name: getattr(row, name) for name in _NAMES}
    values["price"] = Credits(row.price)
    values["returned"] = Credits(row.returned)
    values["state"] = State(row.state)
    values["step"] = Step(row.step)
    if claimed is not None:
        values["claimed"] = claimed
    return Job(**values)
