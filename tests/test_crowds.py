"""What runs for ever or for each job reads only what it needs, however many jobs wait: the statements themselves are
explained by the databases."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import uuid
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from conftest import BOTH, Clock
from crowd import fill
from phaya import jobs, keys, ledger, lines, schema
from phaya.allowances import Allowance, Census
from phaya.calls import Look, RemoteCall
from phaya.clock import DAY, MINUTE, SECOND
from phaya.closings import Closing, close_many, end_job
from phaya.credits import credits
from phaya.database import Database, Embedded
from phaya.decoding.decoder import Decoder
from phaya.idempotency import Answer
from phaya.jobs import Job, State, Step
from phaya.limits import Limits, Windows
from phaya.moves import Moves
from phaya.openings import Opening, open_many
from phaya.postgresql import PostgreSQL
from phaya.providers import Budget
from phaya.providers.ffmpeg import Ffmpeg
from phaya.providers.roster import Roster
from phaya.providers.sandbox.endings import ending_of
from phaya.providers.sandbox.records import Records
from phaya.providers.sandbox.tasks import KEPT, Tasks
from phaya.turns import LONGEST, Turns
from test_moves import Bench, Scripted, bench

__all__ = ["bench"]

pytestmark = pytest.mark.anyio

ENGINES = BOTH
CROWD = 20_000
LEASE = 20 * SECOND
MANY = Allowance(jobs=10**9, queued=10**9, bytes=10**12)
WHOLE = ("Seq Scan on jobs", "Seq Scan on entries", "SCAN jobs", "SCAN entries")
"""What a plan says where a whole table is read."""


@contextmanager
def explained(connection: Connection) -> Generator[list[str]]:
    """Gathers the plan of every statement that is executed inside; on SQLite they are there when it ends."""
    plans: list[str] = []
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN (COSTS OFF) "

    def plan(statement: str, parameters: Any) -> None:
        if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
            rows = connection.exec_driver_sql(explain + statement, parameters)
            plans.append("\n".join([statement, *(str(row[-1]) for row in rows)]))

    def note(_: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        plan(statement, parameters[0] if many else parameters)

    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        said: list[str] = []  # whoever says it, and with its values
        driver.set_trace_callback(said.append)
        try:
            yield plans
        finally:
            driver.set_trace_callback(None)
        for statement in dict.fromkeys(said):
            plan(statement, ())
        return
    event.listen(connection, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        event.remove(connection, "before_cursor_execute", note)


async def gather(database: Database, clock: Clock, count: int) -> None:
    """Jobs that wait for their looks, the first of them due now."""
    account = await database.write(keys.open_account, "a@x", clock.now())
    await database.write(keys.mint, b"s", account, "k", clock.now())
    await database.write(ledger.grant, account.id, credits("1000000"), "", clock.now())
    await fill(database, count, ("k1", "k2"), clock.now(), look_in=0, apart=10)
    if isinstance(database, PostgreSQL):
        await database.write(lambda connection: connection.exec_driver_sql("ANALYZE") and None)


async def test_no_move_reads_the_jobs_that_are_not_due(database: Database, clock: Clock) -> None:
    await gather(database, clock, CROWD)
    clock.pass_seconds(0.3)

    def work(connection: Connection) -> list[str]:
        with explained(connection) as plans:
            now = clock.now()
            taken, due = jobs.take(connection, {"remote": 8, "render": 2, "speech": 2, "download": 1}, now, LEASE)
            assert len(taken) == 8
            assert due is None
            others = jobs.alike(connection, taken[0], now, 500)
            assert 5 < len(others) < 50
            jobs.put_off(connection, [(one, now + MINUTE) for one in others])
            jobs.renew(connection, [(job.id, job.rev) for job in taken], now + LEASE)
            jobs.poke_all(connection, [(job.id, "ticket") for job in taken], now)
            assert jobs.extend(connection, taken[0], now + LEASE, 1)
            end_job(connection, taken[0], now, State.COMPLETED, taken[0].price, {"results": "{}"})
            end_job(connection, taken[1], now, State.FAILED, credits("0"), {"error": "no"})
            assert len(jobs.expired(connection, now + 1, 200)) == 1
            assert jobs.find(connection, taken[0].id) is not None
        return plans

    plans = await database.write(work)

    assert len(plans) > 12
    assert not [plan for plan in plans if any(whole in plan for whole in WHOLE)], "\n\n".join(plans)
    assert plans[0].count("ix_jobs_due") == 4, "one probe for each lane"
    assert "COVERING INDEX" in plans[0] or "Index Only Scan" in plans[0], plans[0]


async def test_halted_lines_are_looked_for_in_one_index(database: Database, clock: Clock) -> None:
    await gather(database, clock, CROWD)

    def work(connection: Connection) -> list[str]:
        with explained(connection) as plans:
            assert lines.halted(connection, 50) == []
        return plans

    [plan] = await database.write(work)

    assert "ix_jobs_open" in plan
    assert "Seq Scan on jobs" not in plan
    assert "ix_jobs_account_id_created_at" not in plan, "that would be the whole table"


async def test_no_purchase_reads_the_jobs_that_others_or_it_itself_have(database: Database, clock: Clock) -> None:
    await gather(database, clock, CROWD)
    account, key = await database.read(_owner)
    drafts = [_chat(account, key, clock.now(), step) for step in (Step.OPEN, Step.TALKING)]
    counted = Census()
    await database.write(open_many, [Opening([_chat(account, key, clock.now())], usual=MANY, census=counted)])

    def work(connection: Connection) -> list[str]:
        with explained(connection) as plans:
            outcomes = open_many(connection, [Opening([draft], usual=MANY, census=counted) for draft in drafts])
            assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
            closing = Closing(drafts[1], clock.now(), credits("0.5"), {}, None, lambda _: Answer("text/plain", b""))
            close_many(connection, [closing])
        return plans

    plans = await database.write(work)

    assert len(plans) > (5 if isinstance(database, PostgreSQL) else 10), "PostgreSQL writes all by one statement"
    assert not [plan for plan in plans if any(whole in plan for whole in WHOLE)], "\n\n".join(plans)
    assert not [plan for plan in plans if "count(" in plan and "LIMIT" not in plan], "nothing is counted again"


async def test_a_purchase_finds_its_rows_by_indexes_as_long_as_there_are_few(database: Database, clock: Clock) -> None:
    account = await database.write(keys.open_account, "a@x", clock.now())
    _, key = await database.write(keys.mint, b"s", account, "k", clock.now())
    await database.write(ledger.grant, account.id, credits("1000"), "", clock.now())

    def work(connection: Connection) -> list[str]:
        with explained(connection) as plans:
            opened = open_many(connection, [Opening([_chat(account.id, key.id, clock.now())])])
            assert not [outcome for outcome in opened if isinstance(outcome, Exception)]
        return plans

    plans = await database.write(work)

    # A plan is made once for a connection, and must still do when the tables have grown.
    whole = ("Seq Scan", *(f"SCAN {table}" for table in ("accounts", "keys", "jobs", "entries", "holdings")))
    assert len(plans) > 3
    assert not [plan for plan in plans if any(one in plan for one in whole)], "\n\n".join(plans)


def _owner(connection: Connection) -> tuple[str, str]:
    row = connection.execute(select(schema.keys.c.account_id, schema.keys.c.id)).one()
    return row.account_id, row.id


def _chat(account: str, key: str, now: int, step: Step = Step.OPEN) -> Job:
    return Job(
        id=str(uuid.uuid4()), account_id=account, key_id=key, service="phaya-gpt", request="{}", call="{}",
        sandbox=True, price=credits("1"), state=State.PROCESSING if step is Step.TALKING else State.QUEUED, step=step,
        lane="remote", deadline_at=now + MINUTE, created_at=now, next_at=now,
    )  # fmt: skip


async def test_the_jobs_of_a_crowd_are_put_off_unless_they_were_heard_of(database: Database, clock: Clock) -> None:
    await gather(database, clock, 10)
    clock.pass_seconds(0.3)
    taken, _ = await database.write(jobs.take, {"remote": 1}, clock.now(), LEASE)
    others = await database.read(jobs.alike, taken[0], clock.now(), 500)
    await database.write(jobs.poke, others[0].id, "ticket", clock.now())

    await database.write(jobs.put_off, [(one, clock.now() + MINUTE) for one in others])

    heard, put_off = [await database.read(jobs.find, one.id) for one in others[:2]]
    assert heard is not None
    assert put_off is not None
    assert (heard.next_at, put_off.next_at) == (clock.now(), clock.now() + MINUTE)


async def test_of_jobs_that_are_handed_back_together_only_the_lost_one_stays_as_it_is(
    database: Database, clock: Clock
) -> None:
    await gather(database, clock, 10)
    clock.pass_seconds(0.3)
    taken, _ = await database.write(jobs.take, {"remote": 4}, clock.now(), LEASE)
    await database.write(jobs.poke, taken[1].id, "ticket", clock.now())
    moved = await database.write(jobs.change, taken[2], clock.now(), hold=True, next_at=clock.now() + LEASE, attempts=7)
    later = clock.now() + MINUTE

    outcomes = await database.write(jobs.hand_back, [(job, later) for job in reversed(taken)], clock.now())

    first, heard, lost, last = [await database.read(jobs.find, job.id) for job in taken]
    assert outcomes[::-1] == [first, heard, outcomes[1], last]
    assert isinstance(outcomes[1], jobs.Lost)
    assert lost == moved
    assert [job and (job.next_at, job.claimed) for job in (first, heard, last)] == [
        (later, False), (clock.now(), False), (later, False),
    ]  # fmt: skip


def test_turns_follow_each_other_as_fast_as_the_budget_allows() -> None:
    turns = Turns(random.Random(1))

    taken = [turns.take("looks", 1_000, wait=0.5, rate=10) for _ in range(3)]

    assert taken == [1_500, 1_600, 1_700]
    assert turns.take("other looks", 1_000, wait=0, rate=10) == 1_000


def test_no_turn_is_later_than_the_longest() -> None:
    turns = Turns(random.Random(1))

    taken = [turns.take("looks", 0, wait=0, rate=1) for _ in range(2_000)]

    assert max(taken) <= LONGEST
    assert all(moment >= LONGEST / 2 for moment in taken[601:])


async def test_a_sandbox_full_of_tasks_reads_only_those_whose_time_has_come(tmp_path: Path) -> None:
    clock, seen = Clock(), list[str]()
    records = Records(tmp_path / "sandbox.db")
    await records.open()
    try:
        tasks = Tasks(records, clock, pace=1)

        async def accept(prompt: str) -> str:
            asked: dict[str, Any] = {"model": "z-image", "input": {}, "callBackUrl": "http://127.0.0.1:9/"}
            price, letters = Decimal("0.8"), [("end", 1.0)]
            task = await tasks.create("jobs", "z-image", prompt, asked, "", ending_of(prompt), 1, price, letters)
            return task.id

        for _ in range(2_000):
            await accept("[slow 3600]")
        await accept("[slow 1]")
        clock.pass_seconds(2)

        await records.read(lambda connection: connection.set_trace_callback(seen.append))
        await accept("[slow 3600]")
        [(letter, task)] = await tasks.due(clock.now(), 16, set())
        assert await tasks.find(task.id) == task
        assert await tasks.next_due(set()) == letter.due
        await tasks.delivered(letter)
        assert await tasks.next_due(set()) == clock.now() - 2 * SECOND + 3600 * SECOND
        assert await tasks.balance() == Decimal("99999.2")
        await tasks.forget_old()
        await records.read(lambda connection: connection.set_trace_callback(None))

        plans = await records.read(lambda connection: _plans(connection, seen))
    finally:
        await records.close()
    assert len(plans) > 8
    assert not [plan for plan in plans if "SCAN tasks" in plan and "LIMIT 1" not in plan], plans
    assert not [plan for plan in plans if "SCAN callbacks" in plan and "INDEX callbacks_due" not in plan], plans


async def test_the_sandbox_forgets_old_tasks_with_their_letters(tmp_path: Path) -> None:
    clock = Clock()
    records = Records(tmp_path / "sandbox.db")
    await records.open()
    try:
        tasks = Tasks(records, clock, pace=1)
        asked: dict[str, Any] = {"callBackUrl": "http://127.0.0.1:9/"}
        made: list[str] = []
        for _ in range(2):
            task = await tasks.create("jobs", "z-image", "", asked, "", ending_of(""), 1, Decimal(1), [("end", 1.0)])
            made.append(task.id)
            clock.pass_seconds(KEPT / 1000 - DAY / 1000)
        clock.pass_seconds(-KEPT / 1000 + 3 * DAY / 1000)

        await tasks.forget_old()

        assert [await tasks.find(one) is not None for one in made] == [False, True]
        assert [letter.task for letter, _ in await tasks.due(clock.now(), 16, set())] == made[1:]
    finally:
        await records.close()


def _plans(connection: sqlite3.Connection, statements: list[str]) -> list[str]:
    told = [one for one in statements if one.startswith(("SELECT", "UPDATE", "DELETE"))]
    explained = [(one, connection.execute(f"EXPLAIN QUERY PLAN {one}").fetchall()) for one in told]
    return ["\n".join([one, *(row["detail"] for row in rows)]) for one, rows in explained]


@dataclass
class Noting(Scripted):
    """Notes at which second each ticket is looked at."""

    clock: Clock = field(default_factory=Clock)
    seen: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    async def submit(self, call: RemoteCall, key: str, callback_url: str | None) -> str:
        await super().submit(call, key, callback_url)
        return f"ticket {self.submitted}"

    async def look(self, call: RemoteCall, key: str, ticket: str) -> Look:
        self.seen.setdefault(ticket, []).append(self.clock.now() // SECOND)
        return await super().look(call, key, ticket)


async def test_two_thousand_open_jobs_are_each_seen_within_their_interval(bench: Bench) -> None:
    """Looks at old tasks are half a minute apart; the provider's limit is kept all the while."""
    if not isinstance(bench.database, Embedded):
        pytest.skip("what is claimed when is the same on PostgreSQL, which only takes longer for it")
    count, interval, allowed, seconds = 2_000, 30, 200, 75
    provider = Noting(creations=Budget(count, 1), looks=Budget(allowed, 1), clock=bench.clock)
    bench.workflow.roster = Roster(provider, Ffmpeg(Decoder()))
    moves = Moves(bench.workflow, bench.moves.results, Limits(Windows(bench.clock)))
    await bench.database.write(ledger.grant, bench.account, credits(str(8 * count)), "", bench.clock.now())
    await asyncio.gather(*(bench.open() for _ in range(count)))

    async def move_all() -> None:
        while taken := await bench.database.write(jobs.claim, "remote", 200, bench.clock.now(), LEASE):
            await asyncio.gather(*(moves.advance(job) for job in taken))

    await move_all()
    bench.clock.pass_seconds(10 * 60)
    for _ in range(interval):  # all are overdue at once: they are given turns
        await move_all()
        bench.clock.pass_seconds(1)
    began = bench.clock.now() // SECOND
    for _ in range(seconds):
        await move_all()
        bench.clock.pass_seconds(1)

    looks = list(provider.seen.values())
    gaps = [later - earlier for times in looks for earlier, later in pairwise(times)]
    each_second = Counter(second for times in looks for second in times)
    assert (provider.submitted, len(looks)) == (count, count)
    assert max(gaps) <= interval + 2
    assert min(times[-1] for times in looks) >= began + seconds - interval - 2, "nobody is forgotten at the end"
    assert max(each_second.values()) <= allowed
