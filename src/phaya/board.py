"""Where jobs stand, held in memory for as long as it is surely so: the polls of one job, and there are a thousand of
them, share what was read for the first.

What this process writes to a job is seen at once, through `drop`; what another node writes, within a second.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from phaya import jobs
from phaya.clock import SECOND, Clock
from phaya.crowd import Crowd
from phaya.database import Database
from phaya.jobs import Job
from phaya.telling import Status

FRESH = SECOND
"""Milliseconds for which what was read of a job is taken to be so."""
MOVING = 100
"""Milliseconds for which what is told of a running job is told again: its progress goes by the clock."""
MOST = 20_000
"""Jobs that are held."""


class Notice:
    """A job as it was read, and what is told of it at some route."""

    __slots__ = ("_ended", "_told", "job", "read_at")

    def __init__(self, job: Job | None, read_at: int) -> None:
        self.job = job
        self.read_at = read_at
        self._ended = job is not None and job.state.ended
        self._told: dict[object, tuple[int, Status]] = {}

    def told(self, route: object, now: int, tell: Callable[[Job], Status]) -> Status:
        """What `tell` says of the job at this route, said anew where time has passed."""
        assert self.job is not None
        known = self._told.get(route)
        if known is not None and (self._ended or 0 <= now - known[0] < MOVING):
            return known[1]
        answer = tell(self.job)
        self._told[route] = now, answer
        return answer


class Board:
    """The notices of the jobs that are asked for."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._asking = Crowd[str, Job | None](self._ask)
        self._notices: dict[str, Notice] = {}  # the oldest first
        self._looks: dict[str, asyncio.Task[Notice]] = {}

    def held(self, job_id: str, now: int) -> Notice | None:
        """What was read of a job a moment ago, whoever's it is."""
        found = self._notices.get(job_id)
        return found if found is not None and 0 <= now - found.read_at < FRESH else None

    async def notice(self, job_id: str) -> Notice:
        """What is known of a job, whoever's it is. Raises what the database raises."""
        now = self._clock.now()
        if (found := self.held(job_id, now)) is not None:
            return found
        look = self._looks.get(job_id)
        if look is None:
            look = self._looks[job_id] = asyncio.create_task(self._look(job_id, now))
        return await asyncio.shield(look)

    def drop(self, job_id: str) -> None:
        """This process has written to a job: whoever asks from now on reads it anew."""
        self._notices.pop(job_id, None)
        self._looks.pop(job_id, None)

    def clear(self) -> None:
        """This process has written to any job."""
        self._notices.clear()
        self._looks.clear()

    async def _look(self, job_id: str, now: int) -> Notice:
        me = asyncio.current_task()
        try:
            notice = Notice(await self._asking.join(job_id), now)
        except BaseException:
            if self._looks.get(job_id) is me:
                del self._looks[job_id]
            raise
        if self._looks.get(job_id) is me:  # else it was written to since, and this may be the state before
            del self._looks[job_id]
            self._notices.pop(job_id, None)
            self._sweep(now)
            self._notices[job_id] = notice
        return notice

    def _sweep(self, now: int) -> None:
        """Forgets what is too old to be told, and the oldest of too many."""
        for job_id in [*itertools.islice(self._notices, 2)]:
            if len(self._notices) >= MOST or not 0 <= now - self._notices[job_id].read_at < FRESH:
                del self._notices[job_id]

    async def _ask(self, ids: Sequence[str]) -> list[Job | None]:
        found = await self._database.read(jobs.find_all, ids)
        return [found.get(job_id) for job_id in ids]
