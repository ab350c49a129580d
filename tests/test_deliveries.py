"""The outbox of webhooks: what is told, to whom, how often, and what becomes of it; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

import servers
from conftest import BOTH, Clock
from phaya import deliveries, keys, ledger, webhooks
from phaya.addresses import Fetcher, Guard
from phaya.calls import Chat
from phaya.catalog import SERVICES
from phaya.clock import DAY, SECOND
from phaya.closings import end_job, keep_late
from phaya.credits import NOTHING, credits
from phaya.database import Database, Embedded
from phaya.decoding.decoder import Decoder
from phaya.deliverer import LEASE, PAUSES, PLACES, RESTS, Deliverer
from phaya.deliveries import Condition, Delivery
from phaya.jobs import Job, Lost, State, Step
from phaya.openings import open_job
from phaya.providers.ffmpeg import Ffmpeg
from phaya.providers.roster import Roster
from phaya.receivers import SILENT
from phaya.results import Results
from phaya.storage import Storage
from phaya.tariff import standard
from phaya.webhooks import Endpoint, Event
from phaya.workflow import Workflow, cancel_job
from receiver import Receiver, receiving

pytestmark = pytest.mark.anyio

ENGINES = BOTH

SECRET = b"the server's"
LOOPBACK = [ip_network("127.0.0.0/8")]


@dataclass
class Office:
    """The database of one node, with an account, and a deliverer that the test moves by hand."""

    database: Database
    clock: Clock
    workflow: Workflow
    results: Results
    deliverer: Deliverer
    account: str
    key: str

    @asynccontextmanager
    async def another(self, network: str = "127.0.0.0/8") -> AsyncGenerator[Deliverer]:
        """A deliverer of another node, which may send to this network besides public ones."""
        made = Deliverer(self.workflow, self.results, standard(), SECRET, [ip_network(network)])
        yield made
        await made.stop()

    async def open(self, hook: str | None = None, step: Step = Step.OPEN) -> Job:
        service = SERVICES["text-to-image"]
        request = service.model_validate(service.example)
        draft = self.workflow.draft(self.account, self.key, service.path, request, Chat({}), credits("1"), 15)
        job = replace(draft, webhook_url=hook, step=step)
        await self.database.write(open_job, job)
        return job

    async def fail(self, job: Job) -> Job:
        values = {"error": "It failed.", "error_code": "provider_error"}
        return await self.database.write(end_job, job, self.clock.now(), State.FAILED, NOTHING, values)

    async def told(self, hook: str) -> Delivery:
        """A job with this webhook_url that has failed: its one delivery."""
        await self.fail(await self.open(hook))
        return (await self.rows())[-1]

    async def endpoint(self, url: str, *events: Event) -> Endpoint:
        return await self.database.write(webhooks.create, self.account, url, events, self.clock.now())

    async def rows(self) -> list[Delivery]:
        page, _ = await self.database.read(deliveries.listing, self.account, 1000)
        return page[::-1]

    async def claim(self, limit: int = PLACES) -> list[Delivery]:
        return await self.database.write(deliveries.claim, limit, self.clock.now(), LEASE, [])

    async def step(self, deliverer: Deliverer | None = None) -> list[Delivery]:
        """Makes one attempt for what is due; answers the rows after it."""
        for delivery in await self.claim():
            outcome = await (deliverer or self.deliverer).attempt(delivery)
            assert await self.database.write(deliveries.settle, delivery, outcome, self.clock.now())
        return await self.rows()

    @asynccontextmanager
    async def delivering(self) -> AsyncGenerator[None]:
        """The deliverer works by itself."""
        work = asyncio.create_task(self.deliverer.run())
        try:
            yield
        finally:
            await self.deliverer.stop(0.1)
            await work


@contextmanager
def noted(connection: Connection) -> Generator[list[str]]:
    """The statements that are asked of a connection meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(connection, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(connection, "before_cursor_execute", note)


@asynccontextmanager
async def opened(database: Database, folder: Path, clock: Clock) -> AsyncGenerator[Office]:
    account = await database.write(keys.open_account, "a@x", clock.now())
    _, key = await database.write(keys.mint, b"s", account, "k", clock.now())
    await database.write(ledger.grant, account.id, credits("1000"), "", clock.now())
    workflow = Workflow(database, Roster(None, Ffmpeg(Decoder())), clock, secret=SECRET, callback_base=None)
    results = Results(Storage(folder.as_uri(), "http://x"), Decoder(), Fetcher(Guard()), folder / "work")
    deliverer = Deliverer(workflow, results, standard(), SECRET, LOOPBACK)
    yield Office(database, clock, workflow, results, deliverer, account.id, key.id)
    await deliverer.stop()


@pytest.fixture
async def office(database: Database, tmp_path: Path, clock: Clock) -> AsyncGenerator[Office]:
    """On each of the databases."""
    async with opened(database, tmp_path, clock) as made:
        yield made


@pytest.fixture
async def post(tmp_path: Path, clock: Clock) -> AsyncGenerator[Office]:
    """On SQLite alone, for what concerns the sending."""
    embedded = Embedded(tmp_path)
    async with opened(embedded, tmp_path, clock) as made:
        yield made
    await embedded.close()


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as made:
        yield made


HOOK = "http://a.example/hook"


async def test_an_end_that_is_told_ten_times_is_one_delivery_to_each_receiver(office: Office) -> None:
    endpoint = await office.endpoint("http://b.example/")
    job = await office.open(HOOK)

    ends = await asyncio.gather(*(office.fail(job) for _ in range(10)), return_exceptions=True)

    assert sum(isinstance(end, Lost) for end in ends) == 9
    rows = [(row.event, row.endpoint_id, row.url, row.job_id) for row in await office.rows()]
    assert sorted(rows, key=lambda row: row[2]) == [
        (Event.FAILED, None, HOOK, job.id),
        (Event.FAILED, endpoint.id, "http://b.example/", job.id),
    ]


async def test_every_event_of_a_job_is_written_with_it(office: Office) -> None:
    now = office.clock.now
    done, cancelled = await office.open(HOOK), await office.open(HOOK)
    failed = await office.fail(await office.open(HOOK))

    await office.database.write(end_job, done, now(), State.COMPLETED, done.price, {"results": "{}"})
    assert await office.database.write(cancel_job, cancelled.id, office.account, now(), 1000)
    assert not await office.database.write(cancel_job, cancelled.id, office.account, now(), 1000)
    await office.database.write(keep_late, failed, now(), "{}")
    with pytest.raises(Lost):
        await office.database.write(keep_late, failed, now(), "{}")

    told = sorted((row.event, row.job_id) for row in await office.rows())
    assert told == sorted(
        [
            (Event.COMPLETED, done.id),
            (Event.CANCELLED, cancelled.id),
            (Event.FAILED, failed.id),
            (Event.LATE_RESULT, failed.id),
        ]
    )


async def test_an_end_that_is_rolled_back_tells_nothing(office: Office) -> None:
    job = await office.open(HOOK)

    def half(connection: Connection) -> None:
        end_job(connection, job, office.clock.now(), State.FAILED, NOTHING, {})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await office.database.write(half)

    assert await office.rows() == []


async def test_a_chat_tells_nothing(office: Office) -> None:
    await office.endpoint(HOOK)

    await office.fail(await office.open(step=Step.TALKING))

    assert await office.rows() == []


async def test_an_endpoint_hears_what_it_chose_while_it_is_enabled(office: Office) -> None:
    await office.endpoint("http://completed.example/", Event.COMPLETED)
    off = await office.endpoint("http://off.example/")
    on = await office.endpoint("http://failed.example/", Event.FAILED, Event.COMPLETED)
    await office.database.write(webhooks.change, office.account, off.id, office.clock.now(), enabled=False)

    await office.fail(await office.open())

    assert [row.endpoint_id for row in await office.rows()] == [on.id]


async def test_several_nodes_never_claim_the_same_delivery(office: Office) -> None:
    for number in range(20):
        await office.told(f"http://host{number}.example/")

    claims = await asyncio.gather(*(office.claim(5) for _ in range(8)))

    ids = [row.id for rows in claims for row in rows]
    assert (len(ids), len(set(ids))) == (len(set(ids)), len(ids))
    assert {row.attempts for rows in claims for row in rows} == {1}
    assert {row.id for row in await office.claim(100)}.isdisjoint(ids), "while a lease lasts nobody else sends"


async def test_a_host_and_an_account_get_their_share_of_the_places(office: Office) -> None:
    for _ in range(10):
        await office.told("http://busy.example/hook")
    for number in range(30):
        await office.told(f"http://host{number}.example/")
    taken: list[deliveries.Place] = []

    def now() -> int:
        return office.clock.now()

    while rows := await office.database.write(deliveries.claim, PLACES, now(), LEASE, taken):
        taken += [row.place for row in rows]

    hosts = [host for host, _ in taken]
    assert hosts.count("http://busy.example") == deliveries.EACH_HOST
    assert len(taken) == deliveries.EACH_ACCOUNT
    assert await office.database.read(deliveries.next_due, taken) is None, "the rest waits for a place"
    assert await office.database.read(deliveries.next_due, taken[:-1]) == office.clock.now()


async def test_hosts_whose_names_begin_alike_do_not_share_places(office: Office) -> None:
    taken = [("http://a.example", "somebody")] * deliveries.EACH_HOST
    await office.told("http://a.example:8080/")
    await office.told("http://a_example/100%25")

    rows = await office.database.write(deliveries.claim, PLACES, office.clock.now(), LEASE, taken)

    assert len(rows) == 2


async def test_who_has_lost_the_claim_writes_nothing(office: Office) -> None:
    await office.told(HOOK)
    [slow] = await office.claim()
    office.clock.pass_seconds(LEASE / SECOND)
    [fast] = await office.claim()

    delivered = deliveries.Outcome(200)
    assert await office.database.write(deliveries.settle, fast, delivered, office.clock.now())
    late = deliveries.Outcome(500, "it answered 500", office.clock.now())
    assert not await office.database.write(deliveries.settle, slow, late, office.clock.now())

    [row] = await office.rows()
    assert (row.state, row.status, row.attempts, row.next_at) == (Condition.DELIVERED, 200, 2, None)


async def test_finished_deliveries_are_forgotten_in_chunks_and_pending_ones_kept(office: Office) -> None:
    for _ in range(5):
        await office.told(HOOK)
    rows = await office.claim()
    for row in rows:
        await office.database.write(deliveries.settle, row, deliveries.Outcome(200), office.clock.now())
    office.clock.pass_seconds(10)
    young = await office.told(HOOK)
    pending = [row for row in await office.rows() if row.state is Condition.PENDING and row.id != young.id]

    async def forget() -> int:
        return await office.database.write(deliveries.forget, office.clock.now(), 3)

    assert [await forget(), await forget()] == [3, len(rows) - 3]
    assert {row.id for row in await office.rows()} == {young.id} | {row.id for row in pending}
    assert await forget() == 0


async def test_the_log_is_swept_by_its_index(post: Office) -> None:
    """A table of millions of rows is not read through every ten minutes."""

    def plan(connection: Connection) -> list[str]:
        with noted(connection) as asked:
            deliveries.forget(connection, 1, 9)
        rows = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + asked[0], (1, 9, 0))
        return [row.detail for row in rows]

    details = await post.database.write(plan)

    assert any("ix_deliveries_account_id_created_at (account_id=? AND created_at<?)" in line for line in details)
    assert not any(line.startswith("SCAN deliveries") for line in details)


