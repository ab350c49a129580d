"""Which database remembers everything, and the clock that all who share it go by."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from phaya.clock import Clock, SharedClock, SystemClock
from phaya.database import Database, Embedded
from phaya.errors import DatabaseDown
from phaya.settings import Settings

if TYPE_CHECKING:
    from phaya.postgresql import PostgreSQL

log = structlog.get_logger()

FOLLOWING = 10.0
"""Seconds between two looks at the database's clock."""
NOTABLE = 100
"""Milliseconds by which a clock must have been off to be mentioned."""


@dataclass(frozen=True)
class Engine:
    """`shared`: other nodes may work on the same database at this moment."""

    database: Database
    clock: Clock
    shared: bool


@contextlib.asynccontextmanager
async def engine(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[Engine]:
    """Opens (and makes or migrates) the database for as long as the block lasts.

    `clock` replaces the one that follows the database's. Raises InUse or DatabaseDown.
    """
    if settings.database_url is None:
        embedded = Embedded(settings.data_dir)
        try:
            yield Engine(embedded, clock or SystemClock(), shared=False)
        finally:
            await embedded.close()
        return
    from phaya.postgresql import PostgreSQL  # not loaded where there is none

    async with contextlib.AsyncExitStack() as stack:
        database = PostgreSQL(settings.database_url, connections=settings.database_connections)
        stack.push_async_callback(database.close)
        await database.open()
        if clock is None:
            clock = followed = SharedClock()
            await followed.follow(database.now)
            following = asyncio.create_task(_follow(followed, database))
            stack.callback(following.cancel)
        yield Engine(database, clock, shared=True)


async def _follow(clock: SharedClock, database: PostgreSQL) -> None:
    while True:
        await asyncio.sleep(FOLLOWING)
        try:
            moved = await clock.follow(database.now)
        except DatabaseDown:
            continue  # the boot clock carries on
        if abs(moved) > NOTABLE:
            log.warning("clock.moved", milliseconds=moved)
