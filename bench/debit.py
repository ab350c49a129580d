"""Raw debits: a guarded update of a balance and an entry beside it, durable before it is answered, and nothing else.

    python bench/debit.py sqlite FOLDER ACCOUNTS SECONDS
    python bench/debit.py postgresql URL ACCOUNTS SECONDS

64 callers at a time debit in turn. SQLite has one writer thread that commits what has gathered, synchronous=FULL;
PostgreSQL 16 connections, with one statement and transaction for a debit. Prints JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvloop

CALLERS, CONNECTIONS, GROUP = 64, 16, 256
FULL, PRICE = 10**12, 1000

TABLES = """
CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance BIGINT NOT NULL);
CREATE TABLE entries (id {serial}, account_id INTEGER NOT NULL, amount BIGINT NOT NULL);
"""
DEBIT = """
WITH paid AS (UPDATE accounts SET balance = balance - $2 WHERE id = $1 AND balance >= $2 RETURNING id)
INSERT INTO entries (account_id, amount) SELECT id, -$2 FROM paid
"""

Debit = Callable[[int], Awaitable[object]]


async def callers(debit: Debit, accounts: int, seconds: float) -> dict[str, float]:
    """Debits for so long; the count, and the processor time of this process."""
    count, began, used = 0, time.monotonic(), time.process_time()

    async def caller(number: int) -> None:
        nonlocal count
        while time.monotonic() - began < seconds:
            await debit((number + count) % accounts)
            count += 1

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    return {"count": count, "seconds": time.monotonic() - began, "cpu": time.process_time() - used}


class Writer:
    """One thread that commits in groups."""

    def __init__(self, folder: Path, accounts: int) -> None:
        self._orders: queue.SimpleQueue[tuple[int, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._connection = sqlite3.connect(folder / "debits.db", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(TABLES.format(serial="INTEGER PRIMARY KEY"))
        self._connection.executemany("INSERT INTO accounts VALUES (?, ?)", [(id_, FULL) for id_ in range(accounts)])
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    async def debit(self, account: int) -> None:
        """Returns after the debit is on disk."""
        future = self._loop.create_future()
        self._orders.put((account, future))
        await future

    def _write(self) -> None:
        execute = self._connection.execute
        while (order := self._orders.get()) is not None:
            group = [order]
            while len(group) < GROUP and not self._orders.empty():
                if (order := self._orders.get()) is None:
                    return
                group.append(order)
            execute("BEGIN IMMEDIATE")
            for account, _ in group:
                paid = execute(
                    "UPDATE accounts SET balance = balance - ? WHERE id = ? AND balance >= ?", (PRICE, account, PRICE)
                )
                assert paid.rowcount == 1
                execute("INSERT INTO entries (account_id, amount) VALUES (?, ?)", (account, -PRICE))
            execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, [future for _, future in group])

    def close(self, accounts: int, count: int) -> None:
        """Ends it, and proves that nothing was lost."""
        self._orders.put(None)
        self._thread.join()
        left = self._connection.execute("SELECT sum(balance) FROM accounts").fetchone()[0]
        assert left == accounts * FULL - count * PRICE, (left, count)


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


async def sqlite(folder: Path, accounts: int, seconds: float) -> dict[str, float]:
    """Debits in SQLite."""
    writer = Writer(folder, accounts)
    done = await callers(writer.debit, accounts, seconds)
    writer.close(accounts, int(done["count"]))
    return done


async def postgresql(url: str, accounts: int, seconds: float) -> dict[str, float]:
    """Debits in PostgreSQL."""
    create_pool: Any = importlib.import_module("asyncpg").create_pool  # it comes without types
    async with create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        await pool.execute("DROP TABLE IF EXISTS accounts, entries")
        await pool.execute(TABLES.format(serial="BIGSERIAL PRIMARY KEY"))
        await pool.executemany("INSERT INTO accounts VALUES ($1, $2)", [(id_, FULL) for id_ in range(accounts)])
        done = await callers(lambda account: pool.execute(DEBIT, account, PRICE), accounts, seconds)
        left = await pool.fetchval("SELECT sum(balance) FROM accounts")
        assert left == accounts * FULL - int(done["count"]) * PRICE, (left, done)
    return done


if __name__ == "__main__":
    where, number, length = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    work = sqlite(Path(where), number, length) if sys.argv[1] == "sqlite" else postgresql(where, number, length)
    print(orjson.dumps(uvloop.run(work)).decode())
