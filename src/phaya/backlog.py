"""The queue as an operator sees it: what is due and how much of it, which jobs of all accounts have not ended, what has
failed of late; and the end of a job at the operator's wish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, literal_column, select, tuple_

from phaya import jobs
from phaya.accounts import LONGEST_REASON
from phaya.clock import MINUTE
from phaya.credits import Credits
from phaya.errors import Conflict, NotFound
from phaya.jobs import State, Step
from phaya.schema import accounts
from phaya.schema import jobs as rows
from phaya.typed import read_words
from phaya.workflow import call_off

WHY = "The operator cancelled the job; its credits were returned."
_RUNNING = (State.QUEUED.value, State.PROCESSING.value)


@dataclass(frozen=True, slots=True)
class Lane:
    """Jobs of one lane that have not ended, and since when the oldest of them is due, if one is."""

    name: str
    queued: int
    processing: int
    due_at: int | None


@dataclass(frozen=True, slots=True)
class Flight:
    """A job that has not ended."""

    id: str
    account: str
    account_id: str
    service: str
    lane: str
    state: State
    step: Step
    price: Credits
    trouble: str | None
    created_at: int
    next_at: int | None
    deadline_at: int

    @property
    def stoppable(self) -> bool:
        """Whether it can be cancelled: a chat ends with its request only."""
        return self.step is not Step.TALKING


@dataclass(frozen=True, slots=True)
class Failure:
    """How often jobs of a service ended in one way, and when the last of them did."""

    service: str
    code: str
    count: int
    last_at: int


def lanes(connection: Connection, names: tuple[str, ...], now: int) -> list[Lane]:
    """How the lanes are filled."""
    busy, due = jobs.count_busy(connection), jobs.next_due(connection, names)
    found: list[Lane] = []
    for name in names:
        counts, first = busy.get(name, {}), due.get(name)
        late = first if first is not None and first <= now else None
        found.append(Lane(name, counts.get(State.QUEUED, 0), counts.get(State.PROCESSING, 0), late))
    return found


def services(connection: Connection) -> list[tuple[str, int]]:
    """How many jobs of each service have not ended, the most first."""
    count = func.count().label("n")
    query = select(rows.c.service, count).where(rows.c.next_at.is_not(None), rows.c.state.in_(_RUNNING))
    found = connection.execute(query.group_by(rows.c.service).order_by(count.desc(), rows.c.service))
    return [(row.service, row.n) for row in found]


def flights(connection: Connection, after: tuple[int, str] | None, limit: int) -> list[Flight]:
    """Jobs of all accounts that have not ended, the oldest first; `after` is moment and id of the last one before."""
    query = (
        select(rows, accounts.c.email)
        .join(accounts, accounts.c.id == rows.c.account_id)
        .where(rows.c.next_at.is_not(None), rows.c.state.in_(_RUNNING))
        .order_by(rows.c.created_at, rows.c.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(rows.c.created_at, rows.c.id) > after)
    return [
        Flight(
            row.id, row.email, row.account_id, row.service, row.lane, State(row.state), Step(row.step),
            Credits(row.price), row.trouble, row.created_at, row.next_at, row.deadline_at,
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def failures(connection: Connection, since: int) -> list[Failure]:
    """What has failed since a moment, by service and error code, the most frequent first."""
    count, last = func.count().label("n"), func.max(rows.c.ended_at).label("last")
    # Written out, not bound: SQLite takes a partial index only where the query says its condition word for word.
    failed = rows.c.state == literal_column("'failed'")
    query = select(rows.c.service, rows.c.error_code, count, last).where(failed, rows.c.ended_at >= since)
    found = connection.execute(query.group_by(rows.c.service, rows.c.error_code).order_by(count.desc(), last.desc()))
    return [Failure(row.service, row.error_code or "unknown", row.n, row.last) for row in found]


def cancel(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The operator's command: ends a job that has not ended and returns its price. Raises NotFound, Conflict, Invalid.

    `grace` is how long a provider that works on it is left alone before it is asked what it charged.
    """
    read_words("reason", asked["reason"], LONGEST_REASON)
    job = jobs.find(connection, asked["job"], lock=True)
    if job is None:
        raise NotFound(f"There is no job {asked['job'][:64]}.")
    if job.state.ended:
        raise Conflict(f"Job {job.id} has already ended.")
    if job.step is Step.TALKING:
        raise Conflict(f"Job {job.id} is a chat, which ends with its request.")
    call_off(connection, job, now, asked.get("grace", MINUTE), WHY)
    email = connection.execute(select(accounts.c.email).where(accounts.c.id == job.account_id)).scalar_one()
    return {"job_id": job.id, "account": email, "service": job.service, "returned": str(job.price)}