async def test_the_log_is_read_in_pages(office: Office) -> None:
    for number in range(7):
        await office.told(f"http://host{number}.example/")
        office.clock.pass_seconds(number % 2)  # some in the same millisecond
    whole = await office.rows()
    seen: list[Delivery] = []
    cursor = None

    while True:
        page, cursor = await office.database.read(deliveries.listing, office.account, 3, cursor=cursor)
        seen += page
        if cursor is None:
            break

    assert seen == whole[::-1]


async def test_what_is_told_is_the_job_as_its_status_tells_it_and_is_signed(office: Office, receiver: Receiver) -> None:
    await office.told(receiver.url)

    [row] = await office.step()

    [heard] = receiver.heard
    signer = await office.database.read(webhooks.account_signer, office.account)
    assert heard.signed_by(signer.secret(SECRET))
    assert heard.headers["Content-Type"] == "application/json"
    assert heard.id == row.id
    assert heard.json["type"] == "job.failed"
    assert heard.json["data"]["job_id"] == row.job_id
    assert heard.json["timestamp"] == heard.json["data"]["completed_at"]
    assert (heard.json["data"]["status"], heard.json["data"]["credits_refunded"]) == ("FAILED", 1)
    assert (row.state, row.status, row.trouble) == (Condition.DELIVERED, 204, None)


