"""One `Idempotency-Key` is one charge and one answer: with twenty at once, after a kill, at every door."""

# OpenAI marked its own Sora routes as ended; they live on here.
# pyright: reportDeprecated=false

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from openai import AsyncOpenAI
from sqlalchemy import func, select

import servers
from cluster import Cluster, cluster
from conftest import Clock, Phaya, Reply, running
from phaya import idempotency, keys, ledger
from phaya.calls import Chat, KieTask, pack
from phaya.catalog import CATALOG
from phaya.client import ApiError, Unreachable, Wire
from phaya.clock import DAY
from phaya.closings import Wordless, end_job
from phaya.credits import NOTHING, Credits, credits
from phaya.crowd import Crowd
from phaya.database import Database, Embedded
from phaya.errors import NotEnoughCredits
from phaya.idempotency import Answer, InProgress, NotKept, Reused, Stamp, Taken
from phaya.jobs import Job, State, Step
from phaya.openings import Opening, open_many
from phaya.postgresql import PostgreSQL
from phaya.schema import idempotency as table

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")]
PICTURE = "text-to-image/generate"
CHAT = "phaya-gpt/chat/completions"


# ── rows and money, on both databases ────────────────────────────────────────────────────────────────────


@dataclass
class Shop:
    """An account with a little money, and requests that buy with it."""

    database: Database
    clock: Clock
    account: str
    key: str
    other: Database
    """Another way to the same rows: a second node's, where there can be one."""

    made: int = 0
    crowds: list[Crowd[Opening, Credits]] = field(init=False)
    """The openings of either, as a node gathers them."""

    def __post_init__(self) -> None:
        self.crowds = [Crowd(partial(each.write, open_many)) for each in (self.database, self.other)]

    def stamp(self, key: str = "k", asked: object = 1) -> Stamp:
        return Stamp(self.account, key, idempotency.fingerprint("/api/v1/x", asked))

    def job(self, price: str = "1", *, talking: str | None = None) -> Job:
        self.made += 1
        now = self.clock.now()
        job = Job(
            id=f"job-{self.made}", account_id=self.account, key_id=self.key, service="text-to-image", request="{}",
            call=pack(KieTask("z-image", {})), sandbox=True, price=credits(price), state=State.QUEUED, step=Step.OPEN,
            lane="remote", deadline_at=now + 1, created_at=now, next_at=now,
        )  # fmt: skip
        if talking is None:
            return job
        request = Wordless(idempotency_key=talking).model_dump_json(exclude_defaults=True)
        return replace(job, step=Step.TALKING, request=request, call=pack(Chat({})), claimed=True)

    async def buy(self, stamp: Stamp, job: Job | None = None, *, elsewhere: bool = False) -> Answer:
        """What a create does with its request once it is known to be good."""
        draft = job or self.job()

        def tell(left: Credits) -> Answer:
            return Answer("application/json", f"{draft.id} leaves {left}".encode())

        opening = Opening([draft], stamp, None if draft.step is Step.TALKING else tell)
        return tell(await self.crowds[elsewhere].join(opening))

    async def balance(self) -> str:
        assert await self.database.read(ledger.audit) == []
        return str(await self.database.read(ledger.balance, self.account))

    async def kept(self) -> int:
        return await self.database.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())


@asynccontextmanager
async def shop_on(database: Database, other: Database, clock: Clock) -> AsyncGenerator[Shop]:
    account = await database.write(keys.open_account, "a@x", clock.now())
    _, key = await database.write(keys.mint, b"s", account, "k", clock.now())
    await database.write(ledger.grant, account.id, credits("1.5"), "", clock.now())
    yield Shop(database, clock, account.id, key.id, other)


@pytest.fixture(params=["sqlite", "postgresql"])
async def shop(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, postgresql: servers.Postgres
) -> AsyncGenerator[Shop]:
    if request.param == "sqlite":
        database = Embedded(tmp_path)
        nodes: list[Database] = [database, database]
    else:
        url = postgresql.new_database()
        nodes = [await PostgreSQL(url).open(), await PostgreSQL(url).open()]
    async with shop_on(nodes[0], nodes[1], clock) as made:
        yield made
    for node in dict.fromkeys(nodes):
        await node.close()


