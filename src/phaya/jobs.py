"""Jobs as rows. The row is the whole memory of a job, and every write to it says which revision it has read:
whoever lost its claim changes nothing."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any, Self

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    case,
    false,
    func,
    insert,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)

from phaya import lines
from phaya.credits import NOTHING, Credits
from phaya.prepared import Prepared, Writing, among, write_together
from phaya.schema import jobs

ERASED = "{}"
"""What stands for the request and the call of a job whose contents were deleted after their time."""


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
    webhook_url: str | None = None
    cancel_at: int | None = None
    parked: bool = False
    """Whether it stands behind others of its account and is not due before they have begun; see lines.py."""


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
_VALUES = attrgetter(*_NAMES)
_COLUMNS = tuple(jobs.c[name] for name in _NAMES)
_FLAGS = ("sandbox", "claimed", "parked")
_INSERT = Prepared(insert(jobs).values({name: bindparam(name) for name in _NAMES}))
_FIND = Prepared(select(*_COLUMNS).where(among(jobs.c.id, "ids")))
# In one order everywhere, so that two nodes do not wait for each other.
_LOCK = Prepared(select(jobs.c.id, jobs.c.rev).where(among(jobs.c.id, "ids")).order_by(jobs.c.id).with_for_update())

_DUE = Prepared(
    select(jobs.c.id, jobs.c.claimed)
    .where(jobs.c.lane == bindparam("lane"), jobs.c.next_at <= bindparam("now"))
    .order_by(jobs.c.next_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_CANCELLED = and_(jobs.c.cancel_at > bindparam("now"), jobs.c.cancel_at < bindparam("until"))
# The end of a lease, or the moment at which the user wants the job cancelled, if that comes first.
_CLAIM = Prepared(
    update(jobs)
    .where(among(jobs.c.id, "ids"))
    .values(
        claimed=true(),
        rev=jobs.c.rev + 1,
        next_at=case((_CANCELLED, jobs.c.cancel_at), else_=bindparam("until", type_=BigInteger)),
    )
    .returning(*_COLUMNS)
)
_POSTPONE = Prepared(
    update(jobs)
    .where(
        jobs.c.id == bindparam("of"),
        jobs.c.rev == bindparam("read_rev"),
        jobs.c.pokes == bindparam("read_pokes"),
        ~jobs.c.claimed,
    )
    .values(next_at=bindparam("turn"))
)
_WAKE = Prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("of"), jobs.c.next_at.is_not(None))
    .values(
        pokes=jobs.c.pokes + 1,
        hint=func.coalesce(jobs.c.hint, bindparam("named", type_=jobs.c.hint.type)),
        next_at=case((jobs.c.claimed, jobs.c.next_at), else_=bindparam("now", type_=BigInteger)),
    )
)


def new_id(now: int, bits: Callable[[int], int] = secrets.randbits) -> str:
    """An id for a job of this moment: a UUID of version 7 (RFC 9562).

    Its 74 random bits keep links to results secret. That it begins with the moment keeps new rows together in every
    index, where each of wholly random ones writes pages of its own.
    """
    drawn = bits(74)  # at once: each draw asks the kernel
    return str(uuid.UUID(int=now << 80 | 7 << 76 | drawn >> 62 << 64 | 2 << 62 | drawn & (1 << 62) - 1))


def insertion(drafts: Sequence[Job], parked: Mapping[str, int] | None = None) -> Writing:
    """How the rows of new jobs are written. Those that are parked, by their ids, are due at another moment."""
    rows = [_row(job) for job in drafts]
    if parked:
        rows = [
            row if (until := parked.get(row["id"])) is None else row | {"parked": True, "next_at": until}
            for row in rows
        ]
    return _INSERT, rows


def insert_jobs(connection: Connection, drafts: Sequence[Job], parked: Mapping[str, int] | None = None) -> None:
    """Writes the rows of new jobs, see `insertion`."""
    write_together(connection, insertion(drafts, parked))


def find(connection: Connection, job_id: str, account_id: str | None = None, *, lock: bool = False) -> Job | None:
    """The job, or None where there is none (of this account, if one is given).

    With `lock` nobody else writes it until the transaction ends.
    """
    mine = {} if account_id is None else {"account": account_id}
    rows = _one(owned=account_id is not None, lock=lock).run(connection, of=job_id, **mine)
    return _job(rows[0]) if rows else None


@cache
def _one(*, owned: bool, lock: bool) -> Prepared:
    query = select(*_COLUMNS).where(jobs.c.id == bindparam("of"))
    if owned:
        query = query.where(jobs.c.account_id == bindparam("account"))
    return Prepared(query.with_for_update() if lock else query)


def find_all(connection: Connection, job_ids: Sequence[str]) -> dict[str, Job]:
    """Those of these jobs that there are, whoever's they are."""
    return {job.id: job for job in map(_job, _FIND.run(connection, ids=list(job_ids)))}


