"""Figures of the whole Phaya, as its database knows them: the same on every node. They are counted again only after a
while, so that it costs little however often, and from however many sides, they are read."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from contextvars import Context
from dataclasses import dataclass, field

import orjson
import structlog
from sqlalchemy import Connection, and_, case, func, select

from phaya import marks
from phaya.clock import SECOND, Clock
from phaya.database import Database
from phaya.errors import DatabaseDown
from phaya.jobs import State
from phaya.schema import accounts, deliveries, endpoints, entries, jobs

log = structlog.get_logger()

FRESH = 15.0
"""Seconds for which figures are taken to be true."""
SHARE = 20
"""Counting may take one part in so many of the time: where it takes long, it is done more rarely."""
PATIENCE = 5.0
"""Seconds that whoever reads waits for new figures; after that, the last ones are given."""
LEDGER = "ledger"
"""The mark of the last look at the ledger."""


@dataclass(frozen=True)
class Books:
    """What the last look at the ledger found. Times are milliseconds since 1970, `units` those of credits.py."""

    checked_at: int
    adrift: int
    """Accounts whose balance is not the sum of their entries."""
    units: int
    """By how much, all together."""


@dataclass(frozen=True)
class Figures:
    """How the whole stands. Ages are milliseconds."""

    counted_at: int
    open: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Jobs that have not ended, by service and state."""
    steps: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Jobs that something is still to be done for, by lane and step."""
    ages: dict[str, int] = field(default_factory=dict[str, int])
    """How long the oldest queued job of a lane has waited."""
    late: dict[str, int] = field(default_factory=dict[str, int])
    """By how much the job of a lane is overdue that nobody takes."""
    deliveries: int = 0
    """Deliveries of webhooks that are not over."""
    deliveries_late: int = 0
    endpoints: int = 0
    endpoints_disabled: int = 0
    books: Books | None = None


def count(connection: Connection, now: int) -> Figures:
    """Counts everything, in a few statements over what is not over."""
    found = Figures(now)
    queued = case((jobs.c.state == State.QUEUED.value, jobs.c.created_at))
    idle = case((~jobs.c.claimed, jobs.c.next_at))
    groups = (jobs.c.service, jobs.c.lane, jobs.c.state, jobs.c.step)
    rows = connection.execute(
        select(*groups, func.count().label("n"), func.min(queued).label("oldest"), func.min(idle).label("due"))
        .where(jobs.c.next_at.is_not(None))
        .group_by(*groups)
    )
    for row in rows:
        if not State(row.state).ended:
            found.open[row.service, row.state] += row.n
        found.steps[row.lane, row.step] += row.n
        if row.oldest is not None:
            found.ages[row.lane] = max(found.ages.get(row.lane, 0), now - row.oldest)
        if row.due is not None:
            found.late[row.lane] = max(found.late.get(row.lane, 0), now - row.due)
    told = connection.execute(
        select(func.count().label("n"), func.min(deliveries.c.next_at).label("due")).where(
            deliveries.c.next_at.is_not(None)
        )
    ).one()
    receivers = connection.execute(
        select(func.count().label("n"), func.count(endpoints.c.disabled_at).label("disabled"))
    ).one()
    return Figures(
        now,
        found.open,
        found.steps,
        found.ages,
        found.late,
        told.n,
        max(0, now - told.due) if told.due is not None else 0,
        receivers.n,
        receivers.disabled,
        books(connection),
    )


def books(connection: Connection) -> Books | None:
    """What the last look at the ledger found, by whichever node; None before the first one."""
    told = marks.read(connection, LEDGER)
    found: dict[str, int] = {} if told is None else orjson.loads(told)
    return Books(found["checked_at"], found["adrift"], found["units"]) if "checked_at" in found else None


def drift(connection: Connection) -> tuple[int, int]:
    """How many balances are not the sum of their entries, and by how many units together.

    One statement, and so one moment on every database. `phaya check` proves more, and names them.
    """
    sums = (
        select(entries.c.account_id, func.sum(entries.c.amount).label("total"))
        .group_by(entries.c.account_id)
        .subquery()
    )
    off = func.abs(accounts.c.balance - func.coalesce(sums.c.total, 0))
    row = connection.execute(
        select(func.count().label("n"), func.sum(off).label("units"))
        .select_from(accounts.outerjoin(sums, sums.c.account_id == accounts.c.id))
        .where(and_(off != 0))
    ).one()
    return row.n, int(row.units or 0)


class Census:
    """Figures, counted when somebody asks and they are old."""

    def __init__(self, database: Database, clock: Clock, fresh: float = FRESH) -> None:
        """`fresh` is for how many seconds figures are taken to be true, at the least."""
        self._database = database
        self._clock = clock
        self._fresh = fresh
        self._last: Figures | None = None
        self._again = 0.0
        self._counting: asyncio.Task[None] | None = None
        self.up = True
        """Whether the database answered when it was asked last."""
        self.writable = True
        """Whether it could be written then."""

    async def figures(self) -> Figures | None:
        """The last figures; None where there are none because the database does not answer."""
        if self._counting is None and time.monotonic() >= self._again:
            self._counting = asyncio.create_task(self._count(), context=Context())
        if self._counting is not None:
            await asyncio.wait((self._counting,), timeout=PATIENCE)
        return self._last if self.up else None

    async def _count(self) -> None:
        began = time.monotonic()
        self.writable = False
        try:
            self._last = await self._database.read(count, self._clock.now())
            self.up = True
            with contextlib.suppress(DatabaseDown):  # whoever failed to write has said why
                await self._database.ready()
                self.writable = True
        except Exception as error:  # noqa: BLE001 - whatever it is, there are no figures
            self.up = False
            log.warning("figures.missing", detail=repr(error))
        finally:
            took = time.monotonic() - began
            self._again = began + max(self._fresh, took * SHARE)
            self._counting = None


def seconds(milliseconds: int) -> float:
    """An age as Prometheus has it."""
    return max(0, milliseconds) / SECOND