async def test_twenty_at_once_on_two_nodes_are_one_job_although_the_money_covers_only_one(shop: Shop) -> None:
    answers = await asyncio.gather(
        *(shop.buy(shop.stamp(), elsewhere=bool(n % 2)) for n in range(20)), return_exceptions=True
    )

    [first] = [answer for answer in answers if isinstance(answer, Answer)]
    again = [answer.answer for answer in answers if isinstance(answer, Taken)]
    assert again == [first] * 19, "whoever came second has the first answer, and not an empty balance"
    assert await shop.balance() == "0.5"
    assert await shop.kept() == 1


async def test_two_requests_at_once_under_one_key_are_one_job_and_one_refusal(shop: Shop) -> None:
    answers = await asyncio.gather(
        *(shop.buy(shop.stamp(asked=n), elsewhere=bool(n)) for n in range(2)), return_exceptions=True
    )

    assert {type(answer) for answer in answers} == {Answer, Reused}
    assert await shop.balance() == "0.5"


async def test_a_refused_request_leaves_its_key_free(shop: Shop) -> None:
    with pytest.raises(NotEnoughCredits):
        await shop.buy(shop.stamp(), shop.job("2"))
    assert await shop.kept() == 0
    await shop.database.write(ledger.grant, shop.account, credits("1"), "", shop.clock.now())

    await shop.buy(shop.stamp(), shop.job("2"))

    assert await shop.balance() == "0.5"


async def test_several_jobs_of_one_key_are_bought_together_or_not_at_all(shop: Shop) -> None:
    with pytest.raises(NotEnoughCredits) as refused:
        await shop.crowds[False].join(Opening([shop.job(), shop.job()], shop.stamp()))

    assert refused.value.needed == credits("2")
    assert await shop.kept() == 0
    assert await shop.balance() == "1.5"


async def test_a_key_stands_for_its_request_for_a_day(shop: Shop) -> None:
    first = await shop.buy(shop.stamp())
    await shop.database.write(ledger.grant, shop.account, credits("1"), "", shop.clock.now())
    shop.clock.moment += DAY - 1
    with pytest.raises(Taken) as taken:
        await shop.buy(shop.stamp())
    assert taken.value.answer == first

    shop.clock.moment += 1
    await shop.database.read(idempotency.look, shop.stamp(), shop.clock.now())
    second = await shop.buy(shop.stamp(asked="anything else"))

    assert second != first
    assert await shop.balance() == "0.5"
    assert await shop.kept() == 1


async def test_a_key_of_a_call_is_taken_while_it_lasts_and_freed_when_it_fails(shop: Shop) -> None:
    call = shop.job("1", talking="k")
    await shop.buy(shop.stamp(), call)
    with pytest.raises(InProgress) as busy:
        await shop.buy(shop.stamp())
    with pytest.raises(Reused):
        await shop.database.read(idempotency.look, shop.stamp(asked=2), shop.clock.now())
    assert busy.value.retry_after == 1

    await shop.database.write(end_job, call, shop.clock.now(), State.FAILED, NOTHING, {})

    assert await shop.kept() == 0
    await shop.buy(shop.stamp())
    assert await shop.balance() == "0.5"


async def test_of_a_long_answer_only_the_cost_is_kept(shop: Shop) -> None:
    call = shop.job("1", talking="k")
    await shop.buy(shop.stamp(), call)
    answer = Answer("text/event-stream", b"x" * (idempotency.LONGEST + 1))

    await shop.database.write(idempotency.keep, shop.account, "k", call.id, answer, credits("0.25"))

    with pytest.raises(NotKept, match=r"cost 0\.25 credits \(job job-1\)"):
        await shop.database.read(idempotency.look, shop.stamp(), shop.clock.now())


