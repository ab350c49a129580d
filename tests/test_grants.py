"""Credits that expire: spent first, returned to where they came from, and taken once at their moment."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Connection, delete, event, func, select, update

from conftest import BOTH, Clock, Phaya
from phaya import grants, keys, ledger
from phaya.calls import KieTask, pack
from phaya.clock import DAY
from phaya.closings import end_job
from phaya.credits import Credits, credits
from phaya.database import Database
from phaya.errors import Invalid, NotEnoughCredits
from phaya.jobs import Job, State, Step
from phaya.openings import open_job
from phaya.schema import accounts, draws, entries
from phaya.schema import grants as rows

pytestmark = pytest.mark.anyio

ENGINES = BOTH


class Book:
    """An account with a key on a fresh database, in whole credits and days."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.account = self.key = ""
        self.jobs = 0

    async def open(self) -> Book:
        account = await self.database.write(keys.open_account, "a@x", self.clock.now())
        _, key = await self.database.write(keys.mint, b"s", account, "k", self.clock.now())
        self.account, self.key = account.id, key.id
        return self

    async def grant(self, amount: int, days: int | None = None) -> None:
        until = None if days is None else self.clock.now() + days * DAY
        await self.database.write(ledger.grant, self.account, credits(amount), "", self.clock.now(), expires_at=until)

    async def begin(self, price: int) -> Job:
        self.jobs += 1
        job = Job(
            id=f"job-{self.jobs}", account_id=self.account, key_id=self.key, service="text-to-image", request="{}",
            call=pack(KieTask("z-image", {})), sandbox=True, price=credits(price), state=State.QUEUED, step=Step.OPEN,
            lane="remote", deadline_at=self.clock.now() + DAY, created_at=self.clock.now(), next_at=self.clock.now(),
        )  # fmt: skip
        await self.database.write(open_job, job)
        return job

    async def end(self, job: Job, cost: int) -> None:
        state = State.COMPLETED if cost else State.FAILED
        await self.database.write(end_job, job, self.clock.now(), state, credits(cost), {})

    async def expire(self) -> int:
        return await self.database.write(ledger.expire, self.account, self.clock.now())

    async def holds(self) -> tuple[int, list[int]]:
        """The balance, and what is left of each living grant."""
        assert await self.database.read(ledger.audit) == []
        balance = await self.database.read(ledger.balance, self.account)
        living = await self.database.read(grants.living, self.account, self.clock.now())
        return whole(balance), [whole(grant.remaining) for grant in living]

    async def count(self, reason: str) -> list[int]:
        query = select(entries.c.amount).where(entries.c.reason == reason).order_by(entries.c.id)
        found = await self.database.read(lambda connection: connection.execute(query).scalars().all())
        return [whole(Credits(units)) for units in found]


def whole(amount: Credits) -> int:
    return int(str(amount))


@pytest.fixture
async def book(database: Database, clock: Clock) -> Book:
    return await Book(database, clock).open()


async def test_what_expires_first_is_spent_first(book: Book) -> None:
    await book.grant(10)
    await book.grant(10, days=30)
    await book.grant(10, days=7)

    await book.begin(4)
    assert await book.holds() == (26, [6, 10])
    await book.begin(9)
    assert await book.holds() == (17, [7])
    await book.begin(15)
    assert await book.holds() == (2, [])


async def test_what_is_left_at_the_moment_is_taken_by_one_entry_and_the_rest_stays(book: Book, clock: Clock) -> None:
    await book.grant(5)
    await book.grant(10, days=7)
    await book.begin(3)
    clock.pass_seconds(7 * 86400 - 0.001)
    assert await book.expire() == 0
    assert await book.holds() == (12, [7])

    clock.pass_seconds(0.001)
    assert [await book.expire() for _ in range(3)] == [1, 0, 0]

    assert await book.holds() == (5, [])
    assert await book.count("expiry") == [-7]


async def test_a_grant_that_was_used_up_leaves_no_entry(book: Book, clock: Clock) -> None:
    await book.grant(10, days=7)
    await book.end(await book.begin(10), 10)
    clock.pass_seconds(7 * 86400)

    assert await book.expire() == 1
    assert (await book.holds(), await book.count("expiry")) == ((0, []), [])


async def test_nothing_that_has_expired_can_be_spent_though_no_sweep_has_come(book: Book, clock: Clock) -> None:
    await book.grant(3)
    await book.grant(10, days=7)
    clock.pass_seconds(7 * 86400)

    with pytest.raises(NotEnoughCredits, match="4 needed, the balance is 3"):
        await book.begin(4)
    await book.begin(3)

    assert await book.holds() == (0, [])
    assert await book.count("expiry") == [-10]


async def test_a_return_goes_back_to_where_it_came_from(book: Book, clock: Clock) -> None:
    """Else a chat's hold, or a job that is cancelled, would make lasting credits of such that expire."""
    await book.grant(5)
    await book.grant(10, days=7)
    await book.grant(10, days=30)
    job = await book.begin(23)
    assert await book.holds() == (2, [])

    await book.end(job, 12)

    assert await book.holds() == (13, [8])  # 10 of the first and 2 of the second were used
    clock.pass_seconds(30 * 86400)
    await book.expire()
    assert await book.holds() == (5, [])


async def test_a_whole_return_leaves_everything_as_it_was(book: Book) -> None:
    await book.grant(5)
    await book.grant(10, days=7)

    await book.end(await book.begin(15), 0)

    assert await book.holds() == (15, [10])


