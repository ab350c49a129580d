"""What an operator does by hand to money and jobs, as rows, on both databases."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, func, insert, select, update

import servers
from conftest import Clock
from phaya import inspection, jobs, keys, ledger, reconciliation, statements
from phaya.calls import KieTask, pack
from phaya.clock import DAY, HOUR, MINUTE
from phaya.closings import end_job
from phaya.credits import NOTHING, Credits, credits
from phaya.database import Database, Embedded
from phaya.errors import Conflict, Invalid, NotEnoughCredits, NotFound
from phaya.jobs import Job, State, Step
from phaya.ledger import Entry
from phaya.openings import open_job
from phaya.postgresql import PostgreSQL
from phaya.schema import accounts, deliveries, entries, idempotency
from phaya.schema import jobs as table
from phaya.schema import keys as key_table
from phaya.statements import Period

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Generator[servers.Postgres]:
    with servers.postgres() as running:
        yield running


@dataclass
class Books:
    """A database with an account of 100 credits, its key, and jobs made as rows."""

    database: Database
    clock: Clock
    account: str = ""
    key: str = ""
    made: list[str] = field(default_factory=list[str])

    async def begin(self) -> Books:
        account = await self.database.write(keys.open_account, "a@x.org", self.clock.now())
        _, key = await self.database.write(keys.mint, b"s", account, "k", self.clock.now())
        self.account, self.key = account.id, key.id
        await self.database.write(ledger.grant, account.id, credits("100"), "first", self.clock.now())
        return self

    async def job(self, price: str = "8", **values: Any) -> Job:
        now = self.clock.now()
        self.made.append("job")
        fresh = Job(
            id=f"job-{len(self.made)}", account_id=self.account, key_id=self.key, service="text-to-image", request="{}",
            call=pack(KieTask("z-image", {})), sandbox=True, price=credits(price), state=State.QUEUED, step=Step.OPEN,
            lane="remote", deadline_at=now + HOUR, created_at=now, next_at=now,
        )  # fmt: skip
        job = replace(fresh, **values)
        await self.database.write(open_job, job)
        return job

    async def completed(self, price: str = "8", cost: str = "8", **values: Any) -> Job:
        job = await self.job(price)
        return await self.database.write(end_job, job, self.clock.now(), State.COMPLETED, credits(cost), values)

    async def failed(self, code: str, **values: Any) -> Job:
        job = await self.job()
        given = {"error": "It failed.", "error_code": code, **values}
        return await self.database.write(end_job, job, self.clock.now(), State.FAILED, NOTHING, given)

    async def refund(self, job: Job, amount: str | None = None) -> ledger.Refund:
        given = None if amount is None else credits(amount)
        return await self.database.write(ledger.refund, job.id, given, "it was blurred", self.clock.now(), "Ann")

    async def balance(self) -> str:
        return str(await self.database.read(ledger.balance, self.account))

    async def order(self, command: Any, **asked: Any) -> dict[str, Any]:
        return await self.database.write(command, b"s", self.clock.now(), asked)

    async def listed(self, **asked: Any) -> dict[str, dict[str, Any]]:
        return {job["job_id"]: job for job in (await self.order(reconciliation.overview, **asked))["jobs"]}

    async def faults(self, **asked: Any) -> list[str]:
        return (await self.order(inspection.check, served=True, **asked))["faults"]

    async def break_it(self, statement: Any) -> None:
        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self.database.write(work)


@pytest.fixture(params=["sqlite", "postgresql"])
async def books(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncGenerator[Books]:
    if request.param == "sqlite":
        database: Database = Embedded(tmp_path)
    else:
        server: servers.Postgres = request.getfixturevalue("server")
        database = await PostgreSQL(server.new_database(), connections=4).open()
    yield await Books(database, clock).begin()
    await database.close()


async def test_an_adjustment_is_an_entry_with_reason_and_name(books: Books) -> None:
    after = await books.database.write(
        ledger.adjust, books.account, credits("-2.5"), "double invoice", books.clock.now(), "Ann"
    )

    newest = (await books.database.read(ledger.statement, books.account, 1))[0]
    assert (str(after), await books.balance()) == ("97.5", "97.5")
    assert ("adjustment", "-2.5", "double invoice", "Ann") == (
        newest.reason, str(newest.amount), newest.note, newest.actor,
    )  # fmt: skip
    assert await books.faults() == []


async def test_an_adjustment_never_goes_below_zero(books: Books) -> None:
    with pytest.raises(NotEnoughCredits, match=r"100\.5 needed, the balance is 100"):
        await books.database.write(ledger.adjust, books.account, credits("-100.5"), "r", books.clock.now(), "Ann")

    assert await books.balance() == "100"


async def test_a_balance_never_grows_beyond_what_it_can_hold(books: Books) -> None:
    most = credits("9223372036")
    for correct in (ledger.adjust, ledger.grant):
        with pytest.raises(Invalid, match="larger than Phaya can hold"):
            await books.database.write(correct, books.account, most, "r", books.clock.now(), "Ann")

    assert (await books.balance(), await books.faults()) == ("100", [])


async def test_a_refund_moves_job_key_and_balance_together(books: Books) -> None:
    job = await books.completed("8", cost="6")

    done = await books.refund(job, "2.5")

    [key] = await books.database.read(keys.listing, books.account)
    row = await books.database.read(jobs.find, job.id)
    assert row is not None
    assert ("2.5", "3.5", "96.5") == (str(done.amount), str(done.kept), str(done.balance))
    assert (str(row.returned), str(key[0].spent), await books.balance()) == ("4.5", "3.5", "96.5")
    assert await books.faults() == []


async def test_a_refund_without_an_amount_is_all_that_the_job_kept(books: Books) -> None:
    done = await books.refund(await books.completed("8", cost="6"))

    assert (str(done.amount), str(done.kept), await books.balance()) == ("6", "0", "100")


async def test_a_job_is_refunded_once_by_twenty_at_a_time(books: Books) -> None:
    job = await books.completed()

    answers = await asyncio.gather(*(books.refund(job, "1") for _ in range(20)), return_exceptions=True)

    assert sum(isinstance(answer, ledger.Refund) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) and "before" in str(answer) for answer in answers) == 19
    assert (await books.balance(), await books.faults()) == ("93", [])


async def test_what_cannot_be_refunded_is_refused_with_the_reason(books: Books) -> None:
    running, failed, done = await books.job(), await books.failed("provider_error"), await books.completed(cost="6")

    for job, amount, kind, told in (
        (running, None, Conflict, "has not ended"),
        (failed, None, Conflict, "of its price 8 everything was returned"),
        (done, "6.1", Invalid, "at most 6"),
        (done, "0", Invalid, "more than 0"),
        (replace(done, id="nothing"), None, NotFound, "no job nothing"),
    ):
        with pytest.raises(kind, match=told):
            await books.refund(job, amount)

    assert (await books.balance(), await books.faults()) == ("86", [])


async def text(books: Books, form: statements.Format, between: Period, chunk: int = 2, **options: Any) -> str:
    """A statement in chunks of a few entries."""

    async def read(after: int) -> Sequence[Entry]:
        return await books.database.read(statements.page, books.account, between, after, chunk)

    before = await books.database.read(statements.opening, books.account, between.begin)
    parts = statements.statement(form, "a@x.org", "THB", between, before, statements.pages(read), **options)
    return "".join([part async for part in parts])


async def test_a_statement_of_any_period_adds_up_to_the_balance(books: Books) -> None:
    start = books.clock.now()
    for number in range(7):
        books.clock.pass_seconds(3600)
        await books.completed("1.000000001", cost=f"0.{number + 1}")
    end = books.clock.now() + 1

    for hour in range(9):
        cut = start + hour * HOUR
        early = orjson.loads(await text(books, "json", Period(0, cut)))
        late = orjson.loads(await text(books, "json", Period(cut, end)))
        assert early["closing_balance"] == late["opening_balance"]
        rows = list(csv.DictReader(io.StringIO(await text(books, "csv", Period(cut, end)))))
        balance = credits(rows[0]["balance"])
        for row in rows[1:-1]:
            balance += credits(row["amount"])
            assert credits(row["balance"]) == balance
        assert ("opening balance", "closing balance") == (rows[0]["reason"], rows[-1]["reason"])
        assert rows[-1]["balance"] == str(balance) == await books.balance()


async def test_a_note_is_no_formula_and_an_amount_stays_a_number(books: Books) -> None:
    for note in ("=1+1", "+1", "-1", "@a", "plain"):
        await books.database.write(ledger.adjust, books.account, credits("-1"), note, books.clock.now(), "=Ann")

    table = csv.DictReader(io.StringIO(await text(books, "csv", Period(0, books.clock.now() + 1), actors=True)))
    rows = list(table)[2:-1]

    assert [row["note"] for row in rows] == ["'=1+1", "'+1", "'-1", "'@a", "plain"]
    assert {row["amount"] for row in rows} == {"-1"}
    assert {row["by"] for row in rows} == {"'=Ann"}


@pytest.mark.parametrize(
    ("begin", "end", "told"),
    [
        ("yesterday", None, "from: must be a date"),
        (None, "2026-13-01", "to: must be"),
        ("2026-02-02", "2026-02-01", "to: "),
    ],
)
def test_a_strange_period_is_refused_by_its_field(begin: str | None, end: str | None, told: str) -> None:
    if begin == "2026-02-02":
        assert statements.period(begin, "2026-02-02", 0).end == statements.period("2026-02-03", None, 1 << 50).begin
        end = "2026-02-01T23:00:00+02:00"
    with pytest.raises(Invalid, match=told):
        statements.period(begin, end, 1 << 50)


async def test_the_list_holds_what_is_or_was_in_doubt_and_nothing_else(books: Books) -> None:
    await books.completed()
    await books.failed("provider_error", spent="4")
    await books.failed("deadline")
    unsure = await books.job(step=Step.UNSURE, state=State.PROCESSING)
    watched = await books.failed("unknown", step=Step.WATCHING, next_at=books.clock.now() + MINUTE)
    given_up = await books.failed("deadline", step=Step.WATCHING)
    late = await books.failed("deadline", results='{"files":[],"sound":null,"facts":{}}', spent="12")
    costly = await books.failed("lost", spent="3")

    listed = await books.listed()

    assert {job.id for job in (unsure, watched, given_up, late, costly)} == listed.keys()
    assert listed[unsure.id]["next"].startswith("waits for a callback")
    assert (listed[watched.id]["account"], listed[watched.id]["returned"]) == ("a@x.org", "8")
    assert listed[watched.id]["next_at"] is not None
    assert listed[given_up.id]["next"] == "nothing: it is no longer looked for"
    assert (listed[late.id]["late_result"], listed[late.id]["provider_spent"]) == (True, "12")
    assert listed[costly.id]["next"] == "nothing: the provider charged for it"


async def test_the_list_comes_in_pages_without_a_gap(books: Books) -> None:
    made = {(await books.failed("unknown", step=Step.WATCHING)).id for _ in range(7)}
    found: list[str] = []
    after: list[Any] | None = None
    while True:
        page = await books.order(reconciliation.overview, after=after, limit=3)
        found += [job["job_id"] for job in page["jobs"]]
        if (after := page["next"]) is None:
            break

    assert (len(found), set(found)) == (7, made)


async def test_a_watched_job_can_be_looked_at_now_even_if_it_was_given_up(books: Books) -> None:
    job = await books.failed("deadline", step=Step.WATCHING)
    assert await books.database.write(jobs.claim, "remote", 9, books.clock.now(), MINUTE) == []

    await books.order(reconciliation.look, job=job.id)

    assert [job.id] == [
        one.id for one in await books.database.write(jobs.claim, "remote", 9, books.clock.now(), MINUTE)
    ]


async def test_closing_ends_the_watching_and_keeps_who_and_why(books: Books) -> None:
    job = await books.failed("deadline", step=Step.WATCHING, next_at=books.clock.now(), trouble="no answer")
    [held] = await books.database.write(jobs.claim, "remote", 9, books.clock.now(), MINUTE)

    await books.order(reconciliation.close, job=job.id, by="Ann", reason="credited by KIE")

    with pytest.raises(jobs.Lost):
        await books.database.write(jobs.change, held, books.clock.now(), next_at=books.clock.now())
    row = await books.database.read(jobs.find, job.id)
    assert row is not None
    assert (row.step, row.next_at, row.trouble) == (
        Step.DONE, None, "closed by Ann: credited by KIE (before: no answer)",
    )  # fmt: skip
    assert await books.listed() == {}
    assert list(await books.listed(all=True)) == [job.id]
    assert await books.faults() == []


async def test_what_is_not_over_cannot_be_closed_and_what_is_known_not_looked_for(books: Books) -> None:
    unsure = await books.job(step=Step.UNSURE, state=State.PROCESSING)
    late = await books.failed("deadline", spent="1")

    with pytest.raises(Conflict, match="has not ended"):
        await books.order(reconciliation.close, job=unsure.id, by="A", reason="r")
    with pytest.raises(Conflict, match="the provider has answered"):
        await books.order(reconciliation.look, job=late.id)
    with pytest.raises(NotFound, match="on the list"):
        await books.order(reconciliation.look, job=(await books.completed()).id)


async def test_each_wrong_row_is_one_line_of_the_check(books: Books) -> None:
    done, running = await books.completed(), await books.job()
    assert await books.faults() == []
    now = books.clock.now()
    await books.break_it(update(table).where(table.c.id == done.id).values(step="dreaming"))
    assert await books.faults() == [
        f"job {done.id} is at an unknown step: state completed, step dreaming",
        f"job {done.id} has ended, but its step does not say so: state completed, step dreaming",
    ]
    await books.break_it(update(table).where(table.c.id == done.id).values(step="done"))
    for statement, undo, told in (
        (
            update(table).where(table.c.id == running.id).values(next_at=None),
            update(table).where(table.c.id == running.id).values(next_at=now),
            "has not ended, and nothing is left to do",
        ),
        (
            update(accounts).values(balance=accounts.c.balance + 1),
            update(accounts).values(balance=accounts.c.balance - 1),
            "account a@x.org: balance 84.000000001, entries say 84",
        ),
        (
            update(key_table).values(cap=1),
            update(key_table).values(cap=None),
            "entries say 16, its cap is 0.000000001",
        ),
        (
            update(entries).where(entries.c.reason == "grant").values(reason="gift"),
            update(entries).where(entries.c.reason == "gift").values(reason="grant"),
            "gift of 100 for job None cannot be",
        ),
        (
            update(entries).where(entries.c.reason == "grant").values(reason="adjustment"),
            update(entries).where(entries.c.reason == "adjustment").values(reason="grant"),
            "adjustment of 100 for job None cannot be",
        ),
        (
            insert(idempotency).values(
                account_id=books.account, key="k", fingerprint="f", job_id="gone", created_at=now
            ),
            idempotency.delete(),
            "stands for job gone, which does not exist",
        ),
        (
            insert(deliveries).values(
                id="d", account_id=books.account, event="e", url="u", state="pending", created_at=now
            ),
            deliveries.delete(),
            "delivery d has not ended",
        ),
    ):
        await books.break_it(statement)
        faults = await books.faults()
        assert len(faults) == 1, faults
        assert told in faults[0]
        await books.break_it(undo)
        assert await books.faults() == []


async def test_a_refund_that_is_missing_from_the_job_is_found(books: Books) -> None:
    job = await books.completed()
    await books.refund(job, "3")
    await books.break_it(update(table).values(returned=0))

    assert await books.faults() == [
        f"job {job.id} is completed: price 8, returned 0; entries say charged 8, returned 3"
    ]


async def test_work_that_nobody_does_is_a_fault_unless_the_database_is_at_rest(books: Books) -> None:
    await books.job()
    await books.job()
    await books.database.write(jobs.claim, "remote", 1, books.clock.now(), MINUTE)
    delivery = {"id": "d", "account_id": books.account, "event": "e", "url": "u", "state": "pending"}
    await books.break_it(insert(deliveries).values(**delivery, created_at=0, next_at=books.clock.now()))
    books.clock.pass_seconds(599)
    assert await books.faults() == []
    books.clock.pass_seconds(100)

    assert sorted(await books.faults()) == [
        "lane remote: 1 claims ended up to 10 minutes ago, and nobody took the jobs over",
        "lane remote: 1 jobs have been due for up to 11 minutes",
        "webhooks: 1 deliveries have been due for up to 11 minutes",
    ]
    assert await books.faults(at_rest=True) == []


async def test_a_thousand_faults_are_named_and_the_others_counted(books: Books) -> None:
    def make(connection: Connection) -> None:
        connection.execute(
            insert(accounts),
            [{"id": f"a{n}", "email": f"{n}@x.org", "balance": 1, "created_at": 0} for n in range(1500)],
        )

    await books.database.write(make)

    faults = await books.faults()

    assert (len(faults), faults[-1]) == (1001, "and 500 more")


async def test_only_results_within_their_time_must_have_files(books: Books) -> None:
    def kept(name: str) -> str:
        return orjson.dumps({"files": [{"key": f"{name}.png"}], "sound": f"{name}.m4a", "facts": {}}).decode()

    await books.completed("1", "1", results=kept("old"))
    books.clock.pass_seconds(13.99 * DAY / 1000)
    new = await books.completed("1", "1", results=kept("new"))

    page = await books.order(inspection.stored, media_days=14, after=[0, ""])

    assert page == {"files": [[new.id, "new.png"], [new.id, "new.m4a"]], "next": None}


async def test_entries_of_the_audit_are_counted_with_those_by_hand(books: Books) -> None:
    await books.refund(await books.completed("8", "5"), "2")
    await books.database.write(ledger.adjust, books.account, Credits(-1), "r", books.clock.now(), "Ann")

    total = await books.database.read(lambda c: int(c.execute(select(func.sum(entries.c.amount))).scalar_one()))

    assert total == credits(await books.balance()).units
    assert await books.faults() == []
