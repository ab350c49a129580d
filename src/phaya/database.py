"""The database: the two ways in, `read` and `write`.

A transaction is a plain function of a connection. It cannot await, so the outside world is never inside
one, and the same function runs on every engine. See docs/decisions/0003-transactions-are-functions.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from phaya import marks
from phaya.errors import DatabaseDown
from phaya.migrations import migrate

log = structlog.get_logger()

TROUBLES = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }
)
"""What SQLite says when the disk, the memory or another program is the matter, and not what was asked."""

P = ParamSpec("P")
T = TypeVar("T")


class Database(Protocol):
    """Where everything is remembered."""

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in a transaction of its own; returns after it is durable."""
        ...

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` on a connection that cannot write."""
        ...

    async def ready(self) -> None:
        """Sees whether reading works and, where the last transaction could not be kept, whether writing does again.
        Raises DatabaseDown."""
        ...

    async def close(self) -> None:
        """Finishes what was ordered and lets go of the database."""
        ...


class InUse(Exception):
    """Another process holds the data folder."""


class _Order:
    """One transaction on its way to the writer."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[Connection], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tells the waiting coroutine, unless it has gone."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Embedded:
    """SQLite in this process: one writing connection on a thread of its own, readers beside it.

    The writer commits in groups: what has gathered while the last commit went to disk shares the next one,
    each piece in its own savepoint, and nobody is answered before the commit. A lock file keeps a second
    process out, because SQLite before 3.51.3 can corrupt its WAL when two connections write.
    """

    GROUP = 256

    def __init__(self, folder: Path) -> None:
        """Opens (and makes or migrates) `phaya.db` in `folder`. Raises InUse."""
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "phaya.db"
        self._lock = lock(folder)
        try:
            self._engine = _engine(self.file)
            self._readers = _engine(self.file, read_only=True)
            self._connection = self._engine.connect()
            migrate(self._connection)
        except BaseException:
            self._lock.close()
            raise
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._refused = False  # whether something could not be written, and nothing was since
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="reader")
        self._writer = threading.Thread(target=self._write_all, name="writer", daemon=True)
        self._writer.start()

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in a transaction; returns after it is on disk. Raises DatabaseDown where there is no room."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._orders.put(_Order(lambda connection: work(connection, *args, **kwargs), future))
        return await future

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` on a read-only connection in a thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self._read(lambda connection: work(connection, *args, **kwargs))
        )

    async def ready(self) -> None:
        """Reads, and writes where the last transaction did not fit on the disk. Raises DatabaseDown."""
        await self.read(marks.read, "ready")  # anything small
        if self._refused:
            await self.write(_rewrite_head)
            self._refused = False

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._readers.connect() as connection:
                return work(connection)
        except (DBAPIError, sqlite3.Error) as error:
            if _is_trouble(error, TROUBLES - {sqlite3.SQLITE_READONLY}):  # a reader that writes is our own mistake
                raise DatabaseDown() from error
            raise

    async def close(self) -> None:
        """Finishes what was ordered and gives the folder free."""
        self._orders.put(None)
        await asyncio.to_thread(self._writer.join)
        self._threads.shutdown()
        self._connection.close()
        self._readers.dispose()
        self._engine.dispose()
        self._lock.close()

    def _write_all(self) -> None:
        while (first := self._orders.get()) is not None:
            group = [first]
            stop = False
            while len(group) < self.GROUP and not stop:
                try:
                    order = self._orders.get_nowait()
                except queue.Empty:
                    break
                if order is None:
                    stop = True
                else:
                    group.append(order)
            self._commit(group)
            _tell(group)
            if stop:
                return

    def _commit(self, group: list[_Order]) -> None:
        try:
            driver = self._connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            before = driver.total_changes
            # One alone needs no savepoint. SQLAlchemy's own would cost as much as three statements.
            several = len(group) > 1
            with self._connection.begin() as transaction:
                for order in group:
                    if several:
                        driver.execute("SAVEPOINT piece")
                    try:
                        order.result = order.work(self._connection)
                    except Exception as error:  # it belongs to whoever ordered the work
                        if not driver.in_transaction:
                            # SQLite gave up the whole transaction by itself, as it does when the disk is full: what a
                            # savepoint held before is gone, and what came after would be kept alone.
                            raise
                        if several:
                            driver.execute("ROLLBACK TO piece")
                        else:
                            transaction.rollback()
                        order.error = DatabaseDown() if _is_trouble(error) else error
                    if several:
                        driver.execute("RELEASE piece")
            # What changes nothing writes nothing, and proves nothing.
            if driver.total_changes != before and any(order.error is None for order in group):
                self._refused = False
        except Exception as error:  # noqa: BLE001 - nothing of the group was kept: everybody must know
            trouble = _is_trouble(error)
            self._refused = self._refused or trouble
            for order in group:
                # One for each: whoever raises an error writes a traceback of its own into it.
                order.error = DatabaseDown() if trouble else error
            with contextlib.suppress(OSError):  # the log may lie on the same full disk, and this thread must go on
                log.error("database.not_written", error=(str(error).splitlines() or [""])[0], transactions=len(group))


def _rewrite_head(connection: Connection) -> None:
    """Writes the first page of the file as it is."""
    version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    connection.exec_driver_sql(f"PRAGMA user_version = {version}")


def _is_trouble(error: BaseException | None, troubles: Set[int] = TROUBLES) -> bool:
    # The refusal to return to a savepoint that is gone hides what made it go.
    while error is not None:
        code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
        if isinstance(code, int) and code & 0xFF in troubles:  # the rest says more closely what it was
            return True
        error = error.__context__
    return False


def _tell(group: list[_Order]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Order]] = {}
    for order in group:
        by_loop.setdefault(order.future.get_loop(), []).append(order)

    def settle(orders: list[_Order]) -> None:
        for order in orders:
            order.settle()

    for loop, orders in by_loop.items():
        try:
            loop.call_soon_threadsafe(settle, orders)
        except RuntimeError:
            # The loop is closed: nobody waits any more, and what was written is written.
            continue


def lock(folder: Path) -> Any:
    """Takes the folder's lock file for this process, until closed or dead. Raises InUse."""
    import fcntl

    handle = (folder / "phaya.lock").open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise InUse(f"Another Phaya runs on {folder}; stop it first, or give this one its own folder.") from error
    return handle


def _engine(file: Path, *, read_only: bool = False) -> Engine:
    query = {"mode": "ro", "uri": "true"} if read_only else {"uri": "true"}
    address = URL.create("sqlite+pysqlite", database=f"file:{file.resolve()}", query=query)
    # The parameters of a statement that failed may be prompts or hashes, and its error comes into the log.
    engine = create_engine(address, connect_args={"check_same_thread": False, "timeout": 30}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _connect(driver: Any, _record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        driver.isolation_level = None  # SQLAlchemy says BEGIN itself, below
        cursor = driver.cursor()
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA foreign_keys = ON")
            # Taken over into the file every 16 MB and not every 4: what many purchases change is written there once.
            cursor.execute("PRAGMA wal_autocheckpoint = 4000")
            # A thousand accounts' purchases change pages all over the file. 16 MB of them stay at hand, as they are
            # taken up, and what a savepoint could return to is kept in memory: SQLite writes it to a file otherwise.
            cursor.execute("PRAGMA cache_size = -16000")
            cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