async def test_a_node_that_dies_between_sending_and_writing_sends_again_with_the_same_id(
    office: Office, receiver: Receiver
) -> None:
    await office.told(receiver.url)
    receiver.gate.clear()
    [claimed] = await office.claim()
    dying = asyncio.create_task(office.deliverer.attempt(claimed))
    await receiver.until(1)
    dying.cancel()
    receiver.gate.set()
    assert [row.state for row in await office.step()] == [Condition.PENDING], "the lease lasts"
    office.clock.pass_seconds(LEASE / SECOND)

    async with office.another() as other:
        [row] = await office.step(other)

    assert [heard.id for heard in receiver.heard] == [row.id, row.id]
    assert (row.state, row.attempts) == (Condition.DELIVERED, 2)


async def test_a_receiver_that_fails_is_asked_ten_times_over_three_days_and_then_disabled(
    post: Office, receiver: Receiver
) -> None:
    endpoint = await post.endpoint(receiver.url)
    await post.fail(await post.open())
    receiver.answer(500)
    pauses: list[int] = []

    [row] = await post.step()
    while row.next_at is not None:
        assert (row.state, row.status, row.trouble) == (Condition.PENDING, 500, "it answered 500")
        pauses.append(row.next_at - post.clock.now())
        post.clock.moment = row.next_at
        [row] = await post.step()

    assert len(pauses) == len(PAUSES) == 9
    assert all(least <= pause <= 1.2 * least for pause, least in zip(pauses, PAUSES, strict=True))
    assert (row.state, row.attempts, len(receiver.heard)) == (Condition.FAILED, 10, 10)
    assert len({heard.id for heard in receiver.heard}) == 1
    assert len({heard.headers["webhook-timestamp"] for heard in receiver.heard}) == 10, "each attempt has its own"
    after = await post.database.read(webhooks.find, post.account, endpoint.id)
    assert (after.disabled_at, after.trouble) == (post.clock.now(), "nothing could be delivered: it answered 500")


