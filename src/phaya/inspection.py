"""`phaya check`: proves that what the database and the storage hold fits together; each fault is one line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select, tuple_
from sqlalchemy.exc import DatabaseError

from phaya import jobs as rows
from phaya import ledger, payments, vouchers
from phaya.clock import DAY, HOUR, MINUTE
from phaya.inventory import absent
from phaya.jobs import State, Step
from phaya.results import keys_of
from phaya.schema import deliveries, idempotency, jobs
from phaya.storage import Storage

LATE = 10 * MINUTE
"""How long after its moment a due row, or a claim that nobody took over, is a fault."""
MOST = 1000
"""Faults that are named; the others are counted."""
PAGE = 2000
"""Jobs whose files are looked for at a time."""
HEADS = 32
"""Files that the storage is asked about at once."""

_OPEN = tuple(state.value for state in State if not state.ended)
_ENDED = tuple(state.value for state in State if state.ended)
_OVER = (Step.DONE.value, Step.WATCHING.value)


def check(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The operator's command: whatever is wrong in the database. `served` says that a server answers, so that work
    which nobody does is a fault; `at_rest` that nobody is meant to work on it, as on a backup."""
    try:
        damage = list(_file(connection))
    except DatabaseError as error:
        damage = [f"the database file is damaged: {error.orig}"]
    if damage:  # the rows say nothing more that could be relied on
        return {"faults": _bounded(damage), "waiting": {}}
    at_work = (asked.get("served") or connection.dialect.name == "postgresql") and not asked.get("at_rest")
    faults = [*ledger.audit(connection), *payments.audit(connection), *vouchers.audit(connection)]
    faults += [*_states(connection), *_strays(connection)]
    if at_work:
        faults += _overdue(connection, now)
    return {"faults": _bounded(faults), "waiting": rows.count_open(connection)}


def stored(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The operator's command: a page of the files that the storage must have, with the jobs that they belong to."""
    since = now - int(asked["media_days"] * DAY) + HOUR  # what is about to be deleted is not missed
    moment = tuple_(jobs.c.ended_at, jobs.c.id)
    found = connection.execute(
        select(jobs.c.id, jobs.c.ended_at, jobs.c.results)
        .where(jobs.c.results.is_not(None), jobs.c.ended_at >= since, moment > tuple(asked["after"]))
        .order_by(jobs.c.ended_at, jobs.c.id)
        .limit(PAGE)
    ).all()
    return {
        "files": [[row.id, key] for row in found for key in keys_of(row.results)],
        "next": [found[-1].ended_at, found[-1].id] if len(found) == PAGE else None,
    }


async def examine(
    ask: Callable[..., Awaitable[dict[str, Any]]], storage: Storage, media_days: float, *, at_rest: bool = False
) -> dict[str, Any]:
    """Everything that can be checked: the database by `ask`, which carries out an operator's command, and the storage.

    Answers `faults`, `waiting` (open jobs by lane and step) and `files` (how many were looked for).
    """
    report = await ask("check", at_rest=at_rest)
    lost: list[str] = []
    files = gone = 0
    after: Sequence[Any] | None = (0, "")
    while after is not None:
        page = await ask("check files", media_days=media_days, after=list(after))
        owners = {key: job for job, key in page["files"]}
        lacking = await absent(storage, list(owners), HEADS)
        files, gone = files + len(owners), gone + len(lacking)
        lost += [f"job {owners[key]}: its file {key} is missing" for key in lacking[: MOST - len(lost)]]
        after = page["next"]
    if gone > len(lost):
        lost.append(f"and {gone - len(lost)} more files are missing")
    return {**report, "faults": [*report["faults"], *lost], "files": files}


def _bounded(faults: Sequence[str]) -> list[str]:
    """The first faults, and how many more there are: a lost disk must not drown its own news."""
    if len(faults) <= MOST:
        return list(faults)
    return [*faults[:MOST], f"and {len(faults) - MOST} more"]


def _file(connection: Connection) -> Iterator[str]:
    """What SQLite finds wrong with its own file. PostgreSQL has its own tools, and enforces what it was told."""
    if connection.dialect.name != "sqlite":
        return
    for (told,) in connection.exec_driver_sql("PRAGMA quick_check(100)"):
        if told != "ok":
            yield f"the database file is damaged: {told}"
    for row in islice(connection.exec_driver_sql("PRAGMA foreign_key_check"), MOST):
        yield f"row {row[1]} of {row[0]} belongs to a row of {row[2]} that does not exist"


def _states(connection: Connection) -> Iterator[str]:
    state, step, ended = jobs.c.state, jobs.c.step, jobs.c.ended_at.is_not(None)
    wrong: list[tuple[str, ColumnElement[bool]]] = [
        ("is in an unknown state", state.not_in([*State])),
        ("is at an unknown step", step.not_in([*Step])),
        ("has not ended, and nothing is left to do for it", state.in_(_OPEN) & jobs.c.next_at.is_(None)),
        ("has not ended, but its step says so", state.in_(_OPEN) & step.in_(_OVER)),
        ("has ended, but its step does not say so", state.in_(_ENDED) & step.not_in(_OVER)),
        ("is done, but due", (step == Step.DONE.value) & jobs.c.next_at.is_not(None)),
        ("has a moment of its end, or should have one", or_(state.in_(_OPEN) & ended, state.in_(_ENDED) & ~ended)),
    ]
    for words, condition in wrong:
        query = select(jobs.c.id, state, step).where(condition).limit(MOST)
        for row in connection.execute(query):
            yield f"job {row.id} {words}: state {row.state}, step {row.step}"


def _strays(connection: Connection) -> Iterator[str]:
    orphan = ~exists().where(jobs.c.id == idempotency.c.job_id)
    for row in connection.execute(select(idempotency.c.account_id, idempotency.c.job_id).where(orphan).limit(MOST)):
        yield f"an idempotency key of account {row.account_id} stands for job {row.job_id}, which does not exist"
    idle = deliveries.c.ended_at.is_(None) & deliveries.c.next_at.is_(None)
    for row in connection.execute(select(deliveries.c.id).where(idle).limit(MOST)):
        yield f"delivery {row.id} has not ended, and nothing is left to do for it"


def _overdue(connection: Connection, now: int) -> Iterator[str]:
    late = jobs.c.next_at < now - LATE
    query = (
        select(jobs.c.lane, jobs.c.claimed, func.count().label("n"), func.min(jobs.c.next_at).label("first"))
        .where(late)
        .group_by(jobs.c.lane, jobs.c.claimed)
    )
    for row in connection.execute(query):
        minutes = (now - row.first) // MINUTE
        if row.claimed:
            yield f"lane {row.lane}: {row.n} claims ended up to {minutes} minutes ago, and nobody took the jobs over"
        else:
            yield f"lane {row.lane}: {row.n} jobs have been due for up to {minutes} minutes"
    waiting = select(func.count().label("n"), func.min(deliveries.c.next_at).label("first"))
    row = connection.execute(waiting.where(deliveries.c.next_at < now - LATE)).one()
    if row.n:
        yield f"webhooks: {row.n} deliveries have been due for up to {(now - row.first) // MINUTE} minutes"
