"""Many requests in one transaction come to the same as one after the other: the same answers, the same money."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from conftest import BOTH, Clock
from phaya import jobs, keys, ledger
from phaya.calls import Chat, KieTask, pack
from phaya.closings import Closed, Closing, Wordless, close_many, close_one
from phaya.credits import Credits, credits
from phaya.crowd import Crowd
from phaya.database import Database
from phaya.decoding.decoder import Decoder
from phaya.errors import NotEnoughCredits, Unauthorized
from phaya.idempotency import Answer, Stamp, Taken
from phaya.jobs import Job, Lost, State, Step
from phaya.openings import Opening, open_many, open_one
from phaya.schema import accounts, complete, entries
from phaya.schema import keys as keys_table
from phaya.workflow import Workflow

ENGINES = BOTH
pytestmark = pytest.mark.anyio
NOW = 1_800_000_000_000
UNIT = 1_000_000_000


@dataclass(frozen=True)
class Ask:
    """One request: by which key, its prices, under which Idempotency-Key."""

    key: int
    prices: tuple[int, ...]
    stamp: int | None = None


ASKS = st.lists(
    st.builds(
        Ask,
        key=st.integers(0, 4),
        prices=st.lists(st.integers(0, 4), min_size=1, max_size=2).map(tuple),
        stamp=st.none() | st.integers(0, 2),
    ),
    min_size=1,
    max_size=12,
)


def found(connection: Connection) -> list[tuple[str, str]]:
    """Three accounts: a plain one with three keys (one capped, one revoked), a poor one, one whose credits expire."""
    pairs: list[tuple[str, str]] = []
    for email, amount, until in (("a@x", 20, None), ("b@x", 2, None), ("c@x", 6, NOW + 1000)):
        account = keys.open_account(connection, email, NOW)
        ledger.grant(connection, account.id, Credits(amount * UNIT), "", NOW, expires_at=until)
        for cap in (None, 5) if email == "a@x" else (None,):
            _, key = keys.mint(connection, b"s", account, "k", NOW, cap=None if cap is None else Credits(cap * UNIT))
            pairs.append((account.id, key.id))
    _, ended = keys.mint(connection, b"s", keys.account_by_email(connection, "a@x"), "old", NOW)
    keys.revoke(connection, pairs[0][0], ended.id, NOW)
    return [*pairs, (pairs[0][0], ended.id)]


def draft(name: str, account: str, key: str, price: int, *, talking: bool = False) -> Job:
    job = Job(
        id=name, account_id=account, key_id=key, service="text-to-image", request=Wordless().model_dump_json(),
        call=pack(KieTask("z-image", {})), sandbox=True, price=Credits(price * UNIT), state=State.QUEUED,
        step=Step.OPEN, lane="remote", deadline_at=NOW + 1, created_at=NOW, next_at=NOW,
    )  # fmt: skip
    return replace(job, step=Step.TALKING, call=pack(Chat({})), claimed=True) if talking else job


def openings(asks: Sequence[Ask], pairs: Sequence[tuple[str, str]]) -> list[Opening]:
    made: list[Opening] = []
    for number, ask in enumerate(asks):
        account, key = pairs[ask.key]
        drafts = [draft(f"{number}-{part}", account, key, price) for part, price in enumerate(ask.prices)]
        stamp = None if ask.stamp is None else Stamp(account, str(ask.stamp), f"asked {ask.prices}")
        made.append(Opening(drafts, stamp, partial(told, number)))
    return made


def told(number: int, left: Credits) -> Answer:
    return Answer("text/plain", f"{number} leaves {left}".encode())


def word(outcome: object) -> str:
    if isinstance(outcome, Taken):
        return f"taken {outcome.answer.body!r}"
    return type(outcome).__name__ if isinstance(outcome, Exception) else repr(outcome)


def one_by_one(connection: Connection, items: Sequence[Any], one: Any) -> list[str]:
    outcomes: list[str] = []
    for item in items:
        try:
            with connection.begin_nested():
                outcomes.append(word(one(connection, item)))
        except Exception as refused:  # noqa: BLE001 - the refusal is the outcome
            outcomes.append(word(refused))
    return outcomes


def money(connection: Connection) -> list[Any]:
    """All that is written of it; ids of accounts and keys differ from one database to the other."""
    rows = connection.execute(select(accounts.c.email, accounts.c.balance).order_by(accounts.c.email)).all()
    spent = connection.execute(select(keys_table.c.name, keys_table.c.spent).order_by(keys_table.c.spent)).all()
    moves = connection.execute(select(entries.c.job_id, entries.c.reason, entries.c.amount)).all()
    assert ledger.audit(connection) == []
    return [rows, spent, sorted(moves, key=str)]


def memory() -> Connection:
    from sqlalchemy import create_engine, event

    engine = create_engine("sqlite://")

    @event.listens_for(engine, "connect")
    def _keyed(driver: Any, _record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        driver.execute("PRAGMA foreign_keys = ON")

    connection = engine.connect()
    complete().create_all(connection)
    return connection


@settings(deadline=None, max_examples=40)
@given(asks=ASKS)
def test_a_crowd_of_requests_is_opened_as_if_they_had_come_one_after_the_other(asks: list[Ask]) -> None:
    """Those whose credits expire, and repeats, come last in a crowd: so each sort is compared by itself."""
    for sort in (
        [ask for ask in asks if ask.key != 3 and ask.stamp is None],
        [ask for ask in asks if ask.key == 3],
    ):
        if not sort:
            continue  # nobody makes a crowd of none
        outcomes: list[list[str]] = []
        books: list[list[Any]] = []
        for together in (True, False):
            with memory() as connection:
                wanted = openings(sort, found(connection))
                if together:
                    outcomes.append([word(one) for one in open_many(connection, wanted)])
                else:
                    outcomes.append(one_by_one(connection, wanted, open_one))
                books.append(money(connection))
        assert outcomes[0] == outcomes[1]
        assert books[0] == books[1]


@settings(deadline=None, max_examples=40)
@given(asks=ASKS)
def test_a_crowd_with_repeats_opens_each_request_once_and_keeps_the_books_in_order(asks: list[Ask]) -> None:
    with memory() as connection:
        wanted = openings(asks, found(connection))
        outcomes = open_many(connection, wanted)
        opened = {job.id for each, one in zip(wanted, outcomes, strict=True) if isinstance(one, Credits)
                  for job in each.drafts}  # fmt: skip

        assert {row[0] for row in connection.execute(select(entries.c.job_id)) if row[0]} == opened
        accepted = [each.stamp for each, one in zip(wanted, outcomes, strict=True) if isinstance(one, Credits)]
        stamps = [(stamp.account_id, stamp.key) for stamp in accepted if stamp is not None]
        assert len(stamps) == len(set(stamps))
        money(connection)


@settings(deadline=None, max_examples=40)
@given(
    used=st.lists(st.tuples(st.sampled_from([0, 3]), st.integers(0, 2), st.booleans()), min_size=1, max_size=8),
)
def test_a_crowd_of_calls_is_closed_as_if_they_had_ended_one_after_the_other(used: list[tuple[int, int, bool]]) -> None:
    outcomes: list[list[str]] = []
    books: list[list[Any]] = []
    for together in (True, False):
        with memory() as connection:
            pairs = found(connection)
            closings: list[Closing] = []
            for number, (key, cost, lost) in enumerate(used):
                job = draft(str(number), *pairs[key], 2 if key == 0 else 0, talking=True)
                open_one(connection, Opening([job]))
                held = replace(job, rev=job.rev + 1) if lost else job
                exact = Credits(min(cost * UNIT, job.price.units))
                values = {"results": "{}", "ticket": None, "progress": 1000}
                closings.append(Closing(held, NOW, exact, values, None, partial(told, number)))
            if together:
                outcomes.append([word(one) for one in close_many(connection, closings)])
            else:
                outcomes.append(one_by_one(connection, closings, close_one))
            books.append(money(connection))
            for closing, (*_, lost) in zip(closings, used, strict=True):
                row = jobs.find(connection, closing.job.id)
                assert row is not None
                assert row.state is (State.QUEUED if lost else State.COMPLETED)
    assert [sorted(each) for each in outcomes[:1]] == [sorted(each) for each in outcomes[1:]]
    assert books[0] == books[1]


async def test_fifty_at_once_on_money_for_ten_are_ten_jobs_and_forty_refusals(database: Database) -> None:
    pairs = await database.write(found)
    account, key = pairs[0]
    crowd = Crowd[Opening, Credits](partial(database.write, open_many))

    outcomes = await asyncio.gather(
        *(crowd.join(Opening([draft(str(number), account, key, 2)])) for number in range(50)), return_exceptions=True
    )

    assert sum(isinstance(one, Credits) for one in outcomes) == 10
    assert sum(isinstance(one, NotEnoughCredits) for one in outcomes) == 40
    assert await database.read(ledger.balance, account) == credits("0")
    assert await database.read(ledger.audit) == []


async def test_a_cap_is_exact_in_a_crowd(database: Database) -> None:
    pairs = await database.write(found)
    crowd = Crowd[Opening, Credits](partial(database.write, open_many))

    outcomes = await asyncio.gather(
        *(crowd.join(Opening([draft(str(number), *pairs[1], 2)])) for number in range(5)), return_exceptions=True
    )

    assert sum(isinstance(one, Credits) for one in outcomes) == 2
    assert "this key's cap leaves 1" in str(outcomes[-1])
    assert await database.read(ledger.audit) == []


async def test_a_key_that_was_revoked_meanwhile_opens_nothing(database: Database) -> None:
    pairs = await database.write(found)

    outcomes = await database.write(open_many, [Opening([draft("1", *pairs[-1], 1)])])
    with pytest.raises(Unauthorized):
        await database.write(open_one, Opening([draft("1", *pairs[-1], 1)]))

    assert isinstance(outcomes[0], Unauthorized)
    assert await database.read(ledger.balance, pairs[0][0]) == credits("20")


async def test_one_that_cannot_be_written_does_not_take_the_others_of_its_crowd_along(
    database: Database, clock: Clock
) -> None:
    pairs = await database.write(found)
    workflow = Workflow(database, roster(), clock, secret=b"s", callback_base=None)
    await workflow.open(draft("taken", *pairs[0], 1))

    outcomes = await asyncio.gather(
        *(workflow.open(draft(name, *pairs[0], 1)) for name in ("1", "taken", "2")), return_exceptions=True
    )

    assert [isinstance(one, Credits) for one in outcomes] == [True, False, True]
    assert await database.read(ledger.balance, pairs[0][0]) == credits("17")


async def test_a_lost_call_is_told_and_the_others_of_its_crowd_are_closed(database: Database) -> None:
    pairs = await database.write(found)
    made = [draft(str(number), *pairs[0], 2, talking=True) for number in range(3)]
    await database.write(open_many, [Opening([job]) for job in made])
    made[1] = replace(made[1], rev=5)
    closings = [Closing(job, NOW, credits("1"), {"results": "{}"}, None, partial(told, 0)) for job in made]

    outcomes = await database.write(close_many, closings)

    assert [isinstance(one, Lost) for one in outcomes] == [False, True, False]
    assert await database.read(ledger.balance, pairs[0][0]) == credits("16")


async def test_a_call_whose_client_goes_while_its_end_is_written_is_closed_all_the_same(
    database: Database, clock: Clock
) -> None:
    pairs = await database.write(found)
    workflow = Workflow(database, roster(), clock, secret=b"s", callback_base=None)
    made = [draft(str(number), *pairs[0], 2, talking=True) for number in range(2)]
    await workflow.open(*made)
    leaving: list[asyncio.Task[Closed]] = []
    for job in made:  # the second waits for the transaction of the first
        closing = Closing(job, NOW, credits("1"), {"results": "{}"}, None, partial(told, 0))
        leaving.append(asyncio.create_task(workflow.close(closing)))
        for _ in range(2):
            await asyncio.sleep(0)

    for task in leaving:
        task.cancel()
    gone = await asyncio.gather(*leaving, return_exceptions=True)
    while writing := workflow.under_way():  # as a process waits that stops
        await asyncio.wait(writing)

    assert isinstance(gone[1], asyncio.CancelledError)
    assert {job.state for job in (await database.read(jobs.find_all, ["0", "1"])).values()} == {State.COMPLETED}
    assert await database.read(ledger.balance, pairs[0][0]) == credits("18")


def roster() -> Any:
    from phaya.providers.ffmpeg import Ffmpeg
    from phaya.providers.roster import Roster

    return Roster(kie=None, ffmpeg=Ffmpeg(Decoder()))
