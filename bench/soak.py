"""One server for a long time: requests of every kind, right and wrong, and jobs; memory and handles must stay flat.

    python bench/soak.py [--requests 1000000] [--jobs 10000] [--write]

`phaya serve` with SQLite on one core, KIE's stand-in (stand_in.py) and the load on the rest. Jobs are bought, and most
of them ended by callbacks, in rounds; between them come polls, mostly, and unknown jobs, wrong keys, broken bodies,
cancels, chats that nobody serves, waits and the lists. After a quarter, after half and at the end the load rests, and
memory, handles and threads are read (readings.py). The run fails where one of them is higher at the last rest than at
the first by more than it may, where an answer is of a status that its request cannot have, and where the books are not
exact afterwards (`phaya check`, every charge counted).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
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
from readings import Watch, excess, read, table
from reliability import write

REQUESTS, JOBS = 1_000_000, 10_000
CONNECTIONS, DEPTH = 16, 16
"""Connections of the load, and requests that each sends at a time, one behind the other."""
ROUND = 200
"""Jobs that are bought and ended together."""
DRAIN_SECONDS = 15
"""After the load, in which the provider ends what is left."""
PRICE = credits("1")
CREATE, STATUS = "/api/v1/text-to-image/create", "/api/v1/text-to-image/status/"
RESTS = {0.25: "after a quarter", 0.5: "after half", 1.0: "at the end"}


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


@dataclass
class Soak:
    """What a run did, and what was wrong with it."""

    load: Load
    watch: Watch
    bought: int = 0
    cancelled: int = 0
    seconds: float = 0
    wrong: list[str] = field(default_factory=list[str])

    async def run(self, url: str, kie: str, purses: Sequence[str], requests: int, jobs: int) -> None:
        """Buys, asks and ends in rounds, and rests in between."""
        rounds, ended = -(-jobs // ROUND), set[str]()
        rests = {max(1, round(rounds * share)) for share in RESTS}
        async with self.watch.sampling():
            for number in range(1, rounds + 1):
                began = time.monotonic()
                async with aiohttp.ClientSession() as session:
                    taken = await buy(session, url, purses, min(ROUND, jobs - self.bought))
                    self.bought += len(taken.ids)
                    for key, job in list(zip(taken.keys, taken.ids, strict=True))[::20]:
                        cancel = f"{url}/api/v1/text-to-image/cancel/{job}"
                        async with session.post(cancel, headers=subjects.bearer(key)) as answer:
                            self.cancelled += answer.status == 200
                    await self.load.send(mix(taken.keys[:20], taken.ids[:20]), requests // rounds)
                    await end(session, kie, ended)
                self.seconds += time.monotonic() - began
                if number == rounds:
                    await drain(kie, ended)
                if number in rests:
                    await self.watch.rest()

    async def prove(self, books: subjects.Books) -> str:
        """What the books say; what is wrong with them is noted."""
        found = orjson.loads(await machine.run("-m", "phaya", "check", "--json", **books.settings))
        async with books.open() as database:
            granted, nets, balances = await database.read(subjects.sums)
            states = await database.read(_states)
        done, charged = self.bought - self.cancelled, nets.get(PRICE.units, 0)
        exact = (
            nets == {PRICE.units: done} | ({0: self.cancelled} if self.cancelled else {})
            and states == {State.COMPLETED: done} | ({State.CANCELLED: self.cancelled} if self.cancelled else {})
            and balances == granted - charged * PRICE.units
        )
        self.wrong += [str(fault) for fault in found["faults"]]
        if not exact:
            left = f"charges {nets}, {balances} of {granted} left"
            self.wrong.append(f"{self.bought} jobs, {self.cancelled} cancelled; {states}, {left}")
        return (
            f"{charged:,} jobs charged, {self.cancelled:,} cancelled and paid back; "
            f"`phaya check` {'found faults' if found['faults'] else 'clean'}, "
            f"{'every charge and balance exact' if exact else 'MONEY NOT EXACT'}."
        )


async def drain(kie: str, ended: set[str]) -> None:
    """Ends what comes to the provider yet."""
    async with aiohttp.ClientSession() as session:
        for _ in range(DRAIN_SECONDS):
            await end(session, kie, ended)
            await asyncio.sleep(1)


async def soak(folder: Path, requests: int, jobs: int) -> tuple[list[str], list[str]]:
    """The figures, in lines, and what was wrong."""
    async with contextlib.AsyncExitStack() as stack:
        kie = await stack.enter_async_context(subjects.provider(folder))
        books = await stack.enter_async_context(subjects.books(folder / "soak", "sqlite"))
        await books.endow(50)
        keys = ",".join(f"soak{number:03}" for number in range(200))  # the provider's own limits are not the subject
        async with subjects.serving(books, kie, KIE_API_KEY=keys) as phaya:
            done, start = Soak(Load(phaya.port), Watch(phaya.process)), read(phaya.process)
            await done.run(f"http://127.0.0.1:{phaya.port}", kie, books.purses, requests, jobs)
        money = await done.prove(books)
    rests, most, answers = done.watch.rests, done.watch.most, done.load.answers
    total = answers.total() + done.bought
    lines = [
        f"{total:,} requests, of which {done.bought:,} bought jobs, in {done.seconds:.0f} s "
        f"({total / done.seconds:,.0f} a second, without the rests): {money}",
        "",
        *table(start, rests, most, list(RESTS.values())[-len(rests) :]),
        "",
        "Requests: " + ", ".join(f"{name} {count:,}" for name, count in answers.most_common()) + ".",
    ]
    return lines, [f"{count} x {name}" for name, count in done.load.wrong.items()] + done.wrong + excess(rests, most)


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
