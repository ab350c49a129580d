"""The Phaya that is measured: its database with accounts, keys and jobs, and `phaya serve` on one core."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from sqlalchemy import Connection, func, select

import machine
from load import Load, Void
from phaya import keys, ledger
from phaya.clock import SystemClock
from phaya.credits import Credits, credits
from phaya.database import Database, Embedded
from phaya.postgresql import PostgreSQL
from phaya.schema import accounts, entries

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import servers

HERE = Path(__file__).parent
SECRET = "the benchmark's own"
KIE_KEY = "bench000"
PLENTY = 10**9
"""Requests a minute: the limits are on, and nobody reaches them."""
GRANTED = credits("1000000")


@dataclass
class Books:
    """A database that is prepared before a node serves it, and proven after it."""

    folder: Path
    url: str | None = None
    purses: list[str] = field(default_factory=list[str])
    """Keys, one of each account."""
    server: servers.Postgres | None = None
    spares: int = 0

    def spare(self) -> str:
        """Another place of the same kind, for whatever has tables of its own: a folder, or an empty database."""
        if self.server is not None:
            return self.server.new_database()
        self.spares += 1
        folder = self.folder / f"spare{self.spares}"
        folder.mkdir()
        return str(folder)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[Database]:
        database = Embedded(self.folder / "data") if self.url is None else await PostgreSQL(self.url).open()
        try:
            yield database
        finally:
            await database.close()

    @property
    def settings(self) -> dict[str, str]:
        """What a node on this database needs to be told."""
        values = {
            "PHAYA_DATA_DIR": str(self.folder / "data"),
            "PHAYA_SECRET": SECRET,
            "PHAYA_LOG_LEVEL": "warning",
            "PHAYA_ALLOWED_NETWORKS": "127.0.0.0/8",
            "PHAYA_REQUESTS_PER_MINUTE": str(PLENTY),
            "PHAYA_ACCOUNT_JOBS": str(PLENTY),
            "PHAYA_ACCOUNT_QUEUE": str(PLENTY),
            "PHAYA_POLLS_PER_MINUTE": str(PLENTY),
        }
        return values if self.url is None else values | {"PHAYA_DATABASE_URL": self.url}

    async def endow(self, count: int) -> None:
        """Opens so many accounts, each with a key and a grant."""
        async with self.open() as database:
            self.purses += await database.write(_endow, len(self.purses), count)

    async def proven(self, accepted: int, price: Credits, slack: int) -> str:
        """What the books say after a run in which clients had so many purchases at this price accepted.

        `slack` is how many more may have been bought by clients that left before they heard of it. Raises Void where
        balances, entries and purchases do not match to the last unit, or `phaya check` finds a fault.
        """
        async with self.open() as database:
            granted, nets, balances = await database.read(sums)
        exact = nets.pop(price.units, 0)
        others = sum(nets.values())
        if not accepted <= exact <= accepted + slack or others > slack:
            raise Void(f"{accepted} accepted, {exact} charged {price}, {others} charged otherwise")
        spent = exact * price.units + sum(net * count for net, count in nets.items())
        if balances != granted - spent:
            raise Void(f"{spent} units spent of {granted} cannot leave {balances}")
        found = orjson.loads(await machine.run("-m", "phaya", "check", "--json", **self.settings))
        if found["faults"]:
            raise Void(f"phaya check: {found['faults'][:2]}")
        return f"{exact:,} charges, every balance exact, `phaya check` clean"


def _endow(connection: Connection, start: int, count: int) -> list[str]:
    now, made = SystemClock().now(), list[str]()
    for number in range(start, start + count):
        account = keys.open_account(connection, f"bench{number}@phaya.example", now)
        text, _ = keys.mint(connection, SECRET.encode(), account, "bench", now, rate=PLENTY)
        ledger.grant(connection, account.id, GRANTED, "the benchmark's", now)
        made.append(text)
    return made


def sums(connection: Connection) -> tuple[int, dict[int, int], int]:
    """What was granted, how many jobs cost how much in the end, and what is left; all in units."""
    bought = entries.c.job_id.is_not(None)
    granted = connection.execute(select(func.sum(entries.c.amount)).where(~bought)).scalar_one()
    net = func.sum(entries.c.amount).label("net")
    each = select(net).where(bought).group_by(entries.c.job_id).subquery()
    counted = connection.execute(select(each.c.net, func.count()).group_by(each.c.net))
    nets = {-int(one): int(count) for one, count in counted}
    balances = connection.execute(select(func.sum(accounts.c.balance))).scalar_one()
    return int(granted), nets, int(balances)


@contextlib.asynccontextmanager
async def books(folder: Path, engine: str) -> AsyncGenerator[Books]:
    """An empty database; PostgreSQL is started beside it, on the cores that the node does not have."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if engine == "sqlite":
            yield Books(folder)
            return
        server = stack.enter_context(servers.postgres())
        assert server.process is not None
        machine.pin(server.process.pid, machine.REST)
        yield Books(folder, server.new_database(), server=server)


@dataclass
class Subject:
    """A server that is measured. `answers` counts what it answered to loads."""

    name: str
    port: int
    process: machine.Process
    answers: int = 0

    async def take(self, load: Load, connections: int, seconds: float, pause: int = 0) -> dict[str, float]:
        """Readings of one burst of a load. Raises Void."""
        before = self.process.all_cpu
        burst = await load.run(connections, seconds, pause=pause)
        used = self.process.all_cpu - before
        self.answers += burst.requests
        return {
            "rate": burst.rate,
            "each": burst.requests / used if used else 0,
            "p50": burst.p50,
            "p99": burst.p99,
            "cpu": 1e6 * used / burst.requests,
            "memory": self.process.all_megabytes,
        }


@contextlib.asynccontextmanager
async def provider(folder: Path) -> AsyncGenerator[str]:
    """KIE's stand-in, which holds every task until it is told to end it."""
    folder.mkdir(parents=True, exist_ok=True)
    port = machine.free_port()
    command = (sys.executable, str(HERE / "stand_in.py"), str(port))
    async with machine.spawned(folder / "provider.log", command, {}, machine.REST):
        await machine.answered(f"http://127.0.0.1:{port}/bench/created")
        yield f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def serving(
    prepared: Books,
    kie: str | None = None,
    openrouter: str | None = None,
    *,
    cores: Collection[int] = machine.SERVER,
    only: Sequence[str] = (),
    name: str = "Phaya",
    **values: str,
) -> AsyncGenerator[Subject]:
    """`phaya serve` on a prepared database, with the providers that are given."""
    if kie is not None:
        values = {"KIE_API_KEY": KIE_KEY, "KIE_BASE_URL": kie} | values
    if openrouter is not None:
        values |= {"OPENROUTER_API_KEY": "sk-or-v1-bench", "OPENROUTER_BASE_URL": openrouter}
    port = machine.free_port()
    lanes = [word for lane in only for word in ("--only", lane)]
    command = (sys.executable, "-m", "phaya", "serve", "--port", str(port), *lanes)
    log = prepared.folder / f"{uuid.uuid4().hex}.log"
    async with machine.spawned(log, command, prepared.settings | values, cores) as process:
        await machine.answered(f"http://127.0.0.1:{port}/readyz")
        yield Subject(name, port, process)


def bearer(key: str) -> dict[str, str]:
    """The header of a caller."""
    return {"Authorization": f"Bearer {key}"}
