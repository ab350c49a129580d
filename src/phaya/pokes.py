"""Callbacks on their way into the database: those that come in while others are being written share one transaction.

Providers call back in crowds, and a transaction for each would cost more than all the rest of a callback.
"""

from __future__ import annotations

import asyncio

from phaya import jobs
from phaya.clock import Clock
from phaya.database import Database

MOST = 500
"""Callbacks in one transaction."""


class Pokes:
    """Wakes jobs, many at a time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: list[tuple[str, str | None, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def poke(self, job_id: str, hint: str | None) -> None:
        """Makes the job due, see jobs.poke; returns after that is durable. Raises what the database raises."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((job_id, hint, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await written

    async def _write(self) -> None:
        while batch := self._waiting[:MOST]:
            del self._waiting[:MOST]
            heard = [(job_id, hint) for job_id, hint, _ in batch]
            error: Exception | None = None
            try:
                await self._database.write(jobs.poke_all, heard, self._clock.now())
            except Exception as trouble:  # noqa: BLE001 - it belongs to those whose callbacks were not kept
                error = trouble
            for *_, written in batch:
                if written.done():
                    continue  # whoever called has hung up
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)
        self._writing = None