async def test_accounts_do_not_share_keys(shop: Shop) -> None:
    other = await shop.database.write(keys.open_account, "b@x", shop.clock.now())
    await shop.buy(shop.stamp())

    await shop.database.read(idempotency.look, replace(shop.stamp(), account_id=other.id), shop.clock.now())
    await shop.database.write(idempotency.claim, replace(shop.stamp(), account_id=other.id), "j", shop.clock.now())

    assert await shop.kept() == 2


async def test_old_keys_are_deleted_in_chunks_and_young_ones_stay(shop: Shop) -> None:
    for number in range(5):
        await shop.database.write(idempotency.claim, shop.stamp(str(number)), "j", shop.clock.now() + number * DAY)
    shop.clock.moment += 3 * DAY

    gone = [await shop.database.write(idempotency.forget, shop.clock.now(), 2) for _ in range(3)]

    assert gone == [2, 1, 0]
    assert await shop.kept() == 2


async def test_the_worker_deletes_old_keys(tmp_path: Path) -> None:
    database = Embedded(tmp_path)
    account = await database.write(keys.open_account, "a@x", 0)
    await database.write(idempotency.claim, Stamp(account.id, "k", "f"), "j", 0)
    await database.close()

    async with running(tmp_path) as phaya, asyncio.timeout(30):
        while await phaya.system.database.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar()):
            await asyncio.sleep(0.02)


# ── creates ──────────────────────────────────────────────────────────────────────────────────────────────


async def send(phaya: Phaya, path: str, body: Any, key: str, name: str = "key-1") -> Reply:
    return await phaya.post(path, body, key=key, Idempotency_Key=name)


def is_replayed(reply: Reply) -> bool:
    return reply.headers.get("Idempotency-Replayed") == "true"


async def charges(phaya: Phaya, key: str) -> int:
    found = (await phaya.get("user/credits/history", key=key)).json["history"]
    return sum(entry["reason"] == "charge" for entry in found)


async def settled(phaya: Phaya, key: str) -> Decimal:
    """The balance once no call is going on."""
    async with asyncio.timeout(30):
        while "remote/talking" in (await phaya.operate("check"))["waiting"]:
            await asyncio.sleep(0.05)
    assert await phaya.audit() == []
    return await phaya.balance(key)


