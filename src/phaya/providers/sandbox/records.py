"""The sandbox's memory: one SQLite file, spoken to by one thread over one connection.

WAL with `synchronous=NORMAL` keeps everything that was committed when the process is killed; only a crash
of the machine may take the last moments. The file is held exclusively, so a second sandbox on the same
folder is refused instead of mixing its tasks in.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Times are milliseconds since 1970, prices thousandths of a KIE credit, costs 10^-12 USD.
SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    family TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL,
    digest BLOB NOT NULL,
    request TEXT NOT NULL,
    origin TEXT NOT NULL,
    outcome TEXT NOT NULL,
    created INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    price INTEGER NOT NULL,
    looks INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS tasks_digest ON tasks (digest);
CREATE INDEX IF NOT EXISTS tasks_ends ON tasks (outcome, created + duration, price);
CREATE TABLE IF NOT EXISTS callbacks (
    number INTEGER PRIMARY KEY,
    task TEXT NOT NULL,
    kind TEXT NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS callbacks_due ON callbacks (due);
CREATE TABLE IF NOT EXISTS turned_away (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generations (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL,
    model TEXT NOT NULL,
    created INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    finish_reason TEXT,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    took INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS generations_digest ON generations (digest);
"""


class FolderTaken(Exception):
    """Another process holds the sandbox's folder."""


class Records:
    """The file `sandbox.db`. Work is a plain function of the connection; one runs at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox-records")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Opens or makes the file. Raises FolderTaken."""
        await self._run(self._open)

    async def close(self) -> None:
        """Closes the file after the work that was handed in before."""
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` finds."""
        return await self._run(lambda: work(self._opened()))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in a transaction and returns after its commit."""
        return await self._run(lambda: self._write(work))

    async def _run(self, work: Callable[[], T]) -> T:
        # Shielded, so that what was handed in is done even where the one who asked is gone meanwhile.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, cached_statements=256)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(SCHEMA)
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            connection.close()
            if "locked" in str(error):
                raise FolderTaken(f"{self._path.parent} is used by another sandbox") from error
            raise
        self._connection = connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the sandbox's records are not open")
        return self._connection

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return result


def prompt_digest(prompt: str, door: str = "") -> bytes:
    """The short form under which prompts are counted."""
    return hashlib.blake2b(f"{door}\n{prompt}".encode(errors="surrogatepass"), digest_size=16).digest()


async def first_time(records: Records, door: str, prompt: str) -> bool:
    """Whether `prompt` was never asked at `door` before; from now on it was. Survives a restart."""
    asked = prompt_digest(prompt, door)

    def work(connection: sqlite3.Connection) -> bool:
        return connection.execute("INSERT OR IGNORE INTO turned_away VALUES (?)", (asked,)).rowcount == 1

    return await records.write(work)
