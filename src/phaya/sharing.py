"""What nodes share besides their jobs: limits, provider budgets and circuits. Here it is chosen where they live."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from phaya.breaker import Breaker, Patience
from phaya.clock import Clock
from phaya.database import Database, Embedded
from phaya.limits import Limits, Windows


@dataclass(frozen=True)
class Shared:
    """The limits and the breaker of a node."""

    limits: Limits
    breaker: Breaker


@contextlib.asynccontextmanager
async def sharing(
    redis_url: str | None, database: Database, clock: Clock, patience: Patience | None = None
) -> AsyncGenerator[Shared]:
    """Limits and circuits in Redis where there is one, else in PostgreSQL, else in this process alone.

    A Redis that does not answer keeps nobody from starting. What is not used is not loaded.
    """
    if redis_url is not None:
        from phaya.circuits import RedisCircuits
        from phaya.link import Link
        from phaya.meters import RedisMeters

        link = Link(redis_url, clock)
        try:
            meters = RedisMeters(link, Windows(clock))
            yield Shared(Limits(meters), Breaker(clock, patience, RedisCircuits(link)))
        finally:
            await link.close()
    elif not isinstance(database, Embedded):
        from phaya.circuits import TabledCircuits
        from phaya.meters import TabledMeters
        from phaya.postgresql import PostgreSQL

        assert isinstance(database, PostgreSQL)
        yield Shared(Limits(TabledMeters(database)), Breaker(clock, patience, TabledCircuits(database)))
    else:
        yield Shared(Limits(Windows(clock)), Breaker(clock, patience))
