"""Where jobs come in and are called off, and what providers call back. The transactions are in openings.py and
closings.py, what happens in between is in moves.py."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel
from sqlalchemy import Connection

from phaya import jobs, tracing
from phaya.allowances import GENEROUS, Allowance, Census
from phaya.calls import Call, pack
from phaya.clock import MINUTE, SECOND, Clock
from phaya.closings import Closed, Closing, close_many, close_one, end_job
from phaya.credits import NOTHING, Credits
from phaya.crowd import Crowd
from phaya.database import Database
from phaya.errors import DatabaseDown
from phaya.idempotency import Answer, Stamp
from phaya.jobs import Job, State, Step
from phaya.logs import job_id
from phaya.metrics import JOB_SECONDS, JOBS_ENDED, JOBS_OPENED
from phaya.openings import Opening, open_many, open_one
from phaya.providers.roster import REMOTE, Roster

Poke = tuple[str, str | None]
"""The job that a callback is about, and the ticket that it names."""

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger()

# Prometheus' client takes a lock and makes texts of the labels at each call.
_opened, _ended, _seconds = cache(JOBS_OPENED.labels), cache(JOBS_ENDED.labels), cache(JOB_SECONDS.labels)


class Workflow:
    """Opens jobs, cancels them, and hears what providers call back."""

    def __init__(
        self,
        database: Database,
        roster: Roster,
        clock: Clock,
        *,
        secret: bytes,
        callback_base: str | None,
        deadline_scale: float = 1.0,
        sandbox: bool = False,
        allowance: Allowance = GENEROUS,
        media_days: float = 14,
    ) -> None:
        """`callback_base` is where providers reach us, `…/api/v1`; None where they cannot."""
        self.database = database
        self.roster = roster
        self.clock = clock
        self.sandbox = sandbox
        self.callback_base = callback_base
        self._secret = secret
        self.allowance = allowance
        """What an account may hold at a time, where it has no allowance of its own."""
        self.media_days = media_days
        self._scale = deadline_scale
        self._census = Census()
        self._openings = Crowd[Opening, Credits](partial(_together, self._open, open_many, open_one))
        self._closings = Crowd[Closing, Closed](partial(_together, database.write, close_many, close_one))
        self._callbacks = Crowd[Poke, None](self._poke)
        self._wakers: list[Callable[[], None]] = []
        self._heralds: list[Callable[[], None]] = []
        self._listeners: list[Callable[[str], None]] = []

    def on_wake(self, waker: Callable[[], None]) -> None:
        """Registers who is told when a job became due now."""
        self._wakers.append(waker)

    def wake(self) -> None:
        """Tells the workers of this process that there is something to do."""
        for waker in self._wakers:
            waker()

    def on_news(self, herald: Callable[[], None]) -> None:
        """Registers who is told when there is something to tell to the receivers of webhooks."""
        self._heralds.append(herald)

    def spread(self) -> None:
        """Tells the deliverer of this process that there is something to tell."""
        for herald in self._heralds:
            herald()

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Registers who is told the id of each job that this process has written to."""
        self._listeners.append(listener)

    def changed(self, job_id: str) -> None:
        """Tells who waits for a job in this process that there may be something new to see."""
        for listener in self._listeners:
            listener(job_id)

    # ── opening and ending, each one transaction ─────────────────────────────────────────────────────────

    def draft(
        self,
        account_id: str,
        key_id: str,
        service: str,
        request: BaseModel,
        call: Call,
        price: Credits,
        minutes: float,
        *,
        cancel_after: int | None = None,
        **columns: Any,
    ) -> Job:
        """The row of a new job, not yet written; it fails after so many minutes of silence.

        It waits to be begun, but for what `columns` say; after `cancel_after` seconds its user wants it cancelled.

        Raises Closed where nobody can carry the call out.
        """
        now = self.clock.now()
        call = self.roster.kie_routes.routed(call)
        row: dict[str, Any] = {
            "id": jobs.new_id(now),
            "account_id": account_id,
            "key_id": key_id,
            "service": service,
            "request": request.model_dump_json(exclude_defaults=True),
            "call": pack(call),
            "sandbox": self.sandbox,
            "price": price,
            "state": State.QUEUED,
            "step": Step.OPEN,
            "lane": self.roster.lane(call),
            "deadline_at": now + self.scaled(minutes * MINUTE),
            "created_at": now,
            "next_at": now,
            "cancel_at": None if cancel_after is None else now + cancel_after * SECOND,
        }
        return Job(**row | columns)

    async def open(
        self, *drafts: Job, stamp: Stamp | None = None, tell: Callable[[Credits], Answer] | None = None
    ) -> Credits:
        """Writes new jobs and takes their price, of all or of none; returns the balance.

        Raises NotEnoughCredits, Unauthorized where the key has ended since the request came, and TooManyRequests or
        StorageFull where the account holds as much as it may.

        With a stamp the same request opens nothing twice: Taken, Reused, InProgress or NotKept is raised where it,
        or its key, was sent before. `tell` makes what is answered of the balance; it is kept for the next time.
        """
        left = await self._openings.join(Opening(drafts, stamp, tell, self.allowance, self.media_days, self._census))
        for job in drafts:
            _opened(job.service).inc()
        job_id.set(drafts[0].id)  # of the request that asks for it
        if not all(job.claimed for job in drafts):
            self.wake()
        return left

    async def _open(self, work: Callable[[Connection, Any], T], openings: Any) -> T:
        try:
            return await self.database.write(work, openings)
        except BaseException:
            self._census.forget()
            raise

    async def close(self, closing: Closing) -> Closed:
        """Ends a call that lasted as long as its request, at its exact cost, even if who asked goes. Raises Lost."""
        return await self._closings.join(closing)

    def under_way(self) -> set[asyncio.Task[None]]:
        """The tasks that write what was asked for: it is done although whoever asked may have gone."""
        return {task for crowd in (self._openings, self._closings) if (task := crowd.working) is not None}

    def ended(self, job: Job, state: State) -> None:
        """Counts a job that has ended in this process, and makes it a span where traces are asked for."""
        now = self.clock.now()
        _ended(job.service, state.value).inc()
        if state is State.COMPLETED:
            _seconds(job.service).observe(max(0, now - job.created_at) / SECOND)
        if tracing.spans is not None:
            tracing.spans.job(job.id, job.service, state.value, job.created_at, now)

    async def _called_off(self, job_id: str) -> None:
        self.spread()
        self.changed(job_id)
        if (job := await self.database.read(jobs.find, job_id)) is not None:
            self.ended(job, State.CANCELLED)

    async def cancel(self, job_id: str, account_id: str) -> bool:
        """Ends a job at the user's wish and returns its price; False where it has ended already."""
        done = await self.database.write(cancel_job, job_id, account_id, self.clock.now(), self.scaled(MINUTE))
        if done:
            self.wake()
            await self._called_off(job_id)
        return done

    async def cancel_late(self, job_id: str) -> bool:
        """Ends a job that was not done in the time that its user gave it; False where it has ended already."""
        done = await self.database.write(cancel_late_job, job_id, self.clock.now(), self.scaled(MINUTE))
        if done:
            await self._called_off(job_id)
        return done

    # ── callbacks ────────────────────────────────────────────────────────────────────────────────────────

    def callback_token(self, job_id: str) -> str:
        """The unguessable part of a job's callback address."""
        return callback_token(self._secret, job_id)

    def callback_url(self, job: Job) -> str | None:
        """Where a provider tells us that the job has ended."""
        if self.callback_base is None:
            return None
        return f"{self.callback_base}/{job.service}/callback?job={job.id}&token={self.callback_token(job.id)}"

    async def heard(self, job_id: str, token: str, headers: Mapping[str, str], body: object) -> bool:
        """A callback came in. It only wakes the job; False where it proves nothing about itself."""
        if not hmac.compare_digest(token.encode(), self.callback_token(job_id).encode()):
            return False
        provider = self.roster.kie
        if provider is None:
            return False
        ticket = provider.callback_ticket(body)
        if not provider.callback_is_signed(headers, ticket):
            return False
        await self._callbacks.join((job_id, ticket))
        self.wake()
        return True

    async def _poke(self, heard: Sequence[Poke]) -> list[None]:
        await self.database.write(jobs.poke_all, heard, self.clock.now())
        return [None] * len(heard)

    def scaled(self, milliseconds: float) -> int:
        """A deadline or grace time, by the operator's factor."""
        return max(1, int(milliseconds * self._scale))