async def test_twenty_creates_with_one_key_are_one_job_and_twenty_equal_answers(phaya: Phaya) -> None:
    key = await phaya.new_key("1")

    replies = await asyncio.gather(*(send(phaya, PICTURE, {"prompt": "One hill"}, key) for _ in range(20)))

    assert {reply.status for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1
    assert sum(not is_replayed(reply) for reply in replies) == 1
    assert await phaya.balance(key) == 0
    assert await charges(phaya, key) == 1


async def test_the_same_json_replays_however_it_is_written_and_by_which_path(phaya: Phaya) -> None:
    key = await phaya.new_key("9")
    first = await send(phaya, PICTURE, b'{"prompt": "A hill",   "aspect_ratio":"1:1"}', key)

    spaced = await send(phaya, "text-to-image/create/", b'{"aspect_ratio":"1:1","prompt":"A hill"}\n', key)

    assert spaced.content == first.content
    assert is_replayed(spaced)
    assert await phaya.balance(key) == 8


@pytest.mark.parametrize(
    ("path", "body"),
    [(PICTURE, {"prompt": "Another"}), ("text-to-image/create", {}), ("seedream/create", {"prompt": "A hill"})],
)
async def test_another_request_under_the_key_is_refused_and_costs_nothing(
    phaya: Phaya, path: str, body: dict[str, Any]
) -> None:
    key = await phaya.new_key("9")
    await send(phaya, PICTURE, {"prompt": "A hill"}, key)

    other = await send(phaya, path, body, key)

    assert (other.status, other.json["error"]) == (409, "idempotency_key_reused")
    assert other.json["message"].startswith("Idempotency-Key: ")
    assert await phaya.balance(key) == 8


async def test_another_key_of_the_account_replays_and_another_account_does_not(phaya: Phaya) -> None:
    mine = await phaya.new_key("9", account="mine@phaya.example")
    second = await phaya.new_key(None, account="mine@phaya.example")
    theirs = await phaya.new_key("9")
    body = {"prompt": "A shared hill"}
    first = await send(phaya, PICTURE, body, mine)

    again, other = await send(phaya, PICTURE, body, second), await send(phaya, PICTURE, body, theirs)

    assert again.content == first.content
    assert other.json["job_id"] != first.json["job_id"]
    assert not is_replayed(other)


async def test_a_price_is_asked_without_using_up_the_key(phaya: Phaya) -> None:
    key = await phaya.new_key("9")
    dry = await send(phaya, PICTURE, {"prompt": "A hill", "dry_run": True}, key)

    first = await send(phaya, PICTURE, {"prompt": "A hill"}, key)
    again = await send(phaya, PICTURE, {"prompt": "A hill", "dry_run": True}, key)

    assert dry.json["dry_run"] is again.json["dry_run"] is True
    assert "job_id" in first.json


async def test_refusals_are_not_kept(phaya: Phaya) -> None:
    key = await phaya.new_key("0.5", account="poor@phaya.example")
    body = {"prompt": "A hill"}

    poor = await send(phaya, PICTURE, body, key)
    await phaya.operate("credits grant", account="poor@phaya.example", amount="1", note="")
    wrong = await send(phaya, PICTURE, {"prompt": 7}, key)
    good = await send(phaya, PICTURE, body, key)

    assert [poor.status, wrong.status, good.status] == [402, 422, 200]
    assert not is_replayed(good)


@pytest.mark.parametrize("name", ["", "x" * 256, "clé", "a\tb"])
async def test_a_key_that_is_none_is_refused_by_its_name(phaya: Phaya, name: str) -> None:
    reply = await send(phaya, PICTURE, {"prompt": "x"}, phaya.key, name)

    assert reply.status == 422
    assert reply.json["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert reply.json["message"] == "Idempotency-Key: must have 1 to 255 printable ASCII characters"


async def test_a_create_whose_client_vanished_is_found_by_its_key(phaya: Phaya) -> None:
    key = await phaya.new_key("9")
    host, port = phaya.url.removeprefix("http://").split(":")
    body = orjson.dumps({"prompt": "Nobody waits"})
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /api/v1/{PICTURE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: key-1\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    async with asyncio.timeout(30):
        while not (history := (await phaya.get("text-to-image/history", key=key)).json["history"]):
            await asyncio.sleep(0.02)
    writer.close()

    found = await send(phaya, PICTURE, {"prompt": "Nobody waits"}, key)

    assert found.json["job_id"] == history[0]["job_id"]
    assert is_replayed(found)
    assert await phaya.balance(key) == 8


async def test_browsers_may_read_that_an_answer_is_a_replay(phaya: Phaya) -> None:
    reply = await phaya.post(PICTURE, {"prompt": "x", "dry_run": True}, Origin="https://app.example")

    assert "Idempotency-Replayed" in reply.headers["Access-Control-Expose-Headers"]


async def test_every_paid_route_documents_its_key(phaya: Phaya) -> None:
    paths = (await phaya.ask("GET", "/openapi.json")).json["paths"]
    openai_routes = ("chat/completions", "responses", "embeddings", "images/generations", "audio/speech", "videos")
    paid = [f"/api/v1/{service.create_path()}" for service in CATALOG]
    paid += [f"/api/v1/{CHAT}", "/api/v1/embedding/create", *(f"/v1/{route}" for route in openai_routes)]

    for path in paid:
        route = paths[path]["post"]
        assert "Idempotency-Key" in [one["name"] for one in route["parameters"] if one["in"] == "header"], path
        assert "409" in route["responses"], path


# ── calls that last as long as their request ─────────────────────────────────────────────────────────────


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, ask("Tell me of the sea")),
        (CHAT, ask("Tell me of the sea", stream=True)),
        ("chat/completions", ask("Tell me of the sea", stream=True)),
        ("responses", {"input": "Tell me of the sea"}),
        ("responses", {"input": "Tell me of the sea", "stream": True}),
        ("embedding/create", {"input": ["the sea", "the hill"]}),
        ("embeddings", {"input": "the sea", "model": "text-embedding-3-small"}),
    ],
)
async def test_a_call_is_answered_once_more_and_paid_once(phaya: Phaya, path: str, body: dict[str, Any]) -> None:
    key = await phaya.new_key("10")
    first = await send(phaya, path, body, key)
    left = await settled(phaya, key)

    again, fresh = await send(phaya, path, body, key), await send(phaya, path, body, key, "key-2")

    assert first.status == 200, first.content
    assert again.content == first.content
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert [is_replayed(reply) for reply in (first, again, fresh)] == [False, True, False]
    assert await charges(phaya, key) == 2, "one for each key"
    assert await settled(phaya, key) == left - (10 - left)
    assert b"credits_used" in first.content


