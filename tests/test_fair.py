"""Nobody is kept waiting because of another's ten thousand jobs, and nobody holds more than may be held."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from conftest import BOTH, Clock, Phaya
from phaya import allowances, jobs, keys, ledger, lines, schema
from phaya.allowances import GENEROUS, Allowance, Census
from phaya.calls import Chat, pack
from phaya.catalog.images import TextToImage
from phaya.clock import DAY, MINUTE
from phaya.closings import end_job
from phaya.credits import credits
from phaya.database import Database, Embedded
from phaya.decoding.decoder import Decoder
from phaya.errors import StorageFull, TooManyRequests
from phaya.jobs import Job, State, Step
from phaya.keys import Account, Key
from phaya.openings import Opening, open_many
from phaya.providers.ffmpeg import Ffmpeg
from phaya.providers.roster import REMOTE, RENDER, Roster
from phaya.workflow import Workflow, cancel_job

pytestmark = pytest.mark.anyio

ENGINES = BOTH
NOW = 1_800_000_000_000
SECRET = b"secret"


def _customer(connection: Connection, email: str) -> tuple[Account, Key]:
    account = keys.open_account(connection, email, NOW)
    ledger.grant(connection, account.id, credits("1000000"), "", NOW)
    return account, keys.mint(connection, SECRET, account, "k", NOW)[1]


def draft(owner: tuple[Account, Key], number: int = 0, lane: str = REMOTE, **values: Any) -> Job:
    account, key = owner
    asked = TextToImage(prompt="a")
    job = Job(
        id=f"{account.email[0]}-{lane}-{number}", account_id=account.id, key_id=key.id, service=TextToImage.path,
        request="{}", call=pack(asked.call()), sandbox=True, price=credits("1"), state=State.QUEUED, step=Step.OPEN,
        lane=lane, deadline_at=NOW + 60 * MINUTE, created_at=NOW + number, next_at=NOW + number,
    )  # fmt: skip
    return replace(job, **values)


async def opened(database: Database, drafts: Sequence[Job], allowed: Allowance = GENEROUS) -> None:
    [outcome] = await database.write(open_many, [Opening(drafts, usual=allowed)])
    if isinstance(outcome, Exception):
        raise outcome


async def claimed(database: Database, now: int, lane: str = REMOTE) -> list[Job]:
    return await database.write(jobs.claim, lane, 1, now, 20_000)


async def begun(database: Database, job: Job, now: int) -> None:
    await database.write(
        jobs.change, job, now, step=Step.AWAITING, state=State.PROCESSING, next_at=now + MINUTE
    )  # fmt: skip


@pytest.mark.parametrize("lane", [REMOTE, RENDER])
async def test_a_queue_of_one_account_does_not_keep_another_waiting(database: Database, lane: str) -> None:
    hog = await database.write(_customer, "hog@phaya.example")
    guest = await database.write(_customer, "guest@phaya.example")
    await opened(database, [draft(hog, number, lane) for number in range(300)])
    now = NOW + 10_000
    await opened(database, [draft(guest, 0, lane, created_at=now, next_at=now)])

    order: list[str] = []
    for _ in range(6):
        now += 1
        [job] = await claimed(database, now, lane)
        order.append(job.id[0])
        await begun(database, job, now)

    assert order.index("g") <= lines.places(lane)
    assert order.count("h") == 5  # nor is the first one's work held up


async def test_an_accounts_jobs_are_begun_in_their_order_and_all_of_them(database: Database) -> None:
    owner = await database.write(_customer, "a@phaya.example")
    await opened(database, [draft(owner, number) for number in range(40)])

    order: list[int] = []
    now = NOW + 1000
    while found := await claimed(database, now):
        order.append(int(found[0].id.rpartition("-")[2]))
        await begun(database, found[0], now)
        now += 1

    assert sorted(order) == list(range(40))
    assert all(abs(number - place) <= 2 for place, number in enumerate(order))


async def test_a_job_that_is_cancelled_lets_the_next_one_in(database: Database) -> None:
    owner = await database.write(_customer, "a@phaya.example")
    await opened(database, [draft(owner, number, RENDER) for number in range(3)])

    for number in (0, 1):
        assert await database.write(cancel_job, f"a-{RENDER}-{number}", owner[0].id, NOW, 1000)

    assert [job.id for job in await claimed(database, NOW + 10, RENDER)] == [f"a-{RENDER}-2"]


async def test_a_parked_job_fails_or_is_cancelled_in_its_time(database: Database) -> None:
    owner = await database.write(_customer, "a@phaya.example")
    drafts = [draft(owner, 0, RENDER), draft(owner, 1, RENDER), draft(owner, 2, RENDER, cancel_at=NOW + 5000)]
    await opened(database, drafts)

    rows = [await database.read(jobs.find, job.id) for job in drafts]

    assert [(job.parked, job.next_at) for job in rows if job] == [
        (False, NOW),
        (True, drafts[1].deadline_at),
        (True, NOW + 5000),
    ]


async def test_a_line_that_came_to_a_halt_is_noticed(database: Database) -> None:
    owner = await database.write(_customer, "a@phaya.example")
    await opened(database, [draft(owner, number, RENDER) for number in range(3)])
    ended = update(schema.jobs).where(schema.jobs.c.id == f"a-{RENDER}-0")
    # As a node of the version before ends it, which knows no lines.
    await database.write(
        lambda c: c.execute(ended.values(state="failed", step="done", next_at=None, ended_at=NOW)).rowcount
    )
    assert await claimed(database, NOW + 10, RENDER) == []

    assert await _let_in(database) == 1

    assert [job.id for job in await claimed(database, NOW + 10, RENDER)] == [f"a-{RENDER}-1"]


async def test_a_line_goes_on_before_the_lease_of_a_node_that_died_with_its_first_jobs(database: Database) -> None:
    owner = await database.write(_customer, "a@phaya.example")
    await opened(database, [draft(owner, number, RENDER) for number in range(2)])
    assert len(await claimed(database, NOW, RENDER)) == 1

    assert await _let_in(database) == 1

    assert [job.id for job in await claimed(database, NOW, RENDER)] == [f"a-{RENDER}-1"]


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_limit_of_the_queue_is_exact_however_many_ask_at_once(database: Database) -> None:
    owner = await database.write(_customer, "a@phaya.example")
    allowed = replace(GENEROUS, queued=7)

    outcomes = await asyncio.gather(
        *(opened(database, [draft(owner, number)], allowed) for number in range(20)), return_exceptions=True
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, TooManyRequests)]
    assert len(refused) == 13
    assert sum(outcome is None for outcome in outcomes) == 7
    assert "limit: queued jobs" in refused[0].message
    assert refused[0].retry_after
    assert await database.read(ledger.balance, owner[0].id) == credits("999993")
    assert await database.read(lambda c: len(c.execute(select(schema.jobs.c.id)).all())) == 7


async def test_chats_count_as_jobs_in_flight_and_ended_ones_do_not(database: Database) -> None:
    owner = await database.write(_customer, "a@phaya.example")
    allowed = replace(GENEROUS, jobs=2)
    chat: dict[str, Any] = {"state": State.PROCESSING, "step": Step.TALKING, "claimed": True, "call": pack(Chat({}))}
    await opened(database, [draft(owner, 0, **chat), draft(owner, 1)], allowed)

    with pytest.raises(TooManyRequests, match="limit: jobs in flight"):
        await opened(database, [draft(owner, 2, **chat)], allowed)
    assert await database.write(cancel_job, f"a-{REMOTE}-1", owner[0].id, NOW, 1000)
    await opened(database, [draft(owner, 3)], allowed)


async def test_stored_bytes_are_counted_until_they_are_deleted(database: Database) -> None:
    owner = await database.write(_customer, "a@phaya.example")
    account, allowed = owner[0].id, replace(GENEROUS, bytes=1000)
    for size in (400, 500):
        await database.write(allowances.take_in, account, size, allowed, NOW, 14)
    with pytest.raises(StorageFull, match="limit: stored bytes"):
        await database.write(allowances.take_in, account, 200, allowed, NOW, 14)
    await database.write(allowances.hold, account, 100, NOW)
    with pytest.raises(StorageFull):
        await opened(database, [draft(owner)], allowed)

    later = NOW + 16 * DAY
    await database.write(allowances.take_in, account, 1000, allowed, later, 14)
    assert await database.write(allowances.forget, later - 15 * DAY, 100) == 1
    assert await database.read(allowances.stored, [account], later, 14) == {account: 1000}


async def test_uploads_at_once_do_not_exceed_the_room(database: Database) -> None:
    account = (await database.write(_customer, "a@phaya.example"))[0].id
    allowed = replace(GENEROUS, bytes=1000)

    outcomes = await asyncio.gather(
        *(database.write(allowances.take_in, account, 300, allowed, NOW, 14) for _ in range(10)),
        return_exceptions=True,
    )

    assert sum(outcome is None for outcome in outcomes) == 3


async def test_an_operator_sets_the_limits_of_one_account_apart(phaya: Phaya) -> None:
    key = await phaya.new_key(account="limited@phaya.example")
    asked: dict[str, Any] = {"account": "limited@phaya.example", "media_days": 14}
    assert (await phaya.operate("accounts limits", **asked))["limits"]["queued"] is None
    await phaya.operate("accounts limits", **asked, queued="0", bytes="5000000")
    before = await phaya.balance(key)

    refused = await phaya.post("text-to-image/generate", {"prompt": "a"}, key=key)
    other = await phaya.post("text-to-image/generate", {"prompt": "a"})

    assert (refused.status, refused.json["error"], other.status) == (429, "rate_limited", 200)
    assert "Retry-After" in refused.headers
    assert await phaya.balance(key) == before
    await phaya.operate("accounts limits", **asked, queued="usual")
    assert (await phaya.post("text-to-image/generate", {"prompt": "a"}, key=key)).status == 200


async def test_a_full_storage_is_told_and_what_is_made_counts(phaya: Phaya) -> None:
    email = "storing@phaya.example"
    key = await phaya.new_key(account=email)
    made = (await phaya.post("text-to-image/generate", {"prompt": "a"}, key=key)).json
    await phaya.finish("text-to-image", made["job_id"], key=key)
    held = (await phaya.operate("accounts limits", account=email, media_days=14, bytes="1"))["held"]

    answer = await phaya.post("text-to-image/generate", {"prompt": "a"}, key=key)

    assert held["bytes"] > 1000
    assert (answer.status, answer.json["error"]) == (507, "storage_full")
    assert await phaya.audit() == []


def _row(job: Job) -> dict[str, Any]:
    names = schema.jobs.c.keys()
    row = {name: getattr(job, name) for name in names}
    return row | {"price": 0, "returned": 0, "state": job.state.value, "step": job.step.value}


async def test_ten_thousand_jobs_behind_the_line_are_not_looked_at(database: Database) -> None:
    owner = await database.write(_customer, "a@phaya.example")
    rows = [_row(draft(owner, n, parked=n > 1, next_at=NOW if n < 2 else NOW + 60 * MINUTE)) for n in range(10_000)]
    await database.write(lambda c: c.execute(insert(schema.jobs), rows).rowcount)

    due = await database.write(jobs.claim, REMOTE, 64, NOW + 1000, 20_000)

    assert [job.id for job in due] == [f"a-{REMOTE}-0", f"a-{REMOTE}-1"]
    assert await database.read(lines.count, [owner[0].id]) == {owner[0].id: {REMOTE: (10_000, 0, 2)}}


async def _let_in(database: Database) -> int:
    return await database.write(lines.advance_all, await database.read(lines.halted, 100), NOW)


def _held(connection: Connection, account_id: str) -> int:
    found = lines.count(connection, [account_id])[account_id].values()
    return sum(queued + begun for queued, begun, _ in found)


@pytest.mark.parametrize("seed", range(4))
async def test_counts_that_are_remembered_let_nobody_over_a_limit_and_keep_nobody_out(
    database: Database, seed: int
) -> None:
    dice = random.Random(seed)
    most = Allowance(jobs=6, queued=5, bytes=GENEROUS.bytes)
    owners = [await database.write(_customer, f"{name}@phaya.example") for name in "ab"]
    nodes = Census(), Census()  # each remembers what it has counted, and hears nothing of the other
    for number in range(120):
        owner = dice.choice(owners)
        account = owner[0].id
        if dice.random() < 0.4:
            now = NOW + 1000 + number
            if (due := await claimed(database, now)) and dice.random() < 0.8:
                await database.write(end_job, due[0], now, State.COMPLETED, due[0].price, {})
            continue
        before = await database.read(lines.count, [account])
        waiting = sum(lane[0] for lane in before[account].values())
        room = waiting < most.queued and await database.read(_held, account) < most.jobs
        opening = Opening([draft(owner, number)], usual=most, census=dice.choice(nodes))
        [outcome] = await database.write(open_many, [opening])
        assert isinstance(outcome, TooManyRequests) is not room
    assert await database.read(ledger.audit) == []


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncGenerator[Embedded]:
    """Only here do transactions share a commit."""
    database = Embedded(tmp_path)
    yield database
    await database.close()


async def test_a_count_that_was_undone_is_forgotten(embedded: Embedded, clock: Clock) -> None:
    owner = await embedded.write(_customer, "a@phaya.example")
    two = Allowance(jobs=2, queued=2, bytes=GENEROUS.bytes)
    roster = Roster(None, Ffmpeg(Decoder()))
    workflow = Workflow(embedded, roster, clock, secret=SECRET, callback_base=None, allowance=two)
    await workflow.open(draft(owner, 0), draft(owner, 1))
    [first] = await claimed(embedded, NOW + 1000)
    gate = threading.Event()

    def lose(connection: Connection) -> None:
        """As when the disk is full: what shares the commit is lost with it."""
        connection.exec_driver_sql("ROLLBACK")
        raise RuntimeError("lost")

    async with asyncio.TaskGroup() as together:
        together.create_task(_outcome(embedded.write(lambda _: gate.wait())))
        await asyncio.sleep(0)
        end = together.create_task(_outcome(embedded.write(end_job, first, NOW, State.COMPLETED, first.price, {})))
        together.create_task(_outcome(workflow.open(draft(owner, 2))))
        for _ in range(10):
            await asyncio.sleep(0)  # all of them are on their way to the writer
        together.create_task(_outcome(embedded.write(lose)))
        await asyncio.sleep(0)
        gate.set()

    assert isinstance(end.result(), RuntimeError)

    with pytest.raises(TooManyRequests):  # the job that was to end has not
        await workflow.open(draft(owner, 2))


async def _outcome(work: Coroutine[Any, Any, object]) -> object:
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - it is what is asked for
        return error
