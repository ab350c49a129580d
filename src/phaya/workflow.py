"""How a job is opened and ended: in one transaction each, with its money. What happens in between is in moves.py."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection

from phaya import allowances, deliveries, idempotency, jobs, ledger
from phaya.allowances import GENEROUS, Allowance
from phaya.calls import Call, pack
from phaya.clock import MINUTE, SECOND, Clock
from phaya.credits import NOTHING, Credits
from phaya.database import Database
from phaya.errors import NotEnoughCredits
from phaya.idempotency import Answer, Stamp
from phaya.jobs import Job, Lost, State, Step
from phaya.pokes import Pokes
from phaya.providers.roster import REMOTE, Roster
from phaya.webhooks import Event

ENDINGS = {State.COMPLETED: Event.COMPLETED, State.FAILED: Event.FAILED, State.CANCELLED: Event.CANCELLED}


class Wordless(BaseModel):
    """What is remembered of the request of a call that lasts as long as it: no word, only the key that is to be freed
    where the call fails."""

    idempotency_key: str | None = None


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
        self._pokes = Pokes(database, clock)
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
    ) -> Job:
        """The row of a new job, not yet written; it fails after so many minutes of silence.

        Raises Closed where nobody can carry the call out.
        """
        now = self.clock.now()
        call = self.roster.kie_routes.routed(call)
        return Job(
            id=str(uuid.uuid4()),
            account_id=account_id,
            key_id=key_id,
            service=service,
            request=request.model_dump_json(exclude_defaults=True),
            call=pack(call),
            sandbox=self.sandbox,
            price=price,
            state=State.QUEUED,
            step=Step.OPEN,
            lane=self.roster.lane(call),
            deadline_at=now + self.scaled(minutes * MINUTE),
            created_at=now,
            next_at=now,
        )

    async def open(
        self, *drafts: Job, stamp: Stamp | None = None, tell: Callable[[Credits], Answer] | None = None
    ) -> Credits:
        """Writes new jobs and takes their price, of all or of none; returns the balance.

        Raises NotEnoughCredits, and TooManyRequests or StorageFull where the account holds as much as it may.

        With a stamp the same request opens nothing twice: Taken, Reused, InProgress or NotKept is raised where it,
        or its key, was sent before. `tell` makes what is answered of the balance; it is kept for the next time.
        """
        left = await self.database.write(
            open_jobs, drafts, stamp, tell, self.allowance, self.media_days
        )  # fmt: skip
        if not all(job.claimed for job in drafts):
            self.wake()
        return left

    async def cancel(self, job_id: str, account_id: str) -> bool:
        """Ends a job at the user's wish and returns its price; False where it has ended already."""
        done = await self.database.write(cancel_job, job_id, account_id, self.clock.now(), self.scaled(MINUTE))
        if done:
            self.wake()
            self.spread()
            self.changed(job_id)
        return done

    async def cancel_late(self, job_id: str) -> bool:
        """Ends a job that was not done in the time that its user gave it; False where it has ended already."""
        done = await self.database.write(cancel_late_job, job_id, self.clock.now(), self.scaled(MINUTE))
        if done:
            self.spread()
            self.changed(job_id)
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
        await self._pokes.poke(job_id, ticket)
        self.wake()
        return True

    def scaled(self, milliseconds: float) -> int:
        """A deadline or grace time, by the operator's factor."""
        return max(1, int(milliseconds * self._scale))


def callback_token(secret: bytes, job_id: str) -> str:
    """What a callback must bring along to be heard."""
    return hmac.new(secret, f"callback {job_id}".encode(), hashlib.sha256).hexdigest()[:40]


def open_job(connection: Connection, job: Job) -> Credits:
    """Writes a job and its charge, together; returns the balance. Raises NotEnoughCredits."""
    jobs.insert_job(connection, job)
    return ledger.charge(connection, job.account_id, job.key_id, job.id, job.price, job.created_at)


def open_jobs(
    connection: Connection,
    drafts: Sequence[Job],
    stamp: Stamp | None,
    tell: Callable[[Credits], Answer] | None,
    allowance: Allowance = GENEROUS,
    media_days: float = 14,
) -> Credits:
    """Writes jobs, their charges and the key of the request that asks for them, together; returns the balance.

    The key comes first: whoever is second with it must find the first one's answer, and not an empty balance.
    """
    first = drafts[0]
    if stamp is not None:
        idempotency.claim(connection, stamp, first.id, first.created_at)
    left = ledger.balance(connection, first.account_id) if len(drafts) > 1 else None
    price = sum((job.price for job in drafts), NOTHING)
    if left is not None and left < price:
        raise NotEnoughCredits(price, left)
    for job in allowances.place(connection, drafts, allowance, media_days):
        left = open_job(connection, job)
    assert left is not None
    if stamp is not None and tell is not None:
        idempotency.keep(connection, stamp.account_id, stamp.key, first.id, tell(left), price)
    return left


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
    written: dict[str, Any] = {"step": Step.DONE, "next_at": None, **values}
    written |= {"state": state, "returned": back, "ended_at": now}
    after = jobs.change(connection, job, now, **written)
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


def keep_late(connection: Connection, job: Job, now: int, results: str) -> Job:
    """Writes the results of a job that has ended without them, and has its owner told. Raises Lost."""
    after = jobs.change(connection, job, now, step=Step.DONE, next_at=None, results=results)
    deliveries.announce(connection, after, Event.LATE_RESULT, now)
    return after


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