async def test_a_replay_does_not_ask_the_model_again(phaya: Phaya) -> None:
    key = await phaya.new_key("10")

    replies = [await send(phaya, CHAT, ask("Who are you?"), key, name) for name in ("a", "a", "b")]

    first, again, other = (reply.json["id"] for reply in replies)
    assert first == again != other


async def test_a_call_that_is_still_going_on_is_not_begun_twice(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    first = asyncio.create_task(send(phaya, CHAT, ask("Wait [slow 2]"), key))
    async with asyncio.timeout(30):
        while not await charges(phaya, key):
            await asyncio.sleep(0.02)

    early = await send(phaya, CHAT, ask("Wait [slow 2]"), key)
    other = await send(phaya, CHAT, ask("Something else"), key)
    done = await first
    late = await send(phaya, CHAT, ask("Wait [slow 2]"), key)

    assert (early.status, early.json["error"], early.headers["Retry-After"]) == (409, "idempotency_in_progress", "1")
    assert other.json["error"] == "idempotency_key_reused"
    assert late.content == done.content
    assert await charges(phaya, key) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_call_frees_its_key(phaya: Phaya, stream: bool) -> None:
    key = await phaya.new_key("10")

    replies = [await send(phaya, CHAT, ask("Hello [reject]", stream=stream), key) for _ in range(2)]
    good = await send(phaya, CHAT, ask("Hello", stream=stream), key)

    assert [reply.status for reply in (*replies, good)] == [422, 422, 200]
    assert not any(is_replayed(reply) for reply in (*replies, good))
    assert await charges(phaya, key) == 3


async def test_a_stream_that_the_model_broke_off_is_replayed_as_it_was(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    body = ask("A long story [drop]", stream=True)
    first = await send(phaya, CHAT, body, key)
    left = await settled(phaya, key)

    again = await send(phaya, CHAT, body, key)

    assert again.content == first.content
    assert b"cut off" in again.content
    assert await phaya.balance(key) == left


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, ask("Count [forever]", stream=True)), ("responses", {"input": "Count [forever]", "stream": True})],
)
async def test_what_was_said_before_a_hang_up_is_not_lost(phaya: Phaya, path: str, body: dict[str, Any]) -> None:
    key = await phaya.new_key("10")
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "key-1"}
    heard = b""
    async with phaya.session.post(f"{phaya.url}/api/v1/{path}", json=body, headers=headers) as answer:
        async for chunk in answer.content.iter_any():
            heard += chunk
            if len(heard) > 2000:
                break
        answer.close()
    left = await settled(phaya, key)

    again = await send(phaya, path, body, key)

    assert is_replayed(again)
    assert again.content.startswith(heard[:2000])
    last = again.content.strip().split(b"\n\n")[-1]
    told = orjson.loads(last.partition(b"data: ")[2])
    told = told.get("response", told)
    assert "connection was lost" in told["error"]["message"]
    assert Decimal(str(told["credits_used"])) == 10 - left
    assert await phaya.balance(key) == left < 10


