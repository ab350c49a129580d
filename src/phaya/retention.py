"""What is kept for how long: results and copies of inputs for some days, the log of webhooks and the keys of requests
likewise, what jobs asked and answered for longer, the jobs themselves and their money for ever.

Everything is deleted in chunks with pauses, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from sqlalchemy import Connection, func, null, or_, select, update

from phaya import allowances, deliveries, grants, idempotency, ledger
from phaya import jobs as rows
from phaya.catalog import CATALOG
from phaya.clock import DAY, HOUR, Clock
from phaya.database import Database
from phaya.inventory import Inventory
from phaya.jobs import ERASED, State, Step
from phaya.limits import forget_meters
from phaya.results import Results
from phaya.schema import jobs

log = structlog.get_logger()

CHUNK = 200
"""Jobs whose files are deleted at a time."""
RANGE = 500
"""Rows that are looked through at a time for contents to erase."""
PAUSE = 0.05
"""Seconds between two chunks: others write in between."""
LISTING = 6 * HOUR
"""Between two looks through all files: a bucket charges for being listed."""
LOG = 30 * DAY
"""For how long deliveries of webhooks are remembered."""
LASTING = tuple(service.path for service in CATALOG if service.lasting)
"""Services whose results are no files."""

_ENDED = tuple(state.value for state in State if state.ended)


class Retention:
    """Deletes what is past its time. It may stop anywhere, and begins anew with the next sweep."""

    def __init__(
        self,
        database: Database,
        results: Results,
        clock: Clock,
        media_days: float,
        job_days: float,
        pause: float = PAUSE,
        changed: Callable[[], None] | None = None,
    ) -> None:
        """Files go after `media_days`, contents of jobs after `job_days`, their files then at the latest.

        `changed` is told when jobs were written to.
        """
        self._changed = changed or (lambda: None)
        self._inventory = Inventory(results.storage, database, clock)
        self._database = database
        self._results = results
        self._clock = clock
        self._media = int(min(media_days, job_days) * DAY)
        self._contents = int(job_days * DAY)
        self._pause = pause
        self._erased_at: int | None = None
        self._listed_at: int | None = None

    async def sweep(self) -> None:
        """Deletes what is due; some of it more rarely, because it takes a look through every row or every file."""
        now = self._clock.now()
        await self._forget(now - self._media)
        if self._listed_at is None or now - self._listed_at >= LISTING:
            self._listed_at = now
            await self._results.forget_inputs(now - self._media)
            await self._inventory.sweep()
        await self._expire(now)
        await self._all_of(deliveries.forget, now - LOG)
        await self._all_of(idempotency.forget, now)
        await self._all_of(grants.forget, now)
        await self._all_of(allowances.forget, now - self._media - DAY)
        await self._database.write(forget_meters, now - HOUR)
        if self._erased_at is None or now - self._erased_at >= DAY:
            await self._erase(now - self._contents)
            self._erased_at = now

    async def _forget(self, before: int) -> None:
        """Files first, the rows that name them after: whoever dies in between deletes what is gone once more."""
        after = (0, "")
        while old := await self._database.read(rows.expired, before, CHUNK, LASTING, after):
            try:
                await self._results.forget(old)
                await self._database.write(rows.forget_results, [job.id for job in old])
                self._changed()
            except Exception:  # the next sweep tries these again; the others are not kept waiting
                log.exception("retention.failed", jobs=len(old), first=old[0].id)
            after = (old[-1].ended_at or 0, old[-1].id)
            await asyncio.sleep(self._pause)

    async def _expire(self, now: int) -> None:
        while found := await self._database.read(grants.due, now, CHUNK):
            for account in found:
                await self._database.write(ledger.expire, account, now)
            await asyncio.sleep(self._pause)

    async def _all_of(self, forget: Callable[[Connection, int, int], int], before: int) -> None:
        while await self._database.write(forget, before, CHUNK) == CHUNK:
            await asyncio.sleep(self._pause)

    async def _erase(self, before: int) -> None:
        after: str | None = ""
        erased = 0
        while after is not None:
            after, found = await self._database.write(erase, before, after, RANGE)
            erased += found
            self._changed()
            await asyncio.sleep(self._pause)
        if erased:
            log.info("retention.erased", jobs=erased)


def erase(connection: Connection, before: int, after: str, limit: int) -> tuple[str | None, int]:
    """Erases the contents of jobs that ended before a moment, among the next `limit` rows by id.

    Answers the last id looked at (None: there are no more) and how many were erased. A job that has files, or whose
    fate is still looked for, is left alone.
    """
    ahead = select(jobs.c.id).where(jobs.c.id > after).order_by(jobs.c.id).limit(limit).subquery()
    last = connection.execute(select(func.max(ahead.c.id))).scalar()
    if last is None:
        return None, 0
    done = connection.execute(
        update(jobs)
        .where(
            jobs.c.id > after,
            jobs.c.id <= last,
            jobs.c.ended_at < before,
            jobs.c.state.in_(_ENDED),
            jobs.c.next_at.is_(None),
            jobs.c.call != ERASED,
            or_(jobs.c.results.is_(None), jobs.c.service.in_(LASTING)),
        )
        .values(
            request=ERASED,
            call=ERASED,
            step=Step.DONE.value,
            **{
                name: null()
                for name in ("outcome", "results", "trouble", "hint", "error", "ways", "rates", "webhook_url")
            },
        )
    )
    return last, done.rowcount
