"""One server for a long time: requests of every kind, right and wrong, and jobs; memory and handles must stay flat.

    python bench/soak.py [--requests 1000000] [--jobs 10000] [--write]

`phaya serve` with SQLite on one core, KIE's stand-in (stand_in.py) and the load on the rest. Jobs are bought, and most
of them ended by callbacks, in rounds; between them come polls, mostly, and unknown jobs, wrong keys, broken bodies,
cancels, chats that nobody serves, waits and the lists. Memory, file handles and threads are sampled every two seconds.
The run fails where one of them grows after the first quarter by more than its slope allows, where an answer is of a
status that its request cannot have, and where the books are not exact afterwards (`phaya check`, every charge counted).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from sqlalchemy import Connection, func, select

import machine
import subjects
from load import request
from phaya.credits import credits
from phaya.jobs import State
from phaya.schema import jobs as rows
from reliability import write

REQUESTS, JOBS = 1_000_000, 10_000
SAMPLE_SECONDS = 2
CONNECTIONS, DEPTH = 16, 16
"""Connections of the load, and requests that each sends at a time, one behind the other."""
ROUND = 200
"""Jobs that are bought and ended together."""
DRAIN_SECONDS = 15
"""After the load, in which the provider ends what is left; not sampled."""
PRICE = credits("1")
CREATE, STATUS = "/api/v1/text-to-image/create", "/api/v1/text-to-image/status/"
GROWTH = {"memory": 12.0, "handles": 16.0, "threads": 4.0}
"""What may be added from the end of the first quarter to the end: MB, handles, threads."""


@dataclass
class Samples:
    """Readings of one process over time."""

    seconds: list[float] = field(default_factory=list[float])
    readings: dict[str, list[float]] = field(default_factory=lambda: {name: list[float]() for name in GROWTH})

    def take(self, process: machine.Process, moment: float) -> None:
        """Reads memory, handles and threads."""
        folder = Path(f"/proc/{process.pid}")
        self.seconds.append(moment)
        self.readings["memory"].append(process.megabytes)
        self.readings["handles"].append(len(list((folder / "fd").iterdir())))
        self.readings["threads"].append(len(list((folder / "task").iterdir())))

    def grown(self) -> dict[str, float]:
        """By how much each has grown after the first quarter: the slope of the least squares, over that time."""
        first = len(self.seconds) // 4
        seconds = self.seconds[first:]
        return {
            name: statistics.linear_regression(seconds, values[first:]).slope * (seconds[-1] - seconds[0])
            for name, values in self.readings.items()
        }


def excess(grown: dict[str, float]) -> list[str]:
    """What has grown by more than it may."""
    return [
        f"{name} grew by {value:.1f}, more than {GROWTH[name]:g}"
        for name, value in grown.items()
        if value > GROWTH[name]
    ]


@dataclass(frozen=True)
class Kind:
    """A request of the mix, and the statuses that it may be answered with."""

    name: str
    sent: bytes
    statuses: frozenset[int]
    weight: int


def mix(keys: Sequence[str], ids: Sequence[str]) -> list[Kind]:
    """Requests on these jobs by their owners, each job by the key that bought it."""
    made: list[Kind] = []
    for key, job in zip(keys, ids, strict=True):
        mine, strange = subjects.bearer(key), subjects.bearer("phaya_sk_" + "x" * 40)
        body = {"prompt": 7, "aspect_ratio": "99:1"}
        bad = request("POST", CREATE, mine, {"prompt": "x"}).replace(b'{"prompt":"x"}', b'{"prompt":"x"(')
        made += [
            Kind("poll", request("GET", STATUS + job, mine), frozenset((200,)), 80),
            Kind("unknown job", request("GET", STATUS + job[:-2] + "zz", mine), frozenset((400, 404)), 3),
            Kind("wrong key", request("GET", STATUS + job, strange), frozenset((401, 429)), 3),
            Kind("no key", request("GET", STATUS + job), frozenset((401, 429)), 2),
            Kind("wrong fields", request("POST", CREATE, mine, body), frozenset((400, 422)), 3),
            Kind("broken JSON", bad, frozenset((400, 422)), 3),
            Kind("job list", request("GET", "/api/v1/jobs?limit=2", mine), frozenset((200,)), 1),
            Kind("short wait", request("GET", STATUS + job + "?wait=0.05", mine), frozenset((200, 400, 422, 503)), 1),
            Kind("chat", request("POST", "/v1/chat/completions", mine, {"model": "m", "messages": []}),
                 frozenset((400, 404, 422, 503)), 1),
            Kind("no route", request("GET", "/api/v1/nothing", mine), frozenset((404,)), 3),
        ]  # fmt: skip
    return made


class Load:
    """Sends a mix over its own connections, several requests in one write, and looks at the status of every answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    async def send(self, kinds: Sequence[Kind], count: int) -> None:
        """So many requests, over all connections, in the proportions of their weights."""
        turn = [kind for kind in kinds for _ in range(kind.weight)]
        each = -(-count // CONNECTIONS)
        await asyncio.gather(*(self._one(turn, number * 997, each) for number in range(CONNECTIONS)))

    async def _one(self, turn: Sequence[Kind], place: int, count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        try:
            while count > 0:
                batch = [turn[(place + number * 31) % len(turn)] for number in range(min(DEPTH, count))]
                place, count = place + 31 * len(batch), count - len(batch)
                writer.write(b"".join(kind.sent for kind in batch))
                for kind in batch:
                    status = await _status(reader)
                    self.answers[kind.name] += 1
                    if status not in kind.statuses:
                        self.wrong[f"{kind.name}: {status}"] += 1
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, whose body is read and thrown away."""
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        _, found, rest = lowered.partition(b"content-length:")
        if not found:
            raise AssertionError(f"an answer without a length: {head[:200]!r}")
        await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
        return int(head[9:12])


@dataclass
class Round:
    """Jobs that were bought: by which key each, and what of them is left to end."""

    keys: list[str]
    ids: list[str]


async def buy(session: aiohttp.ClientSession, url: str, purses: Sequence[str], count: int) -> Round:
    """Buys jobs, some at a time. Raises AssertionError where one is refused."""
    keys, ids = list[str](), list[str]()
    gate = asyncio.Semaphore(32)

    async def one(number: int) -> None:
        key = purses[number % len(purses)]
        async with (
            gate,
            session.post(url + CREATE, json={"prompt": f"Sea {number}"}, headers=subjects.bearer(key)) as answer,
        ):
            told: dict[str, Any] = orjson.loads(await answer.read())
            assert answer.status == 200, told
            keys.append(key)
            ids.append(told["job_id"])

    await asyncio.gather(*(one(number) for number in range(count)))
    return Round(keys, ids)


async def end(session: aiohttp.ClientSession, kie: str, ended: set[str]) -> None:
    """Has the provider end, with a callback, each task that it has and that is not in `ended`."""
    async with session.get(f"{kie}/bench/created") as answer:
        created: list[list[str]] = orjson.loads(await answer.read())["tasks"]
    fresh = [task for task in created if task[0] not in ended]
    ended |= {task[0] for task in fresh}
    async with session.post(f"{kie}/bench/end", json={"tasks": fresh, "rate": 0}) as answer:
        assert answer.status == 200


def _states(connection: Connection) -> dict[State, int]:
    counted = connection.execute(select(rows.c.state, func.count()).group_by(rows.c.state))
    return {State(state): int(count) for state, count in counted}


@contextlib.asynccontextmanager
async def sampling(process: machine.Process, samples: Samples) -> AsyncGenerator[None]:
    """Samples for as long as the block lasts."""
    began = time.monotonic()

    async def sample() -> None:
        while True:
            samples.take(process, time.monotonic() - began)
            await asyncio.sleep(SAMPLE_SECONDS)

    running = asyncio.create_task(sample())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def soak(folder: Path, requests: int, jobs: int) -> tuple[list[str], list[str]]:
    """The figures, in lines, and what was wrong."""
    samples, cancelled, bought = Samples(), 0, 0
    async with contextlib.AsyncExitStack() as stack:
        kie = await stack.enter_async_context(subjects.provider(folder))
        prepared = await stack.enter_async_context(subjects.books(folder / "soak", "sqlite"))
        await prepared.endow(50)
        keys = ",".join(f"soak{number:03}" for number in range(200))  # the provider's own limits are not the subject
        phaya = await stack.enter_async_context(subjects.serving(prepared, kie, KIE_API_KEY=keys))
        url, load, began = f"http://127.0.0.1:{phaya.port}", Load(phaya.port), time.monotonic()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        rounds, ended = -(-jobs // ROUND), set[str]()
        async with sampling(phaya.process, samples):
            for _ in range(rounds):
                taken = await buy(session, url, prepared.purses, min(ROUND, jobs - bought))
                bought += len(taken.ids)
                for key, job in list(zip(taken.keys, taken.ids, strict=True))[::20]:
                    async with session.post(
                        f"{url}/api/v1/text-to-image/cancel/{job}", headers=subjects.bearer(key)
                    ) as answer:
                        cancelled += answer.status == 200
                await load.send(mix(taken.keys[:20], taken.ids[:20]), requests // rounds)
                await end(session, kie, ended)
        seconds = time.monotonic() - began
        for _ in range(DRAIN_SECONDS):
            await end(session, kie, ended)
            await asyncio.sleep(1)
    found = orjson.loads(await machine.run("-m", "phaya", "check", "--json", **prepared.settings))
    wrong = [f"{count} x {name}" for name, count in load.wrong.items()] + [str(fault) for fault in found["faults"]]
    async with prepared.open() as database:
        granted, nets, balances = await database.read(subjects.sums)
        states = await database.read(_states)
    charged = nets.get(PRICE.units, 0)
    exact = (
        nets == {PRICE.units: bought - cancelled} | ({0: cancelled} if cancelled else {})
        and states == {State.COMPLETED: bought - cancelled} | ({State.CANCELLED: cancelled} if cancelled else {})
        and balances == granted - charged * PRICE.units
    )
    if not exact:
        wrong.append(f"{bought} jobs, {cancelled} cancelled; {states}, charges {nets}, {balances} of {granted} left")
    grown = samples.grown()
    wrong += excess(grown)
    total = sum(load.answers.values())
    lines = [
        f"{total + bought:,} requests and {bought:,} jobs in {seconds:.0f} s "
        f"({(total + bought) / seconds:,.0f} a second): {charged:,} jobs charged, "
        f"{cancelled:,} cancelled and paid back; `phaya check` {'found faults' if found['faults'] else 'clean'}, "
        f"{'every charge and balance exact' if exact else 'MONEY NOT EXACT'}.",
        "",
        "| Reading | First | After a quarter | Last | Growth after the first quarter | Allowed |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in samples.readings.items():
        moments = " | ".join(f"{value:.0f}" for value in (values[0], values[len(values) // 4], values[-1]))
        lines.append(f"| {name} | {moments} | {grown[name]:+.1f} | {GROWTH[name]:g} |")
    lines += ["", "Requests: " + ", ".join(f"{name} {count:,}" for name, count in load.answers.most_common()) + "."]
    return lines, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="One server under load for long.")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--write", action="store_true", help="put the result into docs/reliability.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phaya-soak-") as folder:
        lines, wrong = asyncio.run(soak(Path(folder), options.requests, options.jobs))
    short = options.requests < REQUESTS or options.jobs < JOBS
    label = f" A SHORTER RUN than the whole one of {REQUESTS:,} requests and {JOBS:,} jobs." if short else ""
    head = f"{datetime.now(UTC):%Y-%m-%d}, {machine.described()}.{label}"
    text = "\n".join([head, "", *lines, *(f"\nWRONG: {one}" for one in wrong)])
    print(text)
    if options.write:
        write("soak", text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