async def test_an_answer_too_long_to_be_kept_is_not_paid_twice(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    body = {"input": [f"text {n}" for n in range(100)]}
    first = await send(phaya, "embedding/create", body, key)
    assert len(first.content) > idempotency.LONGEST

    again = await send(phaya, "embedding/create", body, key)

    assert (again.status, again.json["error"]) == (409, "idempotency_answer_not_kept")
    assert f"cost {first.exact('credits_used')} credits (job {first.json['id']})" in again.json["message"]
    assert await charges(phaya, key) == 1


# ── OpenAI's client ──────────────────────────────────────────────────────────────────────────────────────


def client_of(phaya: Phaya, key: str, prefix: str, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=phaya.url + prefix, api_key=key, **options)


NAMED: Mapping[str, str] = {"Idempotency-Key": "key-1"}


async def test_openais_client_gets_one_chat_at_all_three_bases(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    found: set[str] = set()
    for prefix in ("/v1", "/api/v1", ""):
        async with client_of(phaya, key, prefix, max_retries=0) as client:
            said = await client.chat.completions.create(
                model="phaya-gpt", messages=[{"role": "user", "content": "hi"}], extra_headers=NAMED
            )
            found.add(said.id)
            with pytest.raises(openai.ConflictError, match="Idempotency-Key"):
                await client.embeddings.create(model="text-embedding-3-small", input="hi", extra_headers=NAMED)

    assert len(found) == 1
    assert await charges(phaya, key) == 1


async def test_openais_client_reads_a_replayed_stream(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    texts: list[str] = []
    async with client_of(phaya, key, "/v1") as client:
        for _ in range(2):
            stream = await client.chat.completions.create(
                model="phaya-gpt",
                messages=[{"role": "user", "content": "Tell me of the sea"}],
                stream=True,
                extra_headers=NAMED,
            )
            texts.append("".join([part.choices[0].delta.content or "" async for part in stream if part.choices]))

    assert texts[0] == texts[1] != ""
    assert await charges(phaya, key) == 1


async def test_openais_client_waits_for_a_call_that_is_going_on_by_itself(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    messages: Any = [{"role": "user", "content": "Wait [slow 1]"}]
    async with client_of(phaya, key, "/v1", max_retries=5) as client:
        said = await asyncio.gather(
            *(
                client.chat.completions.create(model="phaya-gpt", messages=messages, extra_headers=NAMED)
                for _ in range(3)
            )
        )

    assert len({one.id for one in said}) == 1
    assert await charges(phaya, key) == 1


async def test_pictures_speech_and_films_are_bought_once(phaya: Phaya) -> None:
    key = await phaya.new_key("100")
    async with client_of(phaya, key, "/v1") as client:
        pictures = await asyncio.gather(
            *(client.images.generate(prompt="A bay", n=2, extra_headers={"Idempotency-Key": "p"}) for _ in range(3))
        )
        assert await charges(phaya, key) == 2
        sounds = [
            await client.audio.speech.create(
                model="tts-1", voice="alloy", input="Good morning", extra_headers={"Idempotency-Key": "s"}
            )
            for _ in range(2)
        ]
        assert await charges(phaya, key) == 3
        films = [
            await client.videos.create(model="sora-2", prompt="A dragon", extra_headers={"Idempotency-Key": "f"})
            for _ in range(2)
        ]

    linked = {tuple(one.url for one in answer.data or []) for answer in pictures}
    assert len(linked) == 1
    assert len(next(iter(linked))) == 2
    assert sounds[0].content == sounds[1].content
    assert sounds[1].response.headers["Idempotency-Replayed"] == "true"
    assert films[0] == films[1]
    assert await charges(phaya, key) == 4
    assert await phaya.audit() == []


async def test_a_picture_that_took_too_long_is_waited_for_again(tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_OPENAI_WAIT=1) as phaya:
        prompt = "A slow hill [slow 2]"

        slow = await send(phaya, "images/generations", {"prompt": prompt}, phaya.key)
        plain = await phaya.post("images/generations", {"prompt": prompt})
        async with client_of(phaya, phaya.key, "/v1", max_retries=5) as client:
            done = await client.images.generate(prompt=prompt, extra_headers=NAMED)

    assert (slow.status, plain.status) == (504, 504)
    assert plain.headers["x-should-retry"] == "false", "without a key that would buy a second one"
    assert "x-should-retry" not in slow.headers
    assert done.data
    assert done.model_extra is not None
    assert done.model_extra["job_ids"][0] in slow.json["message"]


# ── the command line's client ────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def losing(url: str, times: int) -> AsyncGenerator[str]:
    """A way to a server on which the first so many answers are lost."""
    host, port = url.removeprefix("http://").split(":")
    left = times

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        far_writer.write(await reader.read(65536))
        answer = await far_reader.read(65536)
        if left > 0:
            left -= 1
        else:
            writer.write(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            await writer.drain()
        for one in (writer, far_writer):
            one.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"


async def test_the_command_lines_client_sends_a_lost_create_again_and_pays_once(phaya: Phaya) -> None:
    key = await phaya.new_key("9")

    async with losing(phaya.url, 2) as base, Wire(base, key) as client:
        made = await client.post(PICTURE, {"prompt": "Lost twice"})
        more = await client.post(PICTURE, {"prompt": "Lost twice"})

    assert made["job_id"] != more["job_id"], "each create is one of its own"
    assert await charges(phaya, key) == 2


async def test_the_command_lines_client_tells_at_once_what_cannot_be_helped(phaya: Phaya) -> None:
    async with Wire(f"http://127.0.0.1:{servers.free_port()}/api/v1", "pk_x") as nobody:
        with pytest.raises(Unreachable):
            await nobody.post(PICTURE, {"prompt": "x"})
    async with Wire(f"{phaya.url}/api/v1", await phaya.new_key(None)) as poor:
        with pytest.raises(ApiError) as refused:
            await poor.post(PICTURE, {"prompt": "x"})
    assert refused.value.status == 402


# ── a process that dies ──────────────────────────────────────────────────────────────────────────────────


async def test_a_kill_between_charge_and_answer_loses_and_doubles_nothing(tmp_path: Path) -> None:
    def rows(query: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{tmp_path}/data/phaya.db?mode=ro", uri=True)) as file:
            return file.execute(query).fetchall()

    async def kill_when_written(run: Cluster, path: str, body: Any, name: str) -> None:
        headers = {"Authorization": f"Bearer {run.key}", "Idempotency-Key": name}
        asking = asyncio.create_task(run.session.post(f"{run.nodes[0].url}/{path}", json=body, headers=headers))
        async with asyncio.timeout(30):
            while not rows(f"SELECT 1 FROM idempotency WHERE key = '{name}'"):
                await asyncio.sleep(0.002)
        await run.kill(run.nodes[0])
        for lost in await asyncio.gather(asking, return_exceptions=True):
            if isinstance(lost, aiohttp.ClientResponse):
                lost.close()

    async def again(run: Cluster, path: str, body: Any, name: str) -> tuple[int, dict[str, Any], bool]:
        headers = {"Authorization": f"Bearer {run.key}", "Idempotency-Key": name}
        async with run.session.post(f"{run.nodes[0].url}/{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json(), "Idempotency-Replayed" in answer.headers

    async with cluster(tmp_path, embedded=True) as run:
        node = await run.serve()
        picture, chat = (f"api/v1/{PICTURE}", {"prompt": "x"}), (f"api/v1/{CHAT}", ask("Wait [slow 1]"))
        await kill_when_written(run, *picture, "picture")
        await run.start(node)
        found = await again(run, *picture, "picture")
        await kill_when_written(run, *chat, "chat")
        await run.start(node)
        async with asyncio.timeout(30):  # until the worker has paid the dead chat back
            while (said := await again(run, *chat, "chat"))[0] == 409:
                await asyncio.sleep(0.1)
        await run.kill(node)
        faults = await run.check()

    [(job,)] = rows("SELECT id FROM jobs WHERE service = 'text-to-image'")
    assert (found[0], found[1]["job_id"], found[2]) == (200, job, True)
    assert (said[0], said[2]) == (200, False), "a chat that died with the process starts anew"
    assert rows("SELECT count(*) FROM entries WHERE reason = 'charge'") == [(3,)]
    assert rows("SELECT state FROM jobs WHERE service = 'phaya-gpt' ORDER BY created_at") == [
        ("failed",),
        ("completed",),
    ]
    assert faults == []
