"""What is stored beside what the rows say: results whose file is missing, and files that no row names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import structlog

from phaya import jobs
from phaya.clock import DAY, Clock
from phaya.database import Database
from phaya.results import keys_of
from phaya.storage import Stat, Storage

log = structlog.get_logger()

AT_ONCE = 16
"""Files that are asked for at a time."""
OLD = DAY
"""A younger file may be of a claim that is just being worked on."""

_YEAR = re.compile(r"[0-9]{4}")
_RESULT = re.compile(r"[0-9]{4}/[0-9]{2}/([^/]+)/[^/]+")


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that a job's results name and that is not there."""

    job_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Stray:
    """A stored result that no row names. `known`: its job is in the database, but keeps other files, or none."""

    key: str
    bytes: int
    known: bool


class Inventory:
    """Goes through rows and files in chunks; memory does not grow with their number."""

    def __init__(self, storage: Storage, database: Database, clock: Clock, chunk: int = 500) -> None:
        """`chunk` is how many rows or files are held at a time."""
        self._storage = storage
        self._database = database
        self._clock = clock
        self._chunk = chunk

    async def missing(self) -> AsyncIterator[Missing]:
        """Results without their file. Raises StorageDown."""
        last = ""
        while rows := await self._database.read(jobs.holding, last, self._chunk):
            last = rows[-1][0]
            named = [(job_id, key) for job_id, results in rows for key in keys_of(results)]
            lacking = set(await absent(self._storage, [key for _, key in named], AT_ONCE))
            gone = [(job_id, key) for job_id, key in named if key in lacking]
            if gone:  # unless the row forgot them in the meantime, when their time was over
                now = await self._database.read(jobs.results_of, {job_id for job_id, _ in gone})
                for job_id, key in gone:
                    if key in keys_of(now.get(job_id)):
                        yield Missing(job_id, key)

    async def strays(self) -> AsyncIterator[Stray]:
        """Files under the month folders that are older than a day and that no row names. Raises StorageDown."""
        before = self._clock.now() - OLD
        for year in await self._storage.folders():
            if not _YEAR.fullmatch(year):
                continue
            old: list[Stat] = []
            async for stat in self._storage.listing(year):
                if stat.modified < before and _RESULT.fullmatch(stat.key):
                    old.append(stat)
                if len(old) == self._chunk:
                    for stray in await self._unnamed(old):
                        yield stray
                    old.clear()
            for stray in await self._unnamed(old):
                yield stray

    async def sweep(self) -> int:
        """Deletes the strays of known jobs, which claims that were lost left behind; returns how many.

        A file of a job that the database does not know stays: no row is ever deleted, so the storage is another
        Phaya's too, or the database is an older one than the files. Raises StorageDown.
        """
        deleted = foreign = 0
        unwanted: list[str] = []
        async for stray in self.strays():
            if not stray.known:
                foreign += 1
                continue
            unwanted.append(stray.key)
            if len(unwanted) == self._chunk:
                await self._storage.delete(unwanted)
                deleted += len(unwanted)
                unwanted.clear()
        await self._storage.delete(unwanted)
        deleted += len(unwanted)
        if deleted:
            log.info("storage.swept", files=deleted)
        if foreign:
            log.warning("storage.foreign", files=foreign)
        return deleted

    async def _unnamed(self, stats: list[Stat]) -> list[Stray]:
        if not stats:
            return []
        owners = {stat.key: stat.key.split("/")[2] for stat in stats}
        rows = await self._database.read(jobs.results_of, set(owners.values()))
        named = {key for results in rows.values() for key in keys_of(results)}
        return [Stray(stat.key, stat.size, owners[stat.key] in rows) for stat in stats if stat.key not in named]


async def absent(storage: Storage, keys: Sequence[str], at_once: int) -> list[str]:
    """Which of these files the storage does not have, asked for so many at a time. Raises StorageDown."""
    gone: list[str] = []
    for start in range(0, len(keys), at_once):
        some = keys[start : start + at_once]
        found = await asyncio.gather(*(storage.head(key) for key in some))
        gone += [key for key, stat in zip(some, found, strict=True) if stat is None]
    return gone