async def test_an_endpoint_that_took_something_meanwhile_stays_enabled(post: Office, receiver: Receiver) -> None:
    endpoint = await post.endpoint(receiver.url)
    await post.fail(await post.open())
    [delivery] = await post.claim()
    post.clock.pass_seconds(1)
    await post.fail(await post.open())
    await post.step()

    over = deliveries.Outcome(500, "it answered 500", exhausted=True)
    await post.database.write(deliveries.settle, delivery, over, post.clock.now())

    assert (await post.database.read(webhooks.find, post.account, endpoint.id)).disabled_at is None


async def test_a_redirect_is_a_failure_and_not_followed(post: Office, receiver: Receiver) -> None:
    await post.told(receiver.url)
    receiver.answer(307, Location=f"http://127.0.0.1:{receiver.port}/elsewhere")

    [row] = await post.step()

    assert [heard.path for heard in receiver.heard] == ["/hook"]
    assert (row.state, row.status) == (Condition.PENDING, 307)
    assert row.trouble == "it answered 307; redirects are not followed"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
async def test_what_is_not_public_is_not_connected_unless_the_operator_allows_it(
    post: Office, receiver: Receiver, host: str
) -> None:
    await post.told(f"http://{host}:{receiver.port}/hook")

    async with post.another("10.0.0.0/8") as strict:
        [row] = await post.step(strict)

    assert (row.trouble, receiver.heard) == ("the address is not public", [])


