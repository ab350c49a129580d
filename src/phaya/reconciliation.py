"""Jobs whose fate at the provider is or was unknown: the operator's list of what may have cost us something that the
user did not pay for. Each public function is an operator's command, see operator.py.

A job comes on the list when nobody can tell whether the provider took it, or when it was refunded while the provider
might still finish it. It stays there, also after a late answer that cost us something, until an operator closes it or
its contents are erased.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, null, or_, select, tuple_, update

from phaya.calls import Chat, unpack
from phaya.clock import written
from phaya.credits import Credits
from phaya.errors import Conflict, NotFound
from phaya.jobs import ERASED, State, Step
from phaya.schema import accounts, jobs

PAGE = 500
CLOSED = "closed by "
"""How the trouble of a job begins that an operator has closed."""
IN_DOUBT = ("deadline", "unknown", "lost", "result_unavailable", "internal", "cancelled")
"""Error codes of ends that are written while the provider may still finish the task."""

_UNKNOWN = (Step.UNSURE.value, Step.WATCHING.value)


def overview(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A page of the list, the oldest first. `after` is the `next` of the page before; `all` shows closed jobs too."""
    limit = asked.get("limit", PAGE)
    listed = _listed() if not asked.get("all") else or_(_listed(), _closed())
    query = _jobs().where(listed).order_by(jobs.c.created_at, jobs.c.id).limit(limit)
    if asked.get("after"):
        created_at, last = asked["after"]
        query = query.where(tuple_(jobs.c.created_at, jobs.c.id) > (created_at, last))
    found = connection.execute(query).all()
    return {
        "jobs": [_told(row, now) for row in found],
        "next": [found[-1].created_at, found[-1].id] if len(found) == limit else None,
    }


def tally(connection: Connection, since: int) -> tuple[int, int, int]:
    """How many jobs are on the list, how many of them were made since a moment, and their prices in units."""
    fresh = func.count().filter(jobs.c.created_at >= since)
    row = connection.execute(
        select(func.count().label("n"), fresh.label("fresh"), func.sum(jobs.c.price).label("units")).where(_listed())
    ).one()
    return row.n, row.fresh, int(row.units or 0)


def look(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a listed job due now, also one that is no longer looked for. Raises NotFound or Conflict."""
    row = _find(connection, asked["job"])
    if row.step not in _UNKNOWN:
        raise Conflict(f"There is nothing to look for: the provider has answered about job {row.id}.")
    if isinstance(unpack(row.call), Chat):
        raise Conflict(
            f"Nobody can be asked about {row.id}, which is a chat: see the provider's own list, then close it."
        )
    connection.execute(
        update(jobs)
        .where(jobs.c.id == row.id)
        .values(pokes=jobs.c.pokes + 1, next_at=case((jobs.c.claimed, jobs.c.next_at), else_=now))
    )
    return _told(_find(connection, row.id), now)


def close(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Ends the looking and takes a job off the list; who did it and why stays with its trouble.

    Raises NotFound or Conflict.
    """
    row = _find(connection, asked["job"])
    if row.step == Step.UNSURE:
        raise Conflict(f"Job {row.id} has not ended; that is decided at its deadline, {written(row.deadline_at)}.")
    before = f" (before: {row.trouble})" if row.trouble else ""
    connection.execute(
        update(jobs)
        .where(jobs.c.id == row.id)
        .values(
            step=Step.DONE.value,
            next_at=null(),
            claimed=False,
            rev=jobs.c.rev + 1,  # whoever is looking just now loses it
            trouble=f"{CLOSED}{asked['by']}: {asked['reason']}{before}",
        )
    )
    return {"job_id": row.id, "account": row.email, "trouble": _find(connection, row.id, listed=False).trouble}


def _closed() -> ColumnElement[bool]:
    return jobs.c.trouble.startswith(CLOSED, autoescape=True)


def _listed() -> ColumnElement[bool]:
    refunded = jobs.c.state.in_((State.FAILED.value, State.CANCELLED.value)) & jobs.c.error_code.in_(IN_DOUBT)
    came_late = refunded & or_(jobs.c.results.is_not(None), jobs.c.spent.is_not(None))
    unclosed = or_(jobs.c.trouble.is_(None), ~_closed())
    return and_(or_(jobs.c.step.in_(_UNKNOWN), came_late), unclosed, jobs.c.call != ERASED)


def _jobs() -> Any:
    return select(jobs, accounts.c.email).join(accounts, accounts.c.id == jobs.c.account_id)


def _find(connection: Connection, job_id: str, *, listed: bool = True) -> Row[Any]:
    query = _jobs().where(jobs.c.id == job_id)
    if listed:
        query = query.where(_listed())
    row = connection.execute(query.with_for_update(of=jobs)).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id[:64]} on the list.")
    return row


def _told(row: Row[Any], now: int) -> dict[str, Any]:
    happens, when = _next(row)
    return {
        "job_id": row.id,
        "account": row.email,
        "service": row.service,
        "state": row.state,
        "step": row.step,
        "price": str(Credits(row.price)),
        "returned": str(Credits(row.returned)),
        "error_code": row.error_code,
        "ticket": row.ticket or row.hint,
        "provider_key": row.provider_key,
        "provider_spent": row.spent,
        "late_result": row.results is not None,
        "trouble": row.trouble,
        "created_at": written(row.created_at),
        "ended_at": None if row.ended_at is None else written(row.ended_at),
        "age_seconds": (now - row.created_at) // 1000,
        "next": happens,
        "next_at": None if when is None else written(when),
    }


def _next(row: Row[Any]) -> tuple[str, int | None]:
    """What Phaya does next with the job, and when."""
    if row.step == Step.UNSURE:
        return "waits for a callback; without one it is refunded and watched", row.deadline_at
    if row.step == Step.WATCHING and row.next_at is not None:
        if row.outcome is not None:
            return "fetches the late result", row.next_at
        return "asks the provider" if row.ticket or row.hint else "waits for a callback", row.next_at
    if (row.trouble or "").startswith(CLOSED):
        return "nothing: it was closed", None
    if row.step == Step.WATCHING:
        return "nothing: it is no longer looked for", None
    if row.results is not None:
        return "nothing: the late result is the user's, free of charge", None
    return "nothing: the provider charged for it", None
