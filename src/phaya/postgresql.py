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
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from phaya import marks
from phaya.errors import DatabaseDown
from phaya.migrations import migrate
from phaya.settings import is_postgresql

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()

COLLISIONS = frozenset({"40001", "40P01"})
"""SQLSTATEs of transactions that PostgreSQL gave up in favour of others: nothing of them was kept."""
TRIES = 10
"""How often such a transaction is run again."""
PERSISTENCE = 3.0
"""About as long as a restart of the server takes."""
PATIENCE = 5.0
"""Seconds that a transaction waits for a free connection, and that a connection may take to be made."""
STATEMENT = 30
"""Seconds after which a statement is given up, here and by the server."""
IDLE = 10
"""Seconds after which the server ends a transaction whose node has gone silent: no lock outlasts a stopped node."""
MIGRATING = 7_228_411_903
"""The advisory lock that one node at a time holds while it brings the tables forward: any number that is ours."""


class PostgreSQL:
    """A pool of connections that write, and one of connections that cannot."""

    def __init__(
        self, url: str, *, connections: int = 16, persistence: float = PERSISTENCE, statement: int = STATEMENT
    ) -> None:
        """`url` is `postgresql://user:password@host/database`; nothing is connected yet. Raises ValueError.

        At most `connections` connections are open at a time for transactions, and half as many for reading. A server
        that does not answer is asked again for `persistence` seconds, and a statement is given up after `statement`.
        """
        self._persistence = persistence
        self._refused = False  # whether something could not be written, and nobody has tried since
        address = self._address = _address(url)
        # A plan is made once for a connection, perhaps while a table is empty, and must still do when it has grown:
        # nothing that writes has a reason to read a whole table.
        self._writers = _engine(address, connections, statement, enable_seqscan="off")
        self._singles = self._writers.execution_options(isolation_level="AUTOCOMMIT")  # the same connections
        readers = _engine(address, max(2, connections // 2), statement, default_transaction_read_only="on")
        # Each read is one statement, or several that need no common moment: no BEGIN and ROLLBACK around them.
        self._readers = readers.execution_options(isolation_level="AUTOCOMMIT")
        self._dice = random.Random()  # noqa: S311 - it only spreads moments

    async def open(self) -> Self:
        """Connects and brings the tables forward, one node at a time. Raises DatabaseDown."""
        migrating = create_async_engine(self._address, poolclass=NullPool, connect_args={"timeout": PATIENCE})
        try:
            async with migrating.connect() as connection:
                await connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATING})
                # A table that is in use is waited for shortly, so that no queue forms behind the migration.
                await connection.execute(text("SET lock_timeout = '5s'"))
                await connection.commit()
                await connection.run_sync(migrate)
        except (OSError, DBAPIError) as error:
            raise DatabaseDown(f"PostgreSQL cannot be reached: {_cause(error)}") from error
        finally:
            await migrating.dispose()  # and with the connection goes the lock
        return self

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in a transaction; returns after it is durable.

        It is run again where PostgreSQL undid it for another's sake, or where its connection turned out to be dead
        before anything could be committed. Raises DatabaseDown; after that the transaction may have been kept or not.
        """
        return await self._persist(self._writers, lambda connection: work(connection, *args, **kwargs), writing=True)

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` on a connection that cannot write. Raises DatabaseDown."""
        return await self._persist(self._readers, lambda connection: work(connection, *args, **kwargs), writing=False)

    async def single(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work`, which is one statement that may write: one way there and back, where `write` needs three.

        It is run again where its connection turned out to be dead, so it may have been done twice. Raises DatabaseDown.
        """
        return await self._persist(self._singles, lambda connection: work(connection, *args, **kwargs), writing=False)

    async def _persist(self, pool: AsyncEngine, work: Callable[[Connection], T], *, writing: bool) -> T:
        loop = asyncio.get_running_loop()
        end, pause, collisions = loop.time() + self._persistence, 0.02, 0
        while True:
            attempt = _Attempt(writing)
            try:
                return await attempt.make(pool, work)
            except (DBAPIError, OSError, NoneFree) as error:
                collided, down = _state(error) in COLLISIONS, _is_down(error)
                collisions += collided
                if not collided and not down:
                    raise
                if collisions > TRIES or (down and (attempt.committing or loop.time() > end)):
                    log.error("database.down", detail=_cause(error), committing=attempt.committing)
                    self._refused = self._refused or pool is not self._readers
                    raise DatabaseDown() from error
            await asyncio.sleep(self._dice.uniform(0.5, 1) * pause)
            pause = min(pause * 2, 1.0)

    async def ready(self) -> None:
        """Reads, and writes where the last attempt failed: a server may have no room, or only be read. Raises
        DatabaseDown."""
        await self.read(marks.read, "ready")  # anything small
        if self._refused:
            await self.write(_leave_a_trace)
            self._refused = False

    async def now(self) -> int:
        """The server's clock: milliseconds since 1970. Raises DatabaseDown."""
        return await self.read(_now)

    async def close(self) -> None:
        """Lets go of every connection."""
        await self._writers.dispose()
        await self._readers.dispose()


class _Attempt:
    """One run of a transaction. `committing` is set once the server may have been told to keep it."""

    def __init__(self, writing: bool) -> None:
        self._writing = writing
        self.committing = False

    async def make(self, pool: AsyncEngine, work: Callable[[Connection], T]) -> T:
        async with pool.connect() as connection:
            try:
                result = await connection.run_sync(work)
                self.committing = self._writing
                await connection.commit()
            except (DBAPIError, OSError) as error:
                if _is_down(error):
                    await connection.invalidate()  # nobody would answer to a ROLLBACK
                raise
            return result


def _address(url: str) -> URL:
    """The address for asyncpg, which calls libpq's `sslmode` by another name."""
    if not is_postgresql(url):
        raise ValueError("the address must be like postgresql://user:password@host/database")
    address = make_url("postgresql" + url[url.index(":") :]).set(drivername="postgresql+asyncpg")
    if (mode := address.query.get("sslmode")) is not None:
        address = address.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return address


def _engine(address: URL, connections: int, statement: int, **server: str) -> AsyncEngine:
    return create_async_engine(
        address,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=PATIENCE,
        pool_use_lifo=True,  # what is not needed grows old and is closed
        pool_recycle=1800,
        hide_parameters=True,  # they may be prompts or hashes, and errors come into the log
        connect_args={
            "timeout": PATIENCE,
            "command_timeout": statement,
            "server_settings": {
                "application_name": "phaya",
                "statement_timeout": f"{statement}s",
                "idle_in_transaction_session_timeout": f"{IDLE}s",
                **server,
            },
        },
    )


def _leave_a_trace(connection: Connection) -> None:
    """A transaction with a number is written down by the server, even if it changes nothing."""
    connection.execute(text("SELECT pg_current_xact_id()"))


def _now(connection: Connection) -> int:
    asked = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
    return int(connection.execute(asked).scalar_one())


def _state(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


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
