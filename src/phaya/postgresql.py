"""PostgreSQL as the engine that any number of nodes share.

The same plain functions run here as on SQLite, each in a transaction of its own; row locks, `SKIP LOCKED`, unique
keys and the server's clock do what the one writer does there. See docs/decisions/0012-postgresql-is-the-engine.md.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Self, TypeVar

import structlog
from sqlalchemy import Connection, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from phaya.errors import DatabaseDown
from phaya.migrations import migrate
from phaya.settings import is_postgresql

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()

TRIES = 7
COLLISIONS = frozenset({"40001", "40P01"})
"""SQLSTATEs of transactions that PostgreSQL gave up in favour of others: nothing of them was kept."""
PATIENCE = 10.0
"""Seconds that a transaction waits for a free connection, and that a connection may take to be made."""
STATEMENT = 60
"""Seconds after which the server ends a statement, and a transaction whose node has gone silent."""
MIGRATING = 7_228_411_903
"""The advisory lock that one node at a time holds while it brings the tables forward: any number that is ours."""


class PostgreSQL:
    """A pool of connections that write, and one of connections that cannot."""

    def __init__(self, url: str, *, connections: int = 16) -> None:
        """`url` is `postgresql://user:password@host/database`; nothing is connected yet. Raises ValueError.

        At most `connections` connections are open at a time for transactions, and half as many for reading.
        """
        address = _address(url)
        self._writers = _engine(address, connections)
        readers = _engine(address, max(2, connections // 2), default_transaction_read_only="on")
        # Each read is one statement, or several that need no common moment: no BEGIN and ROLLBACK around them.
        self._readers = readers.execution_options(isolation_level="AUTOCOMMIT")
        self._dice = random.Random()  # noqa: S311 - it only spreads moments

    async def open(self) -> Self:
        """Connects and brings the tables forward, one node at a time. Raises DatabaseDown."""
        try:
            async with self._writers.connect() as connection:
                await connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATING})
                await connection.commit()
                try:
                    # A table that is in use is waited for shortly, so that no queue forms behind the migration.
                    await connection.execute(text("SET lock_timeout = '5s'"))
                    await connection.commit()
                    await connection.run_sync(migrate)
                finally:
                    await connection.rollback()
                    await connection.execute(text("SET lock_timeout = 0"))
                    await connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATING})
                    await connection.commit()
        except (OSError, InterfaceError, OperationalError, NoneFree) as error:
            raise DatabaseDown(f"PostgreSQL cannot be reached: {_cause(error)}") from error
        return self

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in a transaction; returns after it is durable.

        It is run again where PostgreSQL undid it for another's sake, or where its connection turned out to be dead
        before anything could be committed. Raises DatabaseDown; after that the transaction may have been kept or not.
        """
        for attempt in range(1, TRIES + 1):
            committing = False
            try:
                async with self._writers.connect() as connection:
                    async with connection.begin() as transaction:
                        result = await connection.run_sync(lambda c: work(c, *args, **kwargs))
                        committing = True
                        await transaction.commit()
                    return result
            except (DBAPIError, OSError, NoneFree) as error:
                again = _collided(error) or (_is_down(error) and not committing)
                if not again and not _is_down(error):
                    raise
                if not again or attempt == TRIES:
                    log.error("database.down", detail=_cause(error), committing=committing)
                    raise DatabaseDown() from error
            await asyncio.sleep(self._dice.uniform(0.5, 1) * 0.02 * 2**attempt)
        raise AssertionError("unreachable")

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` on a connection that cannot write. Raises DatabaseDown."""
        for attempt in range(1, TRIES + 1):
            try:
                async with self._readers.connect() as connection:
                    return await connection.run_sync(lambda c: work(c, *args, **kwargs))
            except (DBAPIError, OSError, NoneFree) as error:
                if not _is_down(error):
                    raise
                if attempt == TRIES:
                    log.error("database.down", detail=_cause(error))
                    raise DatabaseDown() from error
            await asyncio.sleep(self._dice.uniform(0.5, 1) * 0.02 * 2**attempt)
        raise AssertionError("unreachable")

    async def now(self) -> int:
        """The server's clock: milliseconds since 1970. Raises DatabaseDown."""
        return await self.read(_now)

    async def close(self) -> None:
        """Lets go of every connection."""
        await self._writers.dispose()
        await self._readers.dispose()


def _address(url: str) -> URL:
    """The address for asyncpg, which calls libpq's `sslmode` by another name."""
    if not is_postgresql(url):
        raise ValueError("the address must be like postgresql://user:password@host/database")
    address = make_url("postgresql" + url[url.index(":") :]).set(drivername="postgresql+asyncpg")
    if (mode := address.query.get("sslmode")) is not None:
        address = address.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return address


def _engine(address: URL, connections: int, **server: str) -> AsyncEngine:
    return create_async_engine(
        address,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=PATIENCE,
        pool_use_lifo=True,  # what is not needed grows old and is closed
        pool_recycle=1800,
        connect_args={
            "timeout": PATIENCE,
            "server_settings": {
                "application_name": "phaya",
                "statement_timeout": f"{STATEMENT}s",
                "idle_in_transaction_session_timeout": f"{STATEMENT}s",
                **server,
            },
        },
    )


def _now(connection: Connection) -> int:
    asked = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
    return int(connection.execute(asked).scalar_one())


def _state(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _collided(error: BaseException) -> bool:
    return _state(error) in COLLISIONS


def _is_down(error: BaseException) -> bool:
    """Whether the server, or the way to it, is the matter, and not what was asked."""
    if isinstance(error, OSError | NoneFree) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    # Class 08 is the connection, 57 a shutdown or a statement's time-out, 53 resources, 25006 a server that may
    # only be read.
    state = _state(error)
    return state[:2] in ("08", "53", "57") or state == "25006" or isinstance(error, InterfaceError)


def _cause(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:300] if str(error) else type(error).__name__
