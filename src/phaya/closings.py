"""How jobs are ended: the row's end, what comes back of the price, and who is told of it, together or not at all.

Calls that last as long as their request (chats, embeddings) end in crowds, many in one transaction, see crowd.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection

from phaya import allowances, deliveries, idempotency, jobs, ledger
from phaya.credits import Credits
from phaya.idempotency import Answer, Stamp
from phaya.jobs import Job, Lost, State, Step
from phaya.purses import Purses
from phaya.webhooks import Event

ENDINGS = {State.COMPLETED: Event.COMPLETED, State.FAILED: Event.FAILED, State.CANCELLED: Event.CANCELLED}


class Wordless(BaseModel):
    """What is remembered of the request of a call that lasts as long as it: no word, only the key that is to be freed
    where the call fails."""

    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """A call that lasted as long as its request, and is done: what it used of its price, and what its row keeps.

    `values` are columns of the row, the same ones of all closings. `tell` makes the answer of the balance, which is
    kept where the request has a stamp.
    """

    job: Job
    now: int
    used: Credits
    values: Mapping[str, object]
    stamp: Stamp | None
    tell: Callable[[Credits], Answer]


Closed = tuple[Credits, Answer | None]
"""The balance after a call, and its answer, where that was kept."""


def end_job(
    connection: Connection, job: Job, now: int, state: State, cost: Credits, values: Mapping[str, object], size: int = 0
) -> Job:
    """Writes a job's end, returns what it did not cost and has its owner told of it, together. Raises Lost.

    `size` is how many bytes its results have, which count as its account's.

    A call that failed with its request frees the key of that request: sent again, it is to be tried again.
    """
    if job.state.ended:
        raise Lost(job.id)
    back = job.price - cost
    after = jobs.change(connection, job, now, **_end(state, back, now, values))
    given = ledger.give_back(connection, job.account_id, job.key_id, job.id, back, now)
    if back and not given:
        raise AssertionError(f"job {job.id} was given its credits back before it ended")
    allowances.hold(connection, job.account_id, size, now)
    if job.step is not Step.TALKING:
        deliveries.announce(connection, after, ENDINGS[state], now)
    elif state is not State.COMPLETED:  # whoever chats has heard the end already
        key = Wordless.model_validate_json(job.request).idempotency_key
        if key is not None:
            idempotency.free(connection, job.account_id, key, job.id)
    return after


def close_one(connection: Connection, closing: Closing) -> Closed:
    """Writes the end of a call and, where it has a key, its answer. Raises Lost."""
    end_job(connection, closing.job, closing.now, State.COMPLETED, closing.used, closing.values)
    return _answered(connection, closing, ledger.balance(connection, closing.job.account_id))


def close_many(connection: Connection, closings: Sequence[Closing]) -> list[Closed | Exception]:
    """What `close_one` would do with each of them one after the other, in a few statements for all: what came of each,
    or Lost."""
    held = jobs.lock(connection, [closing.job.id for closing in closings])
    purses = Purses(connection, [closing.job for closing in closings])
    balances: dict[str, Credits] = {}
    ends: list[tuple[Job, dict[str, Any]]] = []
    for closing in closings:
        job = closing.job
        if job.state.ended or held.get(job.id) != job.rev or not purses.plain(job.account_id):
            continue
        back = job.price - closing.used
        ends.append((job, _end(State.COMPLETED, back, closing.now, closing.values)))
        balances[job.id] = purses.give_back(job, back, closing.now)
    purses.write(jobs.endings(ends))
    outcomes: list[Closed | Exception] = []
    for closing in closings:
        if (left := balances.get(closing.job.id)) is not None:
            outcomes.append(_answered(connection, closing, left))
            continue
        try:
            with connection.begin_nested():
                outcomes.append(close_one(connection, closing))
        except Lost as lost:
            outcomes.append(lost)
    return outcomes


def keep_late(connection: Connection, job: Job, now: int, results: str) -> Job:
    """Writes the results of a job that has ended without them, and has its owner told. Raises Lost."""
    after = jobs.change(connection, job, now, step=Step.DONE, next_at=None, results=results)
    deliveries.announce(connection, after, Event.LATE_RESULT, now)
    return after


def _end(state: State, back: Credits, now: int, values: Mapping[str, object]) -> dict[str, Any]:
    return {"step": Step.DONE, "next_at": None, **values, "state": state, "returned": back, "ended_at": now}


def _answered(connection: Connection, closing: Closing, left: Credits) -> Closed:
    if (stamp := closing.stamp) is None:
        return left, None
    answer = closing.tell(left)
    idempotency.keep(connection, stamp.account_id, stamp.key, closing.job.id, answer, closing.used)
    return left, answer