async def test_a_return_after_the_grant_has_expired_is_the_users_for_good(book: Book, clock: Clock) -> None:
    await book.grant(10, days=7)
    job = await book.begin(8)
    clock.pass_seconds(7 * 86400)
    await book.expire()
    assert await book.holds() == (0, [])

    await book.end(job, 0)

    assert await book.holds() == (8, [])
    clock.pass_seconds(7 * 86400)
    assert await book.expire() == 0
    assert await book.count("expiry") == [-2]


async def test_a_return_before_the_sweep_of_an_expired_grant_is_the_users_too(book: Book, clock: Clock) -> None:
    await book.grant(10, days=7)
    job = await book.begin(8)
    clock.pass_seconds(7 * 86400)

    await book.end(job, 0)
    await book.expire()

    assert await book.holds() == (8, [])


async def test_a_correction_takes_what_expires_first(book: Book) -> None:
    await book.grant(5)
    await book.grant(10, days=7)

    await book.database.write(ledger.adjust, book.account, credits(-12), "why", book.clock.now(), "Ann")

    assert await book.holds() == (3, [])


async def test_twenty_charges_and_the_sweep_at_once_take_no_credit_twice(book: Book, clock: Clock) -> None:
    await book.grant(3)
    await book.grant(10, days=7)
    await book.grant(5, days=8)
    clock.pass_seconds(7 * 86400)

    done = await asyncio.gather(
        *(book.begin(1) for _ in range(20)), *(book.expire() for _ in range(5)), return_exceptions=True
    )

    refused = [one for one in done if isinstance(one, NotEnoughCredits)]
    assert (len(refused), [one for one in done if isinstance(one, Exception) and one not in refused]) == (12, [])
    assert await book.holds() == (0, [])
    assert await book.count("expiry") == [-10]


async def test_what_ended_jobs_took_of_closed_grants_is_forgotten(book: Book, clock: Clock) -> None:
    await book.grant(10, days=7)
    await book.end(await book.begin(3), 3)
    running = await book.begin(3)
    clock.pass_seconds(7 * 86400)
    await book.expire()

    async def kept() -> int:
        query = select(func.count()).select_from(draws)
        return await book.database.read(lambda connection: connection.execute(query).scalar_one())

    assert await book.database.write(grants.forget, 0, 100) == 1
    assert await kept() == 1
    await book.end(running, 0)
    assert await book.database.write(grants.forget, 0, 100) == 1
    assert (await book.holds(), await kept()) == ((3, []), 0)


async def test_a_grant_must_expire_in_the_future(book: Book) -> None:
    with pytest.raises(Invalid, match="expires: must be in the future"):
        await book.grant(1, days=0)


async def test_an_account_without_such_grants_is_charged_by_three_statements(book: Book) -> None:
    """One guarded statement for the balance, one for the key's cap, and the entry."""
    await book.grant(100)
    job = await book.begin(1)

    def charge(connection: Connection) -> list[str]:
        said: list[str] = []

        def note(_c: object, _u: object, statement: str, *_: object) -> None:
            said.append(" ".join(statement.split()[:2]))

        connection.execute(delete(entries).where(entries.c.job_id == job.id))
        event.listen(connection, "before_cursor_execute", note)
        ledger.charge(connection, book.account, book.key, job.id, credits(1), book.clock.now())
        event.remove(connection, "before_cursor_execute", note)
        return said

    assert await book.database.write(charge) == ["UPDATE accounts", "UPDATE keys", "INSERT INTO"]


async def test_the_balance_tells_what_expires_when_and_is_right_at_once(phaya: Phaya) -> None:
    key = await phaya.new_key("1", account="hurry@phaya.example")
    await phaya.operate("credits grant", account="hurry@phaya.example", amount="2.5", expires="30")
    done = await phaya.operate("credits grant", account="hurry@phaya.example", amount="4", expires="2099-12-31")

    told = (await phaya.get("user/credits", key=key)).json

    assert done["expires_at"] == "2100-01-01T00:00:00.000Z"
    assert told["credits_balance"] == 7.5
    assert [grant["amount"] for grant in told["expiring"]] == [2.5, 4]
    assert told["expiring"][1]["expires_at"] == done["expires_at"]

    def pass_time(connection: Connection) -> None:
        moment = phaya.system.clock.now() - 1
        account = keys.account_by_email(connection, "hurry@phaya.example").id
        first = (rows.c.account_id == account) & (rows.c.amount == credits("2.5").units)
        connection.execute(update(rows).where(first).values(expires_at=moment))
        connection.execute(update(accounts).where(accounts.c.id == account).values(expiring_at=moment))

    await phaya.system.database.write(pass_time)
    told = (await phaya.get("user/credits", key=key)).json
    assert (told["credits_balance"], [grant["amount"] for grant in told["expiring"]]) == (5, [4])
    assert (await phaya.get("user/profile", key=key)).json["credits_balance"] == 5
    newest = (await phaya.get("user/credits/history", key=key)).json["history"][0]
    assert (newest["reason"], newest["amount"]) == ("expiry", -2.5)


async def test_an_account_without_such_grants_has_nothing_expiring(phaya: Phaya) -> None:
    assert (await phaya.get("user/credits", key=await phaya.new_key())).json["expiring"] == []
