"""The reconciler: claims due jobs in batches, makes one move for each, and sleeps to the next due time.

Nothing is held in memory for a waiting job. Every node runs one; each lane has its own places, so that heavy
local work never keeps a finished film from being fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import structlog

from phaya import jobs
from phaya.catalog import CATALOG
from phaya.clock import DAY, SECOND
from phaya.jobs import Job
from phaya.moves import LEASE, Moves

log = structlog.get_logger()

LONGEST_SLEEP = 5 * SECOND
SWEEP = 600 * SECOND
CHUNK = 200
LASTING = tuple(service.path for service in CATALOG if service.lasting)


class Worker:
    """Advances jobs until it is stopped."""

    def __init__(self, moves: Moves, places: Mapping[str, int], *, media_days: float) -> None:
        """`places` is how many jobs of each lane are moved at a time."""
        self._moves = moves
        self._workflow = moves.workflow
        self._places = dict(places)
        self._media_days = media_days
        self._moving: dict[str, set[asyncio.Task[None]]] = {lane: set() for lane in places}
        self._woken = asyncio.Event()
        self._stopping = False
        self._workflow.on_wake(self._woken.set)

    async def run(self) -> None:
        """Works until `stop`."""
        beside = [asyncio.create_task(self._sweep()), asyncio.create_task(self._cancel_late())]
        try:
            while not self._stopping:
                self._woken.clear()
                try:
                    await self._claim()
                    pause = await self._pause()
                except Exception:
                    log.exception("worker.claim_failed")
                    pause = 1.0
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), pause)
        finally:
            for task in beside:
                task.cancel()

    async def stop(self, patience: float = 8.0) -> None:
        """Claims no more, lets moves end for `patience` seconds, then leaves the rest to their leases."""
        self._stopping = True
        self._woken.set()
        moving = [task for tasks in self._moving.values() for task in tasks]
        if moving:
            _, late = await asyncio.wait(moving, timeout=patience)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _claim(self) -> None:
        """Starts moves for what is due, as far as there are places."""
        for lane, places in self._places.items():
            free = places - len(self._moving[lane])
            if free <= 0:
                continue
            workflow = self._workflow
            claimed = await workflow.database.write(jobs.claim, lane, free, workflow.clock.now(), LEASE)
            for job in claimed:
                task = asyncio.create_task(self._move(job))
                self._moving[lane].add(task)
                task.add_done_callback(self._moving[lane].discard)
                task.add_done_callback(lambda _: self._woken.set())

    async def _pause(self) -> float:
        """Seconds until the next job of a lane with a free place is due."""
        open_lanes = [lane for lane, places in self._places.items() if len(self._moving[lane]) < places]
        if not open_lanes:
            return LONGEST_SLEEP / SECOND
        due = await self._workflow.database.read(jobs.next_due, open_lanes)
        if due is None:
            return LONGEST_SLEEP / SECOND
        return max(0.001, min(due - self._workflow.clock.now(), LONGEST_SLEEP) / SECOND)

    async def _move(self, job: Job) -> None:
        try:
            await self._moves.advance(job)
        except Exception as error:
            log.exception("job.move_failed", job=job.id, step=job.step)
            # The lease ends by itself and the move is made again; past the deadline the user is not kept waiting.
            with contextlib.suppress(Exception):
                await self._moves.stumble(job, repr(error))

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

    async def _sweep(self) -> None:
        """Deletes results past their time, in chunks."""
        while True:
            try:
                await self._forget()
            except Exception:
                log.exception("worker.sweep_failed")
            await asyncio.sleep(SWEEP / SECOND)

    async def _forget(self) -> None:
        workflow = self._workflow
        before = workflow.clock.now() - int(self._media_days * DAY)
        while old := await workflow.database.read(jobs.expired, before, CHUNK, LASTING):
            for job in old:
                await self._moves.results.forget(job)
                await workflow.database.write(jobs.forget_results, job.id)
            await asyncio.sleep(0)
        await self._moves.results.forget_inputs(before)
