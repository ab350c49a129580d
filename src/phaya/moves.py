"""The moves of a job between its opening and its end. `advance` makes one at a time; each is written before and
after the outside world is spoken to.

    OPEN ─ intent ─▶ SUBMITTING ─ ticket ─▶ AWAITING ─ results ─▶ KEEPING ─▶ DONE
      │                  └ no answer ─▶ UNSURE ─ callback ─▲          (ended for the user, fate unknown: WATCHING)
      └ local work ────────────────────────────────────────────────▶ DONE
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import structlog

from phaya import jobs
from phaya.breaker import Breaker, Circuits, Patience
from phaya.calls import Finished, LocalCall, Refused, RemoteCall, Waiting, unpack
from phaya.clock import DAY, MINUTE, SECOND
from phaya.closings import end_job, keep_late
from phaya.credits import NOTHING
from phaya.crowd import Crowd
from phaya.jobs import ERASED, Job, Lost, State, Step
from phaya.limits import Limits
from phaya.providers import Budget, Exhausted, NotThere, OutOfOrder, Rejected, Remote, Report, Unavailable, Unknown
from phaya.providers.roster import circuits, fingerprint
from phaya.results import Results, Unkept, size_of
from phaya.turns import Turns
from phaya.ways import Ways, pack_ways, unpack_ways
from phaya.workflow import Workflow

log = structlog.get_logger()

Work = TypeVar("Work")

LEASE = 20 * SECOND
"""How long a claim lasts unless it is renewed: after so long the jobs of a node that died are others' to move."""
LOOK_SECONDS = 30
NOT_THERE_YET = 90 * SECOND
"""KIE may not know its own ticket for so long after a submit."""
WATCH = 14 * DAY
"""How long the fate of a job is looked for after its end; KIE answers about tasks for 14 days."""
CROWD = 500
"""Jobs at the most that are given their turns together."""
PROVIDER_KEEPS = DAY
"""For so long after it took a task, a provider surely has what it made."""
TRIES = 5
"""Attempts at local work, or at keeping a result, before the job fails."""