def callback_token(secret: bytes, job_id: str) -> str:
    """What a callback must bring along to be heard."""
    return hmac.new(secret, f"callback {job_id}".encode(), hashlib.sha256).hexdigest()[:40]


def cancel_job(connection: Connection, job_id: str, account_id: str, now: int, watch_after: int) -> bool:
    """Ends a job that has not ended, with its whole price returned; False where it has."""
    job = jobs.find(connection, job_id, account_id, lock=True)
    if job is None or job.state.ended or job.step is Step.TALKING:
        return False
    call_off(connection, job, now, watch_after, "The job was cancelled; its credits were returned.")
    return True


def cancel_late_job(connection: Connection, job_id: str, now: int, watch_after: int) -> bool:
    """Ends a job that has not ended by the moment its user gave; False where it has, or that is yet to come."""
    job = jobs.find(connection, job_id, lock=True)
    if job is None or job.state.ended or job.cancel_at is None or now < job.cancel_at:
        return False
    seconds = (job.cancel_at - job.created_at) // SECOND
    why = f"The job was not done within the {seconds} s of its Cancel-After; it was cancelled and its credits returned."
    call_off(connection, job, now, watch_after, why)
    return True


def call_off(connection: Connection, job: Job, now: int, watch_after: int, why: str) -> None:
    """Ends a job at its user's wish, with its whole price returned. Raises Lost."""
    values: dict[str, object] = {"error": why, "error_code": "cancelled"}
    if job.lane == REMOTE and job.step is not Step.OPEN:
        # The provider cannot be stopped: what it charges us is still to be recorded.
        values |= {"step": Step.WATCHING, "next_at": now + watch_after}
    end_job(connection, job, now, State.CANCELLED, NOTHING, values)


async def _together(
    write: Callable[..., Awaitable[Any]],
    many: Callable[[Connection, Sequence[T]], list[R | Exception]],
    one: Callable[[Connection, T], R],
    items: Sequence[T],
) -> Sequence[R | Exception]:
    """All in one transaction; each in its own where one of them spoils that for the others."""
    try:
        return await write(many, items)
    except DatabaseDown:
        raise
    except Exception:
        if len(items) == 1:
            raise
        log.exception("crowd.parted", items=len(items))
    outcomes: list[R | Exception] = []
    for item in items:
        try:
            outcomes.append(await write(one, item))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            outcomes.append(error)
    return outcomes