async def test_a_receiver_that_is_gone_is_disabled_at_once(post: Office, receiver: Receiver) -> None:
    endpoint = await post.endpoint(receiver.url)
    await post.fail(await post.open())
    waiting = await post.open()
    receiver.answer(410)

    [row] = await post.step()
    await post.fail(waiting)

    assert (row.state, row.status, row.next_at) == (Condition.FAILED, 410, None)
    after = await post.database.read(webhooks.find, post.account, endpoint.id)
    assert (after.disabled_at, after.trouble) == (post.clock.now(), "it answered 410: it wants nothing more")
    assert len(await post.rows()) == 1, "nothing more is written for it"


@pytest.mark.parametrize(
    ("status", "wish", "least"),
    [
        (429, "600", 600),
        (503, "Fri, 15 Jan 2027 08:10:00 GMT", 600),  # the test's clock stands at 08:00
        (503, "86400", 3600),
        (500, "600", 5),
        (429, "soon", 5),
        (429, "-5", 5),
    ],
)
async def test_a_receiver_may_put_us_off_for_an_hour(
    post: Office, receiver: Receiver, status: int, wish: str, least: float
) -> None:
    await post.told(receiver.url)
    receiver.answer(status, Retry_After=wish)

    [row] = await post.step()

    assert row.next_at is not None
    assert least <= (row.next_at - post.clock.now()) / SECOND <= least * 1.2


async def test_a_secret_that_was_changed_signs_for_another_day(post: Office, receiver: Receiver) -> None:
    endpoint = await post.endpoint(receiver.url)
    former = endpoint.signer.secret(SECRET)
    turned = await post.database.write(webhooks.rotate, post.account, endpoint.id, post.clock.now())
    present = turned.signer.secret(SECRET)

    async def hear() -> tuple[int, bool, bool]:
        await post.fail(await post.open())
        await post.step()
        heard = receiver.heard[-1]
        signatures = heard.headers["webhook-signature"].split(" ")
        return len(signatures), heard.signed_by(former), heard.signed_by(present)

    assert former != present
    assert await hear() == (2, True, True)
    post.clock.pass_seconds(DAY / SECOND)
    assert await hear() == (1, False, True)


async def test_every_owner_has_a_secret_of_its_own_and_none_is_stored(post: Office) -> None:
    first, second = await post.endpoint(HOOK), await post.endpoint(HOOK)
    account = await post.database.write(webhooks.rotate_account, post.account, post.clock.now())

    secrets = {one.secret(SECRET) for one in (first.signer, second.signer, account, replace(account, turn=0))}
    stored = await post.database.read(lambda c: "\n".join(c.connection.iterdump()))  # type: ignore[attr-defined]

    assert len(secrets) == 4
    assert all(secret.startswith("whsec_") and secret[6:] not in str(stored) for secret in secrets)
    assert first.signer.secret(b"another server's") not in secrets


