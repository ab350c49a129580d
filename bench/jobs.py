"""A hundred thousand jobs in flight on one node: memory, the way back after `kill -9`, idle CPU, callbacks, ends.

    .venv/bin/python bench/jobs.py [--jobs 100000] [--database sqlite|postgresql|both] [--rates 100,200]

Real processes on loopback: `phaya serve`, the provider's stand-in (stand_in.py), which also sends the callbacks, and
`phaya sandbox`. The jobs are written in bulk, as opening and submitting leave them (tests/crowd.py): at a provider's 20
creations in 10 seconds for each of a hundred keys, creating them would take eight minutes. The hundred keys are
there so that the provider's budget of 10 looks a second for each is not what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, select

import machine
from phaya.clock import MINUTE, SystemClock
from phaya.database import Database, Embedded
from phaya.postgresql import PostgreSQL
from phaya.providers.sandbox.endings import ending_of
from phaya.providers.sandbox.records import Records
from phaya.providers.sandbox.tasks import Tasks
from phaya.schema import jobs
from phaya.workflow import callback_token

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import servers
from crowd import Open, fill

HERE = Path(__file__).parent
SECRET = "the benchmark's own"
KEYS = tuple(f"bench{number:03}" for number in range(100))
FAR = 60 * MINUTE
IDLE_SECONDS = 20
BURST = 5000
STEADY_SECONDS = 15
LOOKING = 0.05
"""Seconds between two looks into the database for ends."""
PATIENCE = 90
"""Seconds that ends are waited for after the last callback."""

Rows = list[tuple[str, str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description="A hundred thousand jobs in flight on one node.")
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in flight")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--rates", default="50,100,200", help="callbacks a second, one run for each")
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    engines = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    console = Console(width=120)
    console.print(machine.described(), highlight=False)
    for engine in engines:
        with tempfile.TemporaryDirectory(prefix="phaya-bench-") as folder:
            rows = asyncio.run(_measure(Path(folder), engine, options.jobs, rates))
        _print(console, f"{options.jobs:,} jobs in flight, {engine}", rows)
    with tempfile.TemporaryDirectory(prefix="phaya-bench-") as folder:
        _print(console, "the sandbox as provider", asyncio.run(_hold(Path(folder), options.jobs)))


def _print(console: Console, title: str, rows: Rows) -> None:
    table = Table("measured", "value", "how", title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


async def _measure(folder: Path, engine: str, count: int, rates: Sequence[float]) -> Rows:
    port, provider = machine.free_port(), machine.free_port()
    async with contextlib.AsyncExitStack() as stack:
        values = {
            "PHAYA_DATA_DIR": str(folder / "data"),
            "PHAYA_SECRET": SECRET,
            "PHAYA_LOG_LEVEL": "warning",
            "PHAYA_ALLOWED_NETWORKS": "127.0.0.0/8",
            "KIE_API_KEY": ",".join(KEYS),
            "PHAYA_ACCOUNT_JOBS": "1000000",  # all are of one account
            "KIE_BASE_URL": f"http://127.0.0.1:{provider}",
        }
        if engine == "postgresql":
            values["PHAYA_DATABASE_URL"] = stack.enter_context(servers.postgres()).new_database()
        bench = Bench(folder, values, port, f"http://127.0.0.1:{provider}")
        await stack.enter_async_context(
            machine.started(folder / "provider.log", str(HERE / "stand_in.py"), f"{provider}")
        )
        await machine.answered(f"{bench.provider}/bench/created")
        before, busy = machine.load()
        rows = await bench.measure(count, rates)
        after, now_busy = machine.load()
        share = f"{100 * (now_busy - busy) / (after - before):.0f} %"
        return [*rows, ("all cores busy", share, "with everything that ran on the machine, from begin to end")]


class Bench:
    """One node on one database, and its provider."""

    def __init__(self, folder: Path, values: dict[str, str], port: int, provider: str) -> None:
        self._folder = folder
        self._values = values
        self._port = port
        self._url = f"http://127.0.0.1:{port}"
        self.provider = provider
        self.rows: Rows = []

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncGenerator[tuple[machine.Process, float]]:
        arguments = ("-m", "phaya", "serve", "--port", str(self._port))
        async with machine.started(self._folder / "phaya.log", *arguments, **self._values) as process:
            yield process, await machine.answered(f"{self._url}/readyz")

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncGenerator[Database]:
        url = self._values.get("PHAYA_DATABASE_URL")
        database = Embedded(self._folder / "data") if url is None else await PostgreSQL(url).open()
        try:
            yield database
        finally:
            await database.close()

    def _tell(self, what: str, value: str, how: str) -> None:
        self.rows.append((what, value, how))
        print(f"  {what}: {value}", file=sys.stderr, flush=True)

    async def measure(self, count: int, rates: Sequence[float]) -> Rows:
        async with self._serving() as (node, _):
            self._tell("memory of an empty node", f"{node.megabytes:.0f} MB", "resident, one process")
        asked = ("--account", "bench@phaya.example", "--credits", str(count * 2), "--rate", "1000000", "--json")
        made = orjson.loads(await machine.run("-m", "phaya", "keys", "create", *asked, **self._values))
        began = time.monotonic()
        async with self._database() as database:
            opened = await fill(database, count, KEYS, SystemClock().now(), look_in=FAR)
        self._tell("jobs written in bulk", f"{count:,}", f"in {time.monotonic() - began:.0f} s, each with its charge")
        async with self._serving() as (node, _):
            await node.kill()
        async with self._serving() as (node, seconds):
            self._tell("ready after kill -9", f"{seconds:.2f} s", "from exec until /readyz answers 200")
            await asyncio.sleep(3)
            memory = node.megabytes
            idle = await node.share(IDLE_SECONDS)
            self._tell("memory with all in flight", f"{memory:.0f} MB", "resident, one process")
            self._tell("idle CPU", f"{idle:.1f} %", f"of one core over {IDLE_SECONDS} s, no look due")
            await self._create(made["key"], 500)
            waiting = iter(opened)
            await self._end(node, [next(waiting) for _ in range(min(BURST, count // 4))], 0)
            for rate in rates:
                ended = [next(waiting) for _ in range(min(int(rate * STEADY_SECONDS), count // 8))]
                await self._end(node, ended, rate)
            await self._repeat(node, opened[: min(BURST, count // 4)])
            self._tell("memory afterwards", f"{node.megabytes:.0f} MB", "resident, one process")
        began = time.monotonic()
        found = orjson.loads(await machine.run("-m", "phaya", "check", "--json", **self._values))
        faults = len(found["faults"])
        self._tell("phaya check", f"{faults} faults", f"in {time.monotonic() - began:.1f} s, with its start")
        return self.rows

    async def _create(self, key: str, count: int) -> None:
        """Jobs through the API, eight clients at a time."""
        url, left = f"{self._url}/api/v1/text-to-image/generate", iter(range(count))
        headers = {"Authorization": f"Bearer {key}"}

        async def client(session: aiohttp.ClientSession) -> None:
            for number in left:
                body = {"prompt": f"A lighthouse, bought now, number {number}"}
                async with session.post(url, json=body, headers=headers) as answer:
                    assert answer.status == 200, await answer.text()

        began = time.monotonic()
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(client(session) for _ in range(8)))
        rate = count / (time.monotonic() - began)
        self._tell("jobs created by the API", f"{rate:.0f} a second", f"{count} from 8 clients, submitted meanwhile")
        await asyncio.sleep(2)

    async def _end(self, node: machine.Process, tasks: Sequence[Open], rate: float) -> None:
        """Lets tasks end at the provider, and watches the database for the ends of their jobs."""
        ids = {job.id: job.ticket for job in tasks}
        seen: dict[str, float] = {}
        before, began = node.cpu, time.monotonic()
        watching = asyncio.create_task(self._watch(ids, seen))
        told = await self._call_back(tasks, rate)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(watching)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        elapsed = time.monotonic() - began
        sent: dict[str, Any] = told["sent"]
        waits = [seen[ticket] - sent[ticket][0] for ticket in sent if ticket in seen]
        name = f"at {rate:.0f} callbacks a second" if rate else "callbacks at once"
        self._tell(f"{name}: accepted", f"{len(sent) / told['seconds']:.0f} a second", self._answers(told, len(tasks)))
        each = 1000 * (node.cpu - before) / max(1, len(seen))
        self._tell(
            f"{name}: job completed",
            f"p50 {machine.percentile(waits, 0.5):.2f} s, p99 {machine.percentile(waits, 0.99):.2f} s",
            f"after its callback was sent; {len(seen)} ended, {len(seen) / elapsed:.0f} a second, {each:.1f} ms of CPU",
        )

    async def _repeat(self, node: machine.Process, tasks: Sequence[Open]) -> None:
        """The callbacks of ended jobs once more: all that a callback costs, without the end that it leads to."""
        before = node.cpu
        told = await self._call_back(tasks, 0)
        each = 1000 * (node.cpu - before) / len(tasks)
        rate = f"{len(tasks) / told['seconds']:.0f} a second"
        self._tell("callbacks alone: accepted", rate, f"{self._answers(told, len(tasks))}; {each:.1f} ms of CPU each")

    async def _call_back(self, tasks: Sequence[Open], rate: float) -> dict[str, Any]:
        """Lets the provider end tasks and call back."""
        address, secret = f"{self._url}/api/v1/text-to-image/callback", SECRET.encode()
        letters = [(job.ticket, f"{address}?job={job.id}&token={callback_token(secret, job.id)}") for job in tasks]
        order = orjson.dumps({"tasks": letters, "rate": rate})
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session,
            session.post(f"{self.provider}/bench/end", data=order) as answer,
        ):
            return orjson.loads(await answer.read())

    @staticmethod
    def _answers(told: dict[str, Any], count: int) -> str:
        waits = [1000 * answered for _, answered in told["sent"].values()]
        good = len(waits) - told["refused"]
        p50, p99 = machine.percentile(waits, 0.5), machine.percentile(waits, 0.99)
        return f"{good} of {count}, answered within p50 {p50:.0f} ms, p99 {p99:.0f} ms"

    async def _watch(self, ids: dict[str, str], seen: dict[str, float]) -> None:
        """Notes when the database first shows each of these jobs as ended, as any other reader of it sees them."""
        since = SystemClock().now() - 1000
        async with self._reader() as read:
            while len(seen) < len(ids):
                found = await read(since)
                now = time.time()
                for job_id, ended_at in found:
                    if job_id in ids:
                        seen.setdefault(ids[job_id], now)
                    since = max(since, ended_at - 1000)  # what was written together may end at different moments
                await asyncio.sleep(LOOKING)

    @contextlib.asynccontextmanager
    async def _reader(self) -> AsyncGenerator[Callable[[int], Awaitable[list[tuple[str, int]]]]]:
        """Reads the jobs that ended since a moment, over a connection of its own that cannot write."""
        if (url := self._values.get("PHAYA_DATABASE_URL")) is not None:
            database = PostgreSQL(url, connections=2)
            try:
                yield lambda since: database.read(_ended, since)
            finally:
                await database.close()
            return
        file = self._folder / "data" / "phaya.db"
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, check_same_thread=False)
        query = "SELECT id, ended_at FROM jobs WHERE results IS NOT NULL AND ended_at >= ?"
        try:
            yield lambda since: asyncio.to_thread(lambda: connection.execute(query, (since,)).fetchall())
        finally:
            connection.close()


def _ended(connection: Connection, since: int) -> list[tuple[str, int]]:
    found = select(jobs.c.id, jobs.c.ended_at).where(jobs.c.results.is_not(None), jobs.c.ended_at >= since)
    return [(row.id, row.ended_at) for row in connection.execute(found)]


async def _hold(folder: Path, count: int) -> Rows:
    """The sandbox with unfinished tasks that each owe a callback."""
    port = machine.free_port()
    url = f"http://127.0.0.1:{port}"
    values = {"PHAYA_DATA_DIR": str(folder), "PHAYA_LOG_LEVEL": "warning"}
    arguments = ("-m", "phaya", "sandbox", "--port", str(port))
    rows: Rows = []
    async with machine.started(folder / "empty.log", *arguments, **values) as process:
        await machine.answered(f"{url}/sandbox/tasks")
        rows.append(("memory of an empty sandbox", f"{process.megabytes:.0f} MB", "resident"))
    tickets = await _accept(folder / "sandbox", count)
    async with machine.started(folder / "full.log", *arguments, **values) as process:
        seconds = await machine.answered(f"{url}/sandbox/tasks?prompt=none")
        rows.append(("ready again", f"{seconds:.2f} s", "from exec until it answers"))
        waits: list[float] = []
        async with aiohttp.ClientSession() as session:
            for number, ticket in enumerate(tickets[:: max(1, count // 1000)]):
                began = time.monotonic()
                address = f"{url}/api/v1/jobs/recordInfo?taskId={ticket}"
                async with session.get(address, headers={"Authorization": f"Bearer {KEYS[number % 100]}"}) as answer:
                    assert (await answer.json())["code"] == 200
                waits.append(1000 * (time.monotonic() - began))
        idle = await process.share(5)
        rows.append(
            ("memory with all tasks", f"{process.megabytes:.0f} MB", f"{count:,} unfinished, each owes a callback")
        )
        rows.append(
            (
                "a look",
                f"p50 {machine.percentile(waits, 0.5):.1f} ms, p99 {machine.percentile(waits, 0.99):.1f} ms",
                f"{len(waits)} looks, one after another",
            )
        )
        rows.append(("idle CPU", f"{idle:.1f} %", "of one core over 5 s"))
    return rows


async def _accept(folder: Path, count: int) -> list[str]:
    """Accepts tasks as its doors do, without their limit of 20 in 10 seconds."""
    records = Records(folder / "sandbox.db")
    await records.open()
    tasks = Tasks(records, SystemClock(), pace=1)
    asked: dict[str, JsonValue] = {
        "model": "z-image",
        "input": {"prompt": "A lighthouse", "aspect_ratio": "1:1"},
        "callBackUrl": "http://127.0.0.1:9/",
    }
    ending, tickets = ending_of("[slow 3600]"), list[str]()
    try:
        for _ in range(count):
            task = await tasks.create(
                "jobs",
                "z-image",
                "A lighthouse",
                asked,
                "http://127.0.0.1:9",
                ending,
                1,
                Decimal("0.8"),
                [("end", 1.0)],
            )
            tickets.append(task.id)
    finally:
        await records.close()
    return tickets


if __name__ == "__main__":
    main()