def history(connection: Connection, account_id: str, search: Search, limit: int) -> list[Job]:
    """An account's jobs, newest first."""
    query = (
        select(*_COLUMNS)
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
    before = dict(_DUE.run(connection, lane=lane, now=now, most=limit))
    if not before:
        return []
    taken = _CLAIM.run(connection, ids=list(before), now=now, until=now + lease)
    return [_job(row, claimed=before[row[0]]) for row in taken]


def next_due(connection: Connection, lanes: Sequence[str]) -> dict[str, int]:
    """When the next job of each lane is due; lanes without one are left out."""
    if not lanes:
        return {}
    found = _firsts(tuple(lanes)).run(connection)[0]
    return {lane: due for lane, due in zip(lanes, found, strict=True) if due is not None}


@cache
def _firsts(lanes: tuple[str, ...]) -> Prepared:
    # One probe of ix_jobs_due for each lane: a minimum over `lane IN (…)` reads every open row on both databases.
    return Prepared(
        select(
            *(
                select(jobs.c.next_at)
                .where(jobs.c.lane == lane, jobs.c.next_at.is_not(None))
                .order_by(jobs.c.next_at)
                .limit(1)
                .scalar_subquery()
                for lane in lanes
            )
        )
    )


def take(connection: Connection, places: Mapping[str, int], now: int, lease: int) -> tuple[list[Job], int | None]:
    """Claims due jobs of several lanes, as many of each as there are places; and when the next one is due.

    A lane from which as much was taken as it has places counts no more until the next call.
    """
    due = next_due(connection, [lane for lane, free in places.items() if free > 0])
    taken = [job for lane, at in due.items() if at <= now for job in claim(connection, lane, places[lane], now, lease)]
    full = {lane for lane, free in places.items() if sum(job.lane == lane for job in taken) >= free}
    return taken, min((at for lane, at in due.items() if lane not in full), default=None)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is needed to put a job off that nobody holds."""

    id: str
    rev: int
    pokes: int
    deadline_at: int
    """Its deadline, or the moment at which its user wants it cancelled, if that comes first."""


def alike(connection: Connection, job: Job, now: int, limit: int) -> list[Waiting]:
    """Due jobs that nobody holds and that wait for the same budget of a provider as `job`, the longest due first.

    Those whose provider has called back are not among them: they go before the others.
    """
    same = (
        (jobs.c.step == Step.OPEN.value) & (jobs.c.deadline_at > now)
        if job.step is Step.OPEN
        else (jobs.c.step.in_((Step.AWAITING.value, Step.WATCHING.value)))
        & (jobs.c.provider_key == job.provider_key)
        & (jobs.c.pokes == 0)
        & jobs.c.outcome.is_(None)
    )
    rows = connection.execute(
        select(jobs.c.id, jobs.c.rev, jobs.c.pokes, jobs.c.deadline_at, jobs.c.cancel_at)
        .where(jobs.c.lane == job.lane, jobs.c.next_at <= now, ~jobs.c.claimed, same)
        .order_by(jobs.c.next_at)
        .limit(limit)
    )
    return [Waiting(row.id, row.rev, row.pokes, min(row.deadline_at, row.cancel_at or row.deadline_at)) for row in rows]


def put_off(connection: Connection, turns: Sequence[tuple[Waiting, int]]) -> None:
    """Makes each of these jobs due at another moment, unless it was claimed or poked since it was read."""
    # In one order everywhere, so that two nodes that put the same jobs off do not wait for each other.
    ordered = sorted(turns, key=lambda turn: turn[0].id)
    rows = [{"of": one.id, "read_rev": one.rev, "read_pokes": one.pokes, "turn": turn} for one, turn in ordered]
    _POSTPONE.run_all(connection, rows)


def change(connection: Connection, job: Job, now: int, *, hold: bool = False, **values: Any) -> Job:
    """Writes what became of a job that the caller read as `job`, and lets go of it unless `hold`.

    A callback heard in the meantime makes the job due at once, and so does the moment at which the user wants it
    cancelled. A job that begins, or ends before that, lets the next one of its account into the line. Raises Lost where
    somebody else wrote since.
    """
    later = values.get("next_at")
    if later is not None and job.cancel_at is not None and not State(values.get("state", job.state)).ended:
        values["next_at"] = later = min(later, job.cancel_at)
    told = {f"new_{name}": _plain(value) for name, value in values.items()}
    rows = _changed(tuple(values), mindful="next_at" in values and later is not None and not hold).run(
        connection, of=job.id, read_rev=job.rev, read_pokes=job.pokes, now=now, hold=hold, **told
    )
    if not rows:
        raise Lost(job.id)
    after = _job(rows[0])
    if job.state is State.QUEUED and not lines.waits(after.state.value, after.step.value):
        lines.advance(connection, job.account_id, job.lane, now)
    # While the claim is held, a callback heard since it began still counts as not yet answered.
    return replace(after, pokes=job.pokes) if hold else after


def hand_back(connection: Connection, turns: Sequence[tuple[Job, int]], now: int) -> list[Job | Exception]:
    """Lets go of jobs that the caller holds, each to be due at another moment; see `change`. Lost comes in the place of
    those to which somebody else wrote since."""
    outcomes: dict[str, Job | Exception] = {}
    # In one order everywhere, so that two nodes that write the same jobs do not wait for each other.
    for job, turn in sorted(turns, key=lambda one: one[0].id):
        try:
            outcomes[job.id] = change(connection, job, now, next_at=turn)
        except Lost as lost:
            outcomes[job.id] = lost
    return [outcomes[job.id] for job, _ in turns]


@cache
def _changed(names: tuple[str, ...], *, mindful: bool) -> Prepared:
    """Writes these columns of a job; where it is `mindful`, a callback heard since makes it due at once."""
    written = _written(names).values(claimed=bindparam("hold"), parked=false())
    if mindful:
        heard, now, later = (bindparam(name, type_=BigInteger) for name in ("read_pokes", "now", "new_next_at"))
        written = written.values(next_at=case((jobs.c.pokes != heard, now), else_=later))
    return Prepared(written.returning(*_COLUMNS))


def _written(names: Sequence[str]) -> Update:
    """New values of these columns for a job at the revision that was read."""
    return (
        update(jobs)
        .where(jobs.c.id == bindparam("of"), jobs.c.rev == bindparam("read_rev"))
        .values({name: bindparam(f"new_{name}") for name in names})
        .values(rev=jobs.c.rev + 1)
    )


def lock(connection: Connection, job_ids: Collection[str]) -> dict[str, int]:
    """The revisions of jobs that nobody else writes until the transaction ends."""
    return {job_id: int(rev) for job_id, rev in _LOCK.run(connection, ids=sorted(set(job_ids)))}


def endings(ends: Sequence[tuple[Job, Mapping[str, Any]]]) -> Writing:
    """How it is written what became of jobs that `lock` found at the revisions that the caller read, and that they are
    let go of.

    Each comes with the same columns, and none is to be due again.
    """
    names = tuple(name for name in ends[0][1] if name != "next_at") if ends else ()
    rows = [
        {"of": job.id, "read_rev": job.rev} | {f"new_{name}": _plain(values[name]) for name in names}
        for job, values in ends
    ]
    return _ended(names), rows


@cache
def _ended(names: tuple[str, ...]) -> Prepared:
    return Prepared(_written(names).values(next_at=null(), claimed=false()))


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


def renew(connection: Connection, held: Sequence[tuple[str, int]], until: int) -> int:
    """Renews the leases of jobs, each by its id and the revision that is held; says how many were still held.

    A job that its user wants cancelled before that is due then, as in `extend`.
    """
    # The ids once more, alone: SQLite finds no index for the pairs.
    these = jobs.c.id.in_([job_id for job_id, _ in held]) & tuple_(jobs.c.id, jobs.c.rev).in_(held)
    sooner = and_(jobs.c.cancel_at < until, jobs.c.ended_at.is_(None))
    end = case((sooner, jobs.c.cancel_at), else_=until)
    return connection.execute(update(jobs).where(these, jobs.c.claimed).values(next_at=end)).rowcount


def forget_results(connection: Connection, job_ids: Sequence[str]) -> None:
    """The jobs' files are gone."""
    connection.execute(update(jobs).where(jobs.c.id.in_(job_ids)).values(results=null()))


def poke(connection: Connection, job_id: str, hint: str | None, now: int) -> None:
    """A callback: makes the job due now, or right after the move that somebody is making. Trusts nothing else."""
    poke_all(connection, [(job_id, hint)], now)


def poke_all(connection: Connection, heard: Sequence[tuple[str, str | None]], now: int) -> None:
    """Callbacks, each with the job that it is about and the ticket that it names; see `poke`."""
    # In one order everywhere, so that two nodes that heard of the same jobs do not wait for each other.
    rows = [{"of": job_id, "named": hint, "now": now} for job_id, hint in sorted(heard, key=lambda one: one[0])]
    _WAKE.run_all(connection, rows)


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


def expired(
    connection: Connection, before: int, limit: int, without: tuple[str, ...] = (), after: tuple[int, str] = (0, "")
) -> list[Job]:
    """Ended jobs with results that are older than the retention, without those of some services, the oldest first.

    `after` is end and id of the last job of the chunk before.
    """
    old = (
        select(*_COLUMNS)
        .where(jobs.c.ended_at < before, jobs.c.results.is_not(None), jobs.c.service.not_in(without))
        .where(tuple_(jobs.c.ended_at, jobs.c.id) > after)
        .order_by(jobs.c.ended_at, jobs.c.id)
    )
    return [_job(row) for row in connection.execute(old.limit(limit))]


def holding(connection: Connection, after: str, limit: int) -> list[tuple[str, str]]:
    """Ids and results of jobs that have results, by id, from behind one on."""
    rows = connection.execute(
        select(jobs.c.id, jobs.c.results)
        .where(jobs.c.results.is_not(None), jobs.c.id > after)
        .order_by(jobs.c.id)
        .limit(limit)
    )
    return [(row.id, row.results) for row in rows]


def results_of(connection: Connection, job_ids: Collection[str]) -> dict[str, str | None]:
    """What those of these jobs that there are keep."""
    rows = connection.execute(select(jobs.c.id, jobs.c.results).where(jobs.c.id.in_(job_ids)))
    return {row.id: row.results for row in rows}


def _row(job: Job) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(_NAMES, _VALUES(job), strict=True))
    row |= {"price": job.price.units, "returned": job.returned.units, "state": job.state.value, "step": job.step.value}
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, Credits):
        return value.units
    return value.value if isinstance(value, StrEnum) else value


def _job(row: Sequence[Any], **others: Any) -> Job:
    """The job of a row, whose columns are in their order; `others` are told in the place of what it has."""
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=True)) | others
    values["price"] = Credits(values["price"])
    values["returned"] = Credits(values["returned"])
    values["state"] = State(values["state"])
    values["step"] = Step(values["step"])
    for flag in _FLAGS:
        values[flag] = bool(values[flag])
    return Job(**values)