async def test_an_event_is_told_once_more_under_an_id_of_its_own(post: Office, receiver: Receiver) -> None:
    first = await post.told(receiver.url)
    await post.step()
    post.clock.pass_seconds(3600)

    await post.database.write(deliveries.redeliver, post.account, first.id, post.clock.now())
    rows = await post.step()

    before, after = receiver.heard
    assert [before.id, after.id] == [row.id for row in rows]
    assert len({row.id for row in rows}) == 2
    assert before.json["timestamp"] == after.json["timestamp"], "the event is still of the same time"
    assert before.json["data"] == after.json["data"]


async def test_what_waits_goes_to_the_new_address_or_nowhere(post: Office, receiver: Receiver) -> None:
    moving, leaving = await post.endpoint("http://old.example/"), await post.endpoint("http://gone.example/")
    await post.fail(await post.open())
    now = post.clock.now()

    await post.database.write(webhooks.change, post.account, moving.id, now, url=receiver.url)
    await post.database.write(webhooks.remove, post.account, leaving.id)
    rows = {row.endpoint_id: row for row in await post.step()}

    assert rows[moving.id].state is Condition.DELIVERED
    assert (rows[leaving.id].state, rows[leaving.id].trouble) == (Condition.FAILED, deliveries.DELETED)
    assert len(receiver.heard) == 1


async def test_a_slow_receiver_delays_nobody_else(post: Office, receiver: Receiver) -> None:
    receiver.gate.clear()
    for _ in range(PLACES + 8):
        await post.told(receiver.url)
    async with receiving() as other, post.delivering():
        await receiver.until(deliveries.EACH_HOST)
        await post.told(other.url)
        post.workflow.spread()
        await other.until(1)

        assert receiver.waiting == deliveries.EACH_HOST
        receiver.gate.set()
        await receiver.until(PLACES + 8)

    assert receiver.most == deliveries.EACH_HOST
    assert len({heard.id for heard in receiver.heard}) == PLACES + 8


async def test_a_host_that_does_not_answer_rests_and_what_waits_for_it_does_not_pile_up(post: Office) -> None:
    dead = f"http://127.0.0.1:{servers.free_port()}/hook"
    for _ in range(SILENT + 3):
        await post.told(dead)

    troubles: list[str | None] = []
    while rows := await post.claim(1):
        outcome = await post.deliverer.attempt(rows[0])
        await post.database.write(deliveries.settle, rows[0], outcome, post.clock.now())
        troubles.append(outcome.trouble)

    assert troubles == ["it could not be reached"] * SILENT + [RESTS] * 3
    assert {row.attempts for row in await post.rows()} == {1}, "each attempt counts"


async def test_a_host_that_has_rested_is_tried_again(post: Office, receiver: Receiver) -> None:
    row = await post.told(receiver.url)
    receiver.gate.clear()
    host, _ = row.place
    for _ in range(SILENT):
        post.deliverer.receivers.missed(host)
    assert post.deliverer.receivers.rests(host)
    post.clock.pass_seconds(31)
    receiver.gate.set()

    [row] = await post.step()

    assert row.state is Condition.DELIVERED
    assert not post.deliverer.receivers.rests(host)


async def test_an_attempt_that_always_breaks_off_is_not_repeated_for_ever(post: Office, receiver: Receiver) -> None:
    await post.told(receiver.url)
    for _ in range(len(PAUSES) + 1):
        assert len(await post.claim()) == 1
        post.clock.pass_seconds(LEASE / SECOND)

    [row] = await post.step()

    assert (row.state, row.trouble) == (Condition.FAILED, "its last attempt broke off on our side")
    assert receiver.heard == []


async def test_an_account_without_receivers_costs_one_look(post: Office) -> None:
    """The end of a job asks one indexed question about webhooks, and writes nothing."""
    job = await post.open()

    def end(connection: Connection) -> list[str]:
        with noted(connection) as asked:
            end_job(connection, job, post.clock.now(), State.FAILED, NOTHING, {})
        return asked

    asked = await post.database.write(end)

    assert len([one for one in asked if "endpoints" in one or "deliveries" in one]) == 1
    assert await post.rows() == []
