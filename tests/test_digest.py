"""What needs eyes, and that it is told once a day by one node of all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, update

from conftest import BOTH, Clock
from phaya import deliveries, jobs, keys, ledger, marks
from phaya.breaker import Breaker
from phaya.clock import DAY, HOUR
from phaya.credits import credits
from phaya.database import Database
from phaya.digest import digest, text_of
from phaya.errors import StorageDown
from phaya.figures import books
from phaya.jobs import Job, State, Step
from phaya.openings import open_job
from phaya.providers import Unavailable
from phaya.schema import accounts
from phaya.watchman import Outlook, Post, Watchman, signer
from receiver import Receiver, receiving

pytestmark = pytest.mark.anyio
ENGINES = BOTH

SECRET = b"the secret of this server"
PLACE = "https://phaya.example"


@dataclass
class Shelf:
    """A storage that answers, or does not."""

    down: bool = False

    async def ready(self) -> None:
        if self.down:
            raise StorageDown


@dataclass
class Till:
    """A provider with so much left; None where it does not say."""

    left: list[Decimal | None]
    name: str = "kie"
    asked: list[str] = field(default_factory=list[str])

    @property
    def keys(self) -> list[str]:
        return [f"key-{number}" for number in range(len(self.left))]

    async def credit(self, key: str) -> Decimal:
        self.asked.append(key)
        left = self.left[int(key.removeprefix("key-"))]
        if left is None:
            raise Unavailable("busy")
        return left


def outlook(clock: Clock, shelf: Shelf | None = None, till: Till | None = None) -> Outlook:
    return Outlook(Breaker(clock), shelf or Shelf(), purse=till, low=100)  # type: ignore[arg-type]


def watchman(
    database: Database, clock: Clock, url: str | None, view: Outlook | None = None, *, always: bool = False
) -> Watchman:
    post = Post(url, hour=6, always=always, public_url=PLACE)
    return Watchman(database, clock, view or outlook(clock), SECRET, post, pauses=(0.01, 0.01))


def add_job(connection: Connection, clock: Clock, number: int, **values: Any) -> Job:
    account = keys.open_account(connection, "ann@example.com", clock.now())
    _, key = keys.mint(connection, SECRET, account, f"k{number}", clock.now())
    ledger.grant(connection, account.id, credits("10"), "", clock.now())
    given: dict[str, Any] = {
        "id": f"00000000-0000-4000-8000-{number:012}", "account_id": account.id, "key_id": key.id,
        "service": "text-to-image", "request": "{}", "call": '{"kind":"chat","body":{}}', "sandbox": True,
        "price": credits("1"), "state": State.PROCESSING, "step": Step.AWAITING, "lane": "remote",
        "deadline_at": clock.now() + HOUR, "created_at": clock.now(), "next_at": clock.now() + HOUR,
    }  # fmt: skip
    job = Job(**(given | values))
    open_job(connection, job)
    return job


async def items(database: Database, clock: Clock, **asked: Any) -> dict[str, list[str]]:
    """What needs eyes, by what it is about."""
    found = await database.read(digest, SECRET, clock.now(), asked)
    told: dict[str, list[str]] = {}
    for item in found["items"]:
        if item["eyes"]:
            told.setdefault(item["what"], []).append(item["text"])
    assert found["eyes"] == sum(map(len, told.values()))
    return told


async def test_a_quiet_phaya_needs_no_eyes(database: Database, clock: Clock) -> None:
    await watchman(database, clock, None).look_at_ledger()
    await database.write(add_job, clock, 1)

    assert await items(database, clock) == {}


async def test_a_job_whose_fate_is_unknown_needs_eyes(database: Database, clock: Clock) -> None:
    await database.write(add_job, clock, 1, step=Step.UNSURE)

    told = await items(database, clock)
    assert list(told) == ["doubt"]
    assert told["doubt"][0].startswith("1 job whose fate")


async def test_a_balance_that_drifts_needs_eyes_and_is_found_within_the_hour(database: Database, clock: Clock) -> None:
    man = watchman(database, clock, None)
    await database.write(add_job, clock, 1)
    assert await man.look_at_ledger()
    await database.write(lambda connection: connection.execute(update(accounts).values(balance=accounts.c.balance + 7)))
    assert not await man.look_at_ledger()
    assert await items(database, clock) == {}

    clock.pass_seconds(3600)
    assert await man.look_at_ledger()
    found = await database.read(books)
    assert found is not None
    assert (found.adrift, found.units) == (1, 7)
    assert list(await items(database, clock)) == ["ledger"]


async def test_one_of_many_nodes_looks_at_the_ledger(database: Database, clock: Clock) -> None:
    did = await asyncio.gather(*(watchman(database, clock, None).look_at_ledger() for _ in range(8)))

    assert sum(did) == 1


async def test_work_that_nobody_takes_needs_eyes(database: Database, clock: Clock) -> None:
    await database.write(add_job, clock, 1, next_at=clock.now() - 11 * 60_000)

    assert "overdue by 11 minutes" in (await items(database, clock))["queue"][0]


async def test_a_service_that_fails_more_than_the_day_before_needs_eyes(database: Database, clock: Clock) -> None:
    def fill(connection: Connection) -> None:
        for number in range(10):
            job = add_job(connection, clock, number)
            state = State.FAILED if number < 6 else State.COMPLETED
            jobs.change(connection, job, clock.now(), state=state, step=Step.DONE, next_at=None, ended_at=clock.now())

    await database.write(fill)
    assert "6 of 10 jobs failed (60%; the day before 0%)" in (await items(database, clock))["errors"][0]

    clock.pass_seconds(DAY / 1000 + 1)
    assert "errors" not in await items(database, clock)


async def test_webhooks_that_failed_need_eyes(database: Database, clock: Clock) -> None:
    def fail(connection: Connection) -> None:
        job = add_job(connection, clock, 1, webhook_url="https://gone.example/hook")
        deliveries.announce(connection, job, deliveries.Event.COMPLETED, clock.now())
        [delivery] = deliveries.claim(connection, 5, clock.now(), 1000, ())
        deliveries.settle(connection, delivery, deliveries.Outcome(500, "it answered 500", exhausted=True), clock.now())

    await database.write(fail)

    assert (await items(database, clock))["webhooks"] == ["1 delivery of webhooks failed for good."]


async def test_what_a_running_node_knows_is_told_too(database: Database, clock: Clock) -> None:
    till = Till([Decimal("12.5"), Decimal(100), None])
    view = outlook(clock, Shelf(down=True), till)
    await view.breaker.failed("kie", "It is down.", limit=1)
    found = {item.text: item.eyes for item in await view.items()}

    assert list(found.values()) == [True, True, True, False, True]
    assert "kie rests until" in next(iter(found))
    assert found["kie key 1 has 12.5 credits left."]
    assert not found["kie key 2 has 100 credits left."]


async def test_a_digest_is_sent_once_a_day_by_one_node(database: Database, clock: Clock) -> None:
    async with receiving() as receiver:
        await _sent_once(database, clock, receiver)


async def _sent_once(database: Database, clock: Clock, receiver: Receiver) -> None:
    clock.moment = clock.moment // DAY * DAY + 5 * HOUR
    await database.write(add_job, clock, 1, step=Step.UNSURE)
    nodes = [watchman(database, clock, receiver.url) for _ in range(6)]
    assert not any(await asyncio.gather(*(node.send_digest() for node in nodes)))

    clock.pass_seconds(3600)
    for _ in range(3):
        await asyncio.gather(*(node.send_digest() for node in nodes))
    [first] = receiver.heard
    assert first.signed_by(signer().secret(SECRET))
    assert list(first.json) == ["text"]
    assert first.json["text"].startswith(f"Phaya at {PLACE}, ")
    assert "! 1 job whose fate" in first.json["text"]

    clock.pass_seconds(DAY / 1000)
    await asyncio.gather(*(node.send_digest() for node in nodes))
    assert len(receiver.heard) == 2
    assert receiver.heard[0].id != receiver.heard[1].id


@pytest.mark.parametrize("always", [False, True])
async def test_nothing_is_sent_when_nothing_needs_eyes_unless_asked(
    database: Database, clock: Clock, always: bool
) -> None:
    clock.moment = clock.moment // DAY * DAY + 7 * HOUR
    async with receiving() as receiver:
        sent = await watchman(database, clock, receiver.url, always=always).send_digest()

    assert (sent, len(receiver.heard)) == (always, int(always))


async def test_a_digest_that_is_not_taken_is_sent_again_under_the_same_name(database: Database, clock: Clock) -> None:
    clock.moment = clock.moment // DAY * DAY + 7 * HOUR
    async with receiving() as receiver:
        receiver.answer(503)
        node, other = (watchman(database, clock, receiver.url, always=True) for _ in range(2))
        assert not await node.send_digest()
        assert not await other.send_digest()
        tried = len(receiver.heard)
        receiver.answer(200)
        clock.pass_seconds(15 * 60)
        assert await other.send_digest()
        assert not await node.send_digest()

    assert tried == 3
    assert len({heard.id for heard in receiver.heard}) == 1


def test_a_digest_says_first_what_needs_eyes() -> None:
    found = {"eyes": 1, "until": "2026-11-26T06:00:00Z", "items": [{"eyes": True, "text": "Look."}]}

    assert text_of(found, "x") == "Phaya at x, 2026-11-26: 1 thing needs eyes.\n! Look."


async def test_two_who_swap_a_mark_do_not_both_win(database: Database) -> None:
    assert await database.write(marks.swap, "m", None, "1")
    assert not await database.write(marks.swap, "m", None, "2")
    assert await database.write(marks.swap, "m", "1", "3")
    assert not await database.write(marks.swap, "m", "1", "4")
    assert await database.read(marks.read, "m") == "3"
