"""Who waits for a job, in one place: one loop looks at all waited-for rows together and wakes those that it concerns.

A waiting request holds no connection and asks nothing itself. See docs/decisions/0017-one-lookout-per-process.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Generator
from contextvars import Context

import structlog

from phaya.database import Database
from phaya.errors import TooManyRequests
from phaya.jobs import Sight, sights
from phaya.metrics import REFUSED
from phaya.schema import padded

log = structlog.get_logger()

TICK = 0.25
"""Seconds between two looks, while somebody waits."""
CHUNK = 512
"""Jobs in one query at the most."""

Wanted = Callable[[Sight], bool]


class _Wait:
    """One who waits."""

    __slots__ = ("over", "wanted")

    def __init__(self, wanted: Wanted, over: asyncio.Future[bool]) -> None:
        self.wanted = wanted
        self.over = over

    def end(self, came: bool) -> None:
        """Wakes the waiting coroutine, unless it has gone."""
        if not self.over.done():
            self.over.set_result(came)


class Lookout:
    """Waits for jobs on behalf of every request of this process.

    What other processes write is seen at the next look; what this one writes, at once, through `nudge`.
    """

    def __init__(self, database: Database, *, most: int = 100, most_of_account: int = 500, tick: float = TICK) -> None:
        """`most` and `most_of_account` are how many places one key, and all of an account, may hold at a time, `tick`
        the seconds between two looks."""
        self._database = database
        self._tick = tick
        self._most = most
        self._most_of_account = most_of_account
        self._waits: dict[str, set[_Wait]] = {}
        self._waiting = 0  # counted, because every create asks for it
        self._nudged: set[str] = set()
        self._woken = asyncio.Event()
        self._places: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None
        self.parting = False
        """Whether this process is about to stop, so that nobody should wait any more."""

    async def until(self, job_id: str, wanted: Wanted, seconds: float) -> bool:
        """Returns as soon as `wanted` is true of the job's row, else after `seconds` or when the process is parting.

        Answers whether it came true. Trouble with the database only makes it wait on.
        """
        if self.parting:
            return False
        wait = _Wait(wanted, asyncio.get_running_loop().create_future())
        self._waits.setdefault(job_id, set()).add(wait)
        self._waiting += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), context=Context())  # of all requests, not of this one
        try:
            async with asyncio.timeout(seconds):
                return await wait.over
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
            self._waits[job_id].discard(wait)
            if not self._waits[job_id]:
                del self._waits[job_id]

    def nudge(self, job_id: str) -> None:
        """Somebody in this process wrote to a job: it is looked at now, if anybody waits for it."""
        if job_id in self._waits:
            self._nudged.add(job_id)
            self._woken.set()

    @contextlib.contextmanager
    def place(self, key_id: str, account_id: str = "") -> Generator[None]:
        """One of a key's places, and of its account's, for the time of a wait or a stream. Raises TooManyRequests."""
        account = f"account {account_id}"
        if self._places[account] >= self._most_of_account:
            raise TooManyRequests(
                f"The keys of this account have {self._most_of_account} waits and event streams open, and may not have "
                "more at a time (limit: open waits); end one, or poll without wait.",
                1,
            )
        if self._places[key_id] >= self._most:
            REFUSED.labels("waits").inc()
            raise TooManyRequests(
                f"This key has {self._most} waits and event streams open, and may not have more at a time; "
                "end one, or poll without wait.",
                1,
            )
        self._places.update((key_id, account))
        try:
            yield
        finally:
            for name in (key_id, account):
                self._places[name] -= 1
                if not self._places[name]:
                    del self._places[name]

    @property
    def waiting(self) -> int:
        """How many wait at this moment."""
        return self._waiting

    def part(self) -> None:
        """Ends every wait, and those to come: the process is about to stop."""
        self.parting = True
        for waits in self._waits.values():
            for wait in waits:
                wait.end(False)

    async def close(self) -> None:
        """Ends every wait and looks no more."""
        self.part()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))

    async def _look(self) -> None:
        """Looks while somebody waits: at all rows each tick, in between at those that were written to here."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._tick
        while self._waits:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._woken.wait()
            self._woken.clear()
            if loop.time() >= due:
                ids = list(self._waits)
            else:
                ids = [job_id for job_id in self._nudged if job_id in self._waits]
            self._nudged.clear()
            try:
                for start in range(0, len(ids), CHUNK):
                    self._tell(await self._database.read(sights, padded(ids[start : start + CHUNK])))
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait go on waiting
                log.warning("lookout.blind", waiting=self.waiting, detail=repr(error))
            if loop.time() >= due:
                due = loop.time() + self._tick

    def _tell(self, found: dict[str, Sight]) -> None:
        for job_id, sight in found.items():
            for wait in self._waits.get(job_id, ()):
                if wait.wanted(sight):
                    wait.end(True)
