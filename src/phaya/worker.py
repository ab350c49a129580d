"""The reconciler: claims due jobs in batches, makes one move for each, and sleeps to the next due time.

Nothing is held in memory for a waiting job. Every node runs one; each lane has its own places, so that heavy
local work never keeps a finished film from being fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from contextlib import nullcontext

import structlog

from phaya import jobs, lines, tracing
from phaya.clock import SECOND
from phaya.jobs import Job
from phaya.logs import job_id
from phaya.moves import LEASE, Moves
from phaya.redaction import asked
from phaya.retention import Retention

log = structlog.get_logger()

LONGEST_SLEEP = 5.0
SHORTEST_SLEEP = 0.02
RENEWAL = 5.0
"""Seconds between two renewals of the leases; several fit into one lease."""
SWEEP = 600 * SECOND
CHUNK = 200
HALT = 3.0
"""Seconds after which a line of jobs that has come to a halt is noticed."""


class Worker:
    """Advances jobs until it is stopped."""

    def __init__(
        self,
        moves: Moves,
        places: Mapping[str, int],
        retention: Retention,
        *,
        longest_sleep: float = LONGEST_SLEEP,
    ) -> None:
        """`places` is how many jobs of each lane are moved at a time; after `longest_sleep` seconds it looks for work
        that it was not told of."""
        self._moves = moves
        self._workflow = moves.workflow
        self._places = dict(places)
        self._retention = retention
        self._longest_sleep = longest_sleep
        self._moving: dict[str, set[asyncio.Task[None]]] = {lane: set() for lane in places}
        self._woken = asyncio.Event()
        self._stopping = False
        self._ended = asyncio.Event()
        self._workflow.on_wake(self._woken.set)

    async def run(self) -> None:
        """Works until `stop`."""
        beside = [
            asyncio.create_task(self._sweep()),
            asyncio.create_task(self._cancel_late()),
            asyncio.create_task(self._let_in()),
            asyncio.create_task(self._renew()),
        ]
        try:
            while not self._stopping:
                self._woken.clear()
                try:
                    pause = await self._claim()
                except Exception:
                    log.exception("worker.claim_failed")
                    pause = 1.0
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), pause)
        finally:
            *others, renewing = beside
            for task in others:
                task.cancel()
            await self._ended.wait()  # moves that are still under way keep their leases
            renewing.cancel()

    def halt(self) -> None:
        """Claims no more; what is under way goes on."""
        self._stopping = True
        self._woken.set()

    async def stop(self, patience: float = 6.0) -> None:
        """Claims no more, lets moves end for `patience` seconds, then leaves the rest to others."""
        self.halt()
        moving = [task for tasks in self._moving.values() for task in tasks]
        if moving:
            _, late = await asyncio.wait(moving, timeout=patience)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._ended.set()

    async def _claim(self) -> float:
        """Starts moves for what is due, as far as there are places; answers how many seconds to sleep."""
        workflow = self._workflow
        places = {lane: places - len(self._moving[lane]) for lane, places in self._places.items()}
        claimed, due = await workflow.database.write(jobs.take, places, workflow.clock.now(), LEASE)
        for job in claimed:
            task = asyncio.create_task(self._move(job))
            self._moving[job.lane].add(task)
            task.add_done_callback(self._moving[job.lane].discard)
            task.add_done_callback(lambda _: self._woken.set())
        if due is None:
            return self._longest_sleep
        # What is due and was not taken is another node's at this moment.
        shortest = 0.001 if claimed else SHORTEST_SLEEP
        return max(shortest, min((due - workflow.clock.now()) / SECOND, self._longest_sleep))

    async def _move(self, job: Job) -> None:
        job_id.set(job.id)  # this task is the move's own
        asked.set((job.request, job.call))
        try:
            spans = tracing.spans
            with nullcontext() if spans is None else spans.move(job.id, job.step, job.service):
                await self._moves.advance(job)
        except Exception as error:
            log.exception("job.move_failed", job=job.id, step=job.step)
            # The lease ends by itself and the move is made again; past the deadline the user is not kept waiting.
            with contextlib.suppress(Exception):
                await self._moves.stumble(job, repr(error))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL)
            try:
                await self._moves.renew()
            except Exception:
                log.exception("worker.renewal_failed")

    async def _cancel_late(self) -> None:
        """Cancels what its user gave up while it waited for a place: a full lane claims nothing."""
        workflow = self._workflow
        while True:
            full = [lane for lane, places in self._places.items() if len(self._moving[lane]) >= places]
            try:
                if full:
                    for job_id in await workflow.database.read(jobs.overdue, full, workflow.clock.now(), CHUNK):
                        await workflow.cancel_late(job_id)
            except Exception:
                log.exception("worker.cancel_failed")
            await asyncio.sleep(1)

    async def _let_in(self) -> None:
        """Looks after lines that have come to a halt, which is rare; see lines.halted."""
        workflow = self._workflow
        while True:
            await asyncio.sleep(HALT)
            try:
                halted = await workflow.database.read(lines.halted, CHUNK)
                if halted and await workflow.database.write(lines.advance_all, halted, workflow.clock.now()):
                    self._woken.set()
            except Exception:
                log.exception("worker.line_failed")

    async def _sweep(self) -> None:
        """Deletes what is past its time."""
        while True:
            try:
                await self._retention.sweep()
            except Exception:
                log.exception("worker.sweep_failed")
            await asyncio.sleep(SWEEP / SECOND)