class Moves:
    """Advances jobs."""

    def __init__(
        self,
        workflow: Workflow,
        results: Results,
        limits: Limits,
        dice: random.Random | None = None,
        breaker: Circuits | None = None,
        patience: Patience | None = None,
    ) -> None:
        """`dice` only spreads moments, so that crowds do not march in step."""
        self._patience = patience or Patience()
        self._breaker = breaker or Breaker(workflow.clock, self._patience)
        self.workflow = workflow
        self.results = results
        self.database = workflow.database
        self.clock = workflow.clock
        self._limits = limits
        self._held: dict[str, int] = {}
        self._dice = dice or random.Random()  # noqa: S311 - nothing secret hangs on it
        self._turns = Turns(self._dice)
        self._clearing: set[str] = set()
        self._handed_back = Crowd[tuple[Job, int], Job](self._hand_back)
        self._spent: dict[str, int] = {}
        # Where callbacks reach us, half of the looks is kept for the jobs that they wake.
        self._routine_share = 1.0 if workflow.callback_base is None else 0.5

    async def advance(self, job: Job) -> None:
        """Makes exactly one move for a claimed job. May be called twice, late, or by two workers at once."""
        if job.call == ERASED:
            return await self._change(job, next_at=None, step=Step.DONE)
        call = unpack(job.call)
        self._held[job.id] = job.rev
        try:
            if job.cancel_at is not None and self.clock.now() >= job.cancel_at and not job.state.ended:
                await self.workflow.cancel_late(job.id)
                return
            match job.step, call:
                case Step.OPEN, _ if isinstance(call, LocalCall):
                    await self._work(job, call)
                case Step.OPEN, _ if isinstance(call, RemoteCall):
                    await self._submit(job, call)
                case Step.SUBMITTING, _:
                    # Whoever submitted it died or hung between the intent and the answer.
                    await self._doubt(job, "the process ended while the task was being submitted")
                case Step.UNSURE, _:
                    await self._wait_for_word(job)
                case Step.AWAITING | Step.WATCHING, _ if isinstance(call, RemoteCall):
                    await self._look(job, call)
                case Step.KEEPING, _:
                    await self._keep(job)
                case Step.TALKING, _:
                    await self._fail(
                        job, "The chat was interrupted on our side; its credits were returned.", "interrupted"
                    )
                case _:
                    await self._change(job, next_at=None, step=Step.DONE)
        except Lost:
            log.info("job.lost", job=job.id, step=job.step)
        finally:
            self._held.pop(job.id, None)
        return None

    async def renew(self) -> None:
        """Puts off the end of the leases of all moves that are under way here, in one statement.

        A move may take minutes, but the lease of a node that died is short.
        """
        if self._held:
            await self.database.write(jobs.renew, tuple(self._held.items()), self.clock.now() + LEASE)

    async def stumble(self, job: Job, trouble: str) -> None:
        """A move broke by a fault of ours: past its deadline the job fails for the user. Raises Lost."""
        if self.clock.now() >= job.deadline_at and not job.state.ended:
            await self._fail(
                job,
                "Something went wrong on our side; your credits were returned.",
                "internal",
                watch=True,
                trouble=trouble,
            )

    async def _submit(self, job: Job, call: RemoteCall) -> None:
        provider = self.workflow.roster.remote(call)
        if self.clock.now() >= job.deadline_at:
            return await self._fail(job, "The job could not be started in time.", "deadline")
        names = circuits(call)
        if wait := await self._breaker.wait(*names):
            return await self._turn(job, wait=wait)
        key, wait = await self._budgeted_key(provider, job.attempts)
        if key is None:
            return await self._queue(job, f"{provider.name} creations", wait, provider.creations, len(provider.keys))
        if wait := await self._breaker.admit(*names):
            return await self._change(job, next_at=self._in(wait))
        job = await self._write(
            job,
            hold=True,
            step=Step.SUBMITTING,
            provider_key=fingerprint(key),
            attempts=job.attempts + 1,
            next_at=self.clock.now() + LEASE,
        )
        self.workflow.wake()  # the next one of its account may have been let into the line
        if self._overslept(job) and not await self.database.write(
            jobs.extend, job, self.clock.now() + LEASE, job.progress
        ):
            raise Lost(job.id)  # others found the intent and went by it: nothing may be bought any more
        try:
            ticket = await provider.submit(call, key, self.workflow.callback_url(job))
        except OutOfOrder as error:
            await self._blame(names, error)
            log.warning("provider.out_of_order", provider=provider.name, job=job.id, detail=error.detail)
            return await self._turn(job, refused=error)
        except Rejected as error:
            await self._blame(names, error)
            return await self._fail(job, error.message, error.code, trouble=error.detail)
        except Unavailable as error:
            if not error.crowded:
                await self._breaker.failed(names[0], error.message, limit=self._patience.failures)
            log.warning("provider.unavailable", provider=provider.name, job=job.id, detail=error.detail)
            pause = max(error.retry_after, min(2.0**job.attempts, 60))
            return await self._change(job, step=Step.OPEN, next_at=self._in(pause), trouble=error.detail)
        except Unknown as error:
            await self._breaker.failed(names[0], error.message, limit=self._patience.failures)
            log.error("provider.unknown", provider=provider.name, job=job.id, detail=error.detail)
            return await self._doubt(job, error.detail)
        await self._breaker.succeeded(*names)
        now = self.clock.now()
        try:
            await self._write(
                job,
                step=Step.AWAITING,
                state=State.PROCESSING,
                ticket=ticket,
                submitted_at=now,
                next_at=min(now + self._pause(0), job.deadline_at),
            )
        except Lost:
            # The row moved on (a cancel, or a lease that ran out), but what was bought must stay findable.
            await self.database.write(jobs.poke, job.id, ticket, now)
            raise
        return None

    async def _blame(self, names: Sequence[str], error: Rejected) -> None:
        """Counts a refusal against whose fault it is: the model's, the provider's, or the request's own."""
        match error:
            case OutOfOrder():
                await self._breaker.succeeded(*names[:-1])
                for name in names[-1:]:
                    await self._breaker.failed(name, error.message, limit=self._patience.refusals)
            case Exhausted():
                for name in names[:1]:
                    await self._breaker.failed(name, error.message, limit=self._patience.failures)
            case _:
                await self._breaker.succeeded(*names)

    async def _turn(self, job: Job, *, wait: float = 0, refused: OutOfOrder | None = None) -> None:
        """Surely nothing was created: the next way that is not resting is taken, where the job has one.

        The price stays. Otherwise a job whose provider rests waits, and a refused one fails.
        """
        ways = unpack_ways(job.ways)
        left = ways.left if ways else ()
        for number, way in enumerate(left):
            call = unpack(way.call)
            if not await self._breaker.wait(*circuits(call)) or (refused and number == len(left) - 1):
                log.info("job.turned", job=job.id, service=job.service, way=way.service)
                trouble = {"trouble": refused.detail} if refused else {}
                return await self._change(
                    job,
                    step=Step.OPEN,
                    call=way.call,
                    ways=pack_ways(Ways(way.service, left[number + 1 :])),
                    next_at=self.clock.now(),
                    **trouble,
                )
        if refused:
            return await self._fail(job, refused.message, refused.code, trouble=refused.detail)
        return await self._change(job, next_at=self._in(wait))

    async def _doubt(self, job: Job, why: str) -> None:
        """Nobody can tell whether the task was taken: never submit again; the callback names it, if any."""
        await self._change(job, step=Step.UNSURE, state=State.PROCESSING, next_at=self.clock.now(), trouble=why)

    async def _wait_for_word(self, job: Job) -> None:
        now = self.clock.now()
        if job.hint:
            return await self._change(
                job, step=Step.AWAITING, ticket=job.hint, submitted_at=job.submitted_at or now, next_at=now
            )
        if now < job.deadline_at and self.workflow.callback_base is not None:
            return await self._change(job, next_at=job.deadline_at)
        return await self._fail(
            job,
            "The provider did not say whether it took the job; your credits were returned.",
            "unknown",
            watch=True,
        )

    async def _look(self, job: Job, call: RemoteCall) -> None:
        if job.ticket is None:
            return await self._look_later(job, ticket=job.hint) if job.hint else await self._watch_on(job)
        if job.outcome is not None:  # it was made, but could not be kept before the deadline
            return await self._keep(job)
        provider = self.workflow.roster.remote(call)
        key = next((key for key in provider.keys if fingerprint(key) == job.provider_key), provider.keys[0])
        if wait := await self._look_budget(provider, key, job):
            name = f"{provider.name} looks {fingerprint(key)}{' heard of' if job.pokes else ''}"
            return await self._queue(job, name, wait, provider.looks, 1 if job.pokes else self._routine_share)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                found = await provider.look(call, key, job.ticket)
        except NotThere as error:
            age = self.clock.now() - (job.submitted_at or job.created_at)
            if age < self.workflow.scaled(NOT_THERE_YET):
                return await self._look_later(job)
            found = Refused("The provider lost the job; your credits were returned.", "lost")
            log.error("provider.lost", provider=provider.name, job=job.id, ticket=job.ticket, detail=error.detail)
        except (Unavailable, TimeoutError) as error:
            detail = error.detail if isinstance(error, Unavailable) else "no answer in time"
            log.warning("provider.look_failed", provider=provider.name, job=job.id, detail=detail)
            return await self._look_later(job, trouble=detail)
        except (Unknown, Rejected) as error:
            log.error("provider.strange", provider=provider.name, job=job.id, detail=error.detail)
            return await self._look_later(job, trouble=error.detail)
        match found:
            case Waiting(_, progress):
                shown = job.progress if progress is None else max(job.progress, min(990, int(progress * 1000)))
                await self._look_later(job, progress=shown)
            case Finished() if job.state is State.CANCELLED:
                # Given up and paid back: what the provider took for it is noted, and the film is nobody's, or whoever
                # cancels in time would have it for nothing.
                await self._change(job, step=Step.DONE, next_at=None, spent=found.spent)
            case Finished():
                # Written before the files are fetched, and then gone on with: they need not wait for another claim.
                job = await self._write(
                    job,
                    hold=True,
                    step=job.step if job.state.ended else Step.KEEPING,
                    outcome=self.results.pack(found),
                    spent=found.spent,
                    attempts=1,
                    next_at=self.clock.now() + LEASE,
                )
                await self._bring_home(job)
            case Refused(reason, code, spent):
                if job.state.ended:
                    await self._change(job, step=Step.DONE, next_at=None, spent=spent, trouble=reason)
                else:
                    await self._fail(job, reason, code, watch=code == "lost", spent=spent)

    async def _keep(self, job: Job) -> None:
        job = await self._write(job, hold=True, attempts=job.attempts + 1, next_at=self.clock.now() + LEASE)
        await self._bring_home(job)

    async def _bring_home(self, job: Job) -> None:
        """Copies the files of a job that is held for it, and ends the job."""
        try:
            kept = await self.results.keep(job)
        except Unkept as error:
            log.warning("result.unkept", job=job.id, detail=str(error), attempt=job.attempts)
            if job.state.ended:
                return await self._watch_on(job, trouble=str(error))
            # Where our own storage is away or full, what was bought waits for it as long as the provider has it: its
            # fate is known, and money that is given back for it is lost. Who does not want to wait can cancel.
            had = (job.submitted_at or job.created_at) + self.workflow.scaled(PROVIDER_KEEPS)
            waits = error.ours and self.clock.now() < max(job.deadline_at, had)
            if (job.attempts < TRIES or waits) and not error.hopeless:
                pause = min(2.0 ** min(job.attempts, TRIES), 60)
                return await self._change(job, next_at=self._in(pause), trouble=str(error))
            return await self._fail(
                job,
                f"The result could not be fetched from the provider: {error}.",
                "result_unavailable",
                watch=True,
            )
        if job.state.ended:
            # It came after the refund: the user may have it, and is not charged again.
            late = self.database.write(keep_late, job, self.clock.now(), kept)
            await self._or_discard(job, kept, late)
            return self.workflow.spread()
        return await self._or_discard(job, kept, self._finish(job, kept))

    async def _work(self, job: Job, call: LocalCall) -> None:
        if job.attempts >= TRIES or self.clock.now() >= job.deadline_at:
            return await self._fail(job, "The work failed repeatedly on this server.", "render_failed")
        names = circuits(call)  # none, unless the work asks somebody else
        if wait := await self._breaker.admit(*names):
            return await self._change(job, next_at=self._in(wait))
        job = await self._write(
            job,
            hold=True,
            state=State.PROCESSING,
            attempts=job.attempts + 1,
            next_at=self.clock.now() + LEASE,
        )
        self.workflow.wake()
        try:
            kept, spent = await self._while_leased(
                job, partial(self.results.make, job, call, self.workflow.roster.local(call))
            )
        except asyncio.CancelledError:
            # This process stops: another one, or its next start, begins anew at once, and no attempt is lost to it.
            with suppress(Exception):
                await self._change(job, attempts=job.attempts - 1, next_at=self.clock.now())
            raise
        except Rejected as error:
            await self._blame(names, error)
            return await self._fail(job, error.message, error.code, trouble=error.detail)
        except (Unavailable, Unkept) as error:
            if isinstance(error, Unkept) and error.hopeless:
                return await self._fail(job, f"The result is not usable: {error}.", "result_unusable")
            for name in names[:1] if isinstance(error, Unavailable) and not error.crowded else ():
                await self._breaker.failed(name, str(error), limit=self._patience.failures)
            log.warning("work.failed", job=job.id, detail=str(error), attempt=job.attempts)
            return await self._change(job, next_at=self._in(2.0**job.attempts), trouble=str(error))
        await self._breaker.succeeded(*names)
        return await self._or_discard(job, kept, self._finish(job, kept, spent=spent))

    async def _or_discard(self, job: Job, kept: str, written: Awaitable[object]) -> None:
        """Writes what was kept; where the claim is lost, so are its files, unless the row names them after all."""
        try:
            await written
        except Lost:
            row = await self.database.read(jobs.find, job.id)
            if row is None or row.results != kept:
                await self.results.discard(kept)
            raise

    async def _while_leased(self, job: Job, work: Callable[[Report], Awaitable[Work]]) -> Work:
        """Does long work under a lease that is renewed every second; a cancelled, late or lost job stops the work."""
        progress = 0

        async def report(share: float) -> None:
            nonlocal progress
            progress = min(990, int(share * 1000))

        async def renew() -> None:
            while await self.database.write(jobs.extend, job, self.clock.now() + LEASE, progress):
                left = 1.0 if job.cancel_at is None else (job.cancel_at - self.clock.now()) / SECOND
                if left <= 0:
                    return  # the row is due, and the next move cancels it
                await asyncio.sleep(min(1, left))

        working = asyncio.ensure_future(work(report))
        renewing = asyncio.ensure_future(renew())
        try:
            await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            renewing.result()
            raise Lost(job.id)
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.wait((working, renewing))

    async def _finish(self, job: Job, kept: str, **values: Any) -> None:
        cost = self.results.cost(job, kept)
        written = {"results": kept, "progress": 1000, **values}
        await self.database.write(end_job, job, self.clock.now(), State.COMPLETED, cost, written, size_of(kept))
        self.workflow.changed(job.id)
        self.workflow.spread()
        self.workflow.ended(job, State.COMPLETED)
        log.info("job.completed", job=job.id, service=job.service)

    async def _fail(self, job: Job, reason: str, code: str, *, watch: bool = False, **values: Any) -> None:
        if watch:
            values |= {"step": Step.WATCHING, "next_at": self.clock.now() + self.workflow.scaled(MINUTE)}
        await self.database.write(
            end_job,
            job,
            self.clock.now(),
            State.FAILED,
            NOTHING,
            {"error": reason, "error_code": code, **values},
        )
        self.workflow.changed(job.id)
        self.workflow.spread()
        self.workflow.ended(job, State.FAILED)
        log.info("job.failed", job=job.id, service=job.service, code=code, reason=reason)

    async def _look_later(self, job: Job, **values: Any) -> None:
        """Plans the next look; past its deadline the job fails for the user and is watched from then on."""
        now = self.clock.now()
        if job.state.ended:
            return await self._watch_on(job, **values)
        if now >= job.deadline_at:
            return await self._fail(
                job,
                "The provider did not finish in time; your credits were returned.",
                "deadline",
                watch=True,
            )
        pause = self._pause(now - (job.submitted_at or job.created_at))
        await self._change(job, next_at=min(now + pause, job.deadline_at), state=State.PROCESSING, **values)
        return None

    async def _watch_on(self, job: Job, **values: Any) -> None:
        """The job is over for the user; its fate is looked for ever more rarely, and in the end no more."""
        now = self.clock.now()
        since = now - (job.ended_at or now)
        later = None if since > self.workflow.scaled(WATCH) else now + max(self.workflow.scaled(MINUTE), since // 4)
        await self._change(job, step=Step.WATCHING, next_at=later, **values)

    async def _budgeted_key(self, provider: Remote, attempt: int) -> tuple[str | None, float]:
        """A provider key with room for one more creation, or how many seconds until there is one."""
        first = attempt % len(provider.keys)  # a key that was refused is not the first to be tried again
        name, now = f"{provider.name} creations", self.clock.now()
        for key in (*provider.keys[first:], *provider.keys[:first]):
            mark = fingerprint(key)
            if self._spent.get(mark, 0) > now:
                continue
            wait = await self._limits.spend(name, mark, provider.creations.amount, provider.creations.seconds)
            if not wait:
                return key, 0
            self._spent[mark] = now + int(wait * SECOND)
        return None, max(0.05, (min(self._spent[fingerprint(key)] for key in provider.keys) - now) / SECOND)

    async def _look_budget(self, provider: Remote, key: str, job: Job) -> float:
        """Takes one look of a key's budget; else answers how many seconds to wait (0 = taken).

        Looks that no callback asked for have a budget of their own within the whole one, so that however many jobs
        wait, one that its provider has called about is looked at without delay.
        """
        looks, mark = provider.looks, fingerprint(key)
        if not job.pokes and self._routine_share < 1:
            share = max(1, int(looks.amount * self._routine_share))
            if wait := await self._limits.spend(f"{provider.name} routine looks", mark, share, looks.seconds):
                return wait
        return await self._limits.spend(f"{provider.name} looks", mark, looks.amount, looks.seconds)

    async def _queue(self, job: Job, name: str, wait: float, budget: Budget, share: float) -> None:
        """Gives a turn to a job that a budget has no room for, and with it to the others that are due for the same.

        Otherwise each of a hundred thousand waiting jobs would be claimed and put off again every second.
        """
        now, rate = self.clock.now(), budget.amount / budget.seconds * share

        def turn(deadline_at: int) -> int:
            moment = self._turns.take(name, now, wait, rate)
            return min(moment, deadline_at) if deadline_at > now else moment

        await self._handed_back.join((job, turn(job.deadline_at)))
        self.workflow.changed(job.id)
        if job.pokes or name in self._clearing:
            return
        self._clearing.add(name)
        try:
            others = await self.database.read(jobs.alike, job, now, CROWD)
            if others:
                await self.database.write(jobs.put_off, [(one, turn(one.deadline_at)) for one in others])
        finally:
            self._clearing.discard(name)

    async def _hand_back(self, turns: Sequence[tuple[Job, int]]) -> Sequence[Job | Exception]:
        return await self.database.write(jobs.hand_back, turns, self.clock.now())

    def _pause(self, age: int) -> int:
        """Milliseconds until the next look at a task of this age: callbacks are the main way to hear of an
        end, looks the safety net; where no callback can reach us they are all there is."""
        if self.workflow.callback_base is None:
            return max(1 * SECOND, min(age // 10, 15 * SECOND))
        return max(3 * SECOND, min(age // 6, 30 * SECOND))

    def _in(self, seconds: float) -> int:
        """The moment in so many seconds, a little spread so that crowds do not march in step."""
        return self.clock.now() + int(1000 * (seconds + self._dice.uniform(0, 0.3)))

    def _overslept(self, job: Job) -> bool:
        """Whether the lease ended since it was taken: this process was stopped, or starved, for that long."""
        return job.next_at is not None and self.clock.now() >= job.next_at

    async def _write(self, job: Job, *, hold: bool = False, **values: Any) -> Job:
        after = await self.database.write(jobs.change, job, self.clock.now(), hold=hold, **values)
        if hold:
            self._held[job.id] = after.rev
        self.workflow.changed(job.id)
        return after

    async def _change(self, job: Job, **values: Any) -> None:
        await self._write(job, **values)
