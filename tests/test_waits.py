"""Waiting for a job over HTTP: long polls, event streams, and answers that say whether anything is new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from conftest import Phaya, Reply, running, settings
from phaya.app import create_app
from phaya.catalog import SERVICES
from phaya.serving import listen, serving
from phaya.telling import poll_after

pytestmark = pytest.mark.anyio

PICTURE = SERVICES["text-to-image"]
PATH = "text-to-image"
NEVER = {"prompt": "A ship in the fog [lost]"}
LATER = {"prompt": "A slow sunrise [slow 1]"}


async def ordered(phaya: Phaya, key: str | None = None, **fields: Any) -> str:
    return (await phaya.create(PICTURE, key, **fields))["job_id"]


class Stream:
    """An open event stream, read event by event; `id`, `event` and `data` of each."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def __aiter__(self) -> AsyncGenerator[dict[str, Any]]:
        told: dict[str, Any] = {}
        async for line in self.answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                told[name] = orjson.loads(value) if name == "data" else value
            elif "data" in told:
                yield told
                told = {}


@asynccontextmanager
async def listening(
    phaya: Phaya, path: str, key: str | None = None, session: aiohttp.ClientSession | None = None, **headers: str
) -> AsyncGenerator[Stream]:
    sent = {"Authorization": f"Bearer {key or phaya.key}"} | headers
    async with (session or phaya.session).get(f"{phaya.url}/api/v1/{path}", headers=sent) as answer:
        assert answer.status == 200, await answer.read()
        assert answer.content_type == "text/event-stream"
        yield Stream(answer)


async def until_waiting(phaya: Phaya, many: int) -> None:
    async with asyncio.timeout(60):
        while phaya.system.lookout.waiting != many:
            await asyncio.sleep(0.02)


# ── long polls ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("query", "headers"), [("?wait=50", {}), ("", {"Prefer": "handling=lenient, wait=50"})])
async def test_a_status_that_waits_is_answered_at_the_jobs_end(
    phaya: Phaya, query: str, headers: dict[str, str]
) -> None:
    job = await ordered(phaya, **LATER)

    answer = await phaya.get(f"{PATH}/status/{job}{query}", **headers)

    assert (answer.status, answer.json["status"]) == (200, "COMPLETED")
    assert answer.headers.get("Preference-Applied") == ("wait=50" if headers else None)


async def test_a_wait_that_is_over_answers_what_is_true_then(phaya: Phaya) -> None:
    job = await ordered(phaya, **NEVER)

    answer = await phaya.get(f"{PATH}/status/{job}?wait=0.2")

    assert (answer.status, answer.json["state"]) in ((200, "queued"), (200, "processing"))


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "soon"])
async def test_a_wait_that_cannot_be_is_refused_by_name(phaya: Phaya, wait: str) -> None:
    key = await phaya.new_key("5")
    asked = await phaya.get(f"{PATH}/status/x?wait={wait}", key=key)
    ordered = await phaya.post(f"{PATH}/generate?wait={wait}", PICTURE.example, key=key)

    assert (asked.status, ordered.status) == (422, 422)
    assert asked.json["message"].startswith("wait: ")
    assert ordered.json["detail"][0]["loc"] == ["query", "wait"]
    assert await phaya.balance(key) == 5


PREFERENCES = [
    ("wait=0", "wait=0"), ("wait=600", "wait=60"), ("wait=999999999999999", "wait=60"), ('WAIT = "7"', "wait=7"),
    ("wait=2; x=y, wait=9", "wait=2"), ("wait=soon", None), ("wait=-3", None), ("wait", None), ("wait=1.5", None),
    ('x="a, wait=4", wait=5', "wait=5"), ("waiting=4", None), (",;=,\"", None),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "applied"), PREFERENCES)
async def test_a_preference_is_cut_to_what_can_be_or_let_be(phaya: Phaya, sent: str, applied: str | None) -> None:
    job = await ordered(phaya)
    await phaya.finish(PATH, job)

    answer = await phaya.get(f"{PATH}/status/{job}", Prefer=sent)

    assert (answer.status, answer.headers.get("Preference-Applied")) == (200, applied)


@pytest.mark.parametrize("path", ["status/{}?wait=5", "status/{}/events"])
async def test_nobody_waits_for_what_is_not_theirs(phaya: Phaya, path: str) -> None:
    job = await ordered(phaya, **NEVER)
    other = await phaya.new_key()

    answers = [await phaya.get(f"{PATH}/{path.format(name)}", key=other) for name in (job, "nothing")]

    assert [answer.status for answer in answers] == [404, 404]


async def test_a_create_that_waits_answers_with_the_result(phaya: Phaya) -> None:
    key = await phaya.new_key("5")

    answer = await phaya.post(f"{PATH}/generate?wait=50", {"text": "A calm sea"}, key=key)

    told = answer.json
    assert (answer.status, told["status"], told["state"], told["progress"]) == (200, "COMPLETED", "completed", 1)
    assert told["image_url"].endswith(".png")
    assert (told["credits_used"], told["credits_balance"]) == (1, 4)
    assert told["warnings"] == ["'text' was read as 'prompt'."]
    assert told["status_url"].endswith(told["job_id"])


async def test_a_create_that_waits_for_a_failure_tells_of_it_and_of_the_credits(phaya: Phaya) -> None:
    key = await phaya.new_key("5")

    answer = await phaya.post(f"{PATH}/generate", {"prompt": "A storm [fail]"}, key=key, Prefer="wait=50")

    assert (answer.status, answer.json["state"], answer.json["credits_balance"]) == (200, "failed", 5)
    assert answer.headers["Preference-Applied"] == "wait=50"
    assert answer.json["error"]


async def test_a_create_that_waits_in_vain_answers_as_one_that_did_not(phaya: Phaya) -> None:
    plain = (await phaya.post(f"{PATH}/generate", NEVER)).json

    answer = await phaya.post(f"{PATH}/generate?wait=0.2", NEVER)

    assert answer.json.keys() == plain.keys()
    assert (answer.json["status"], answer.json["state"]) == ("PENDING", "queued")


async def test_a_dry_run_waits_for_nothing(phaya: Phaya) -> None:
    answer = await phaya.post(f"{PATH}/generate?wait=60", {**NEVER, "dry_run": True})

    assert answer.json["dry_run"] is True


async def test_three_hundred_who_wait_leave_the_database_to_others_and_hear_of_the_end(tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_OPEN_WAITS=300) as phaya:
        found = [await ordered(phaya, prompt=f"A slow sunrise {number} [slow 4]") for number in range(3)]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as many:

            async def waited(job: str) -> Reply:
                sent = {"Authorization": f"Bearer {phaya.key}"}
                url = f"{phaya.url}/api/v1/{PATH}/status/{job}?wait=60"
                async with many.get(url, headers=sent) as answer:
                    return Reply(answer.status, answer.headers, await answer.read())

            waits = [asyncio.create_task(waited(job)) for job in found * 100]
            await until_waiting(phaya, 300)
            free = await asyncio.gather(*(phaya.balance() for _ in range(10)))
            assert free == [Decimal(997)] * 10
            answers = await asyncio.gather(*waits)

        assert [answer.json["state"] for answer in answers] == ["completed"] * 300
        assert phaya.system.lookout.waiting == 0


async def test_a_client_that_hangs_up_waits_no_more(phaya: Phaya) -> None:
    job = await ordered(phaya, **NEVER)
    waits = [
        asyncio.create_task(phaya.get(f"{PATH}/status/{job}?wait=60")),
        asyncio.create_task(phaya.post(f"{PATH}/generate?wait=60", NEVER)),
    ]
    await until_waiting(phaya, 2)

    for wait in waits:
        wait.cancel()

    await until_waiting(phaya, 0)


async def test_a_key_may_not_hold_more_waits_than_its_places(tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_OPEN_WAITS=1) as phaya:
        job = await ordered(phaya, **NEVER)
        before = await phaya.balance()
        async with listening(phaya, f"{PATH}/status/{job}/events"):
            refused = [
                await phaya.get(f"{PATH}/status/{job}?wait=1"),
                await phaya.get(f"{PATH}/status/{job}/events"),
                await phaya.post(f"{PATH}/generate?wait=1", NEVER),
            ]
            assert (await phaya.get(f"{PATH}/status/{job}")).status == 200, "a poll holds no place"
        await until_waiting(phaya, 0)

        assert [(one.status, one.json["error"]) for one in refused] == [(429, "rate_limited")] * 3
        assert "1 waits and event streams" in refused[0].json["message"]
        assert refused[0].headers["Retry-After"] == "1"
        assert await phaya.balance() == before
        assert (await phaya.get(f"{PATH}/status/{job}?wait=0.1")).status == 200, "the place is free again"


# ── event streams ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_tells_each_state_once_and_ends_with_the_job(phaya: Phaya) -> None:
    job = await ordered(phaya, **LATER)

    async with listening(phaya, f"{PATH}/status/{job}/events") as stream:
        heard = [event async for event in stream]

    assert {event["event"] for event in heard} == {"status"}
    states = [event["data"]["state"] for event in heard]
    assert states == sorted(states, key=["queued", "processing", "completed"].index)
    assert states.count("completed") == 1
    assert len({event["id"] for event in heard}) == len(heard)
    assert heard[-1]["data"] == (await phaya.get(f"{PATH}/status/{job}")).json


async def test_a_stream_begins_behind_the_last_event_that_was_seen(phaya: Phaya) -> None:
    job = await ordered(phaya, **LATER)
    async with listening(phaya, f"{PATH}/status/{job}/events") as stream:
        first = await anext(aiter(stream))

    async with listening(phaya, f"{PATH}/status/{job}/events", **{"Last-Event-ID": first["id"]}) as stream:
        heard = [event async for event in stream]

    assert first["id"] not in {event["id"] for event in heard}
    assert heard[-1]["data"]["state"] == "completed"
    over = await phaya.get(f"{PATH}/status/{job}/events", **{"Last-Event-ID": heard[-1]["id"]})
    assert (over.status, over.content) == (204, b""), "an EventSource does not come again after 204"


async def test_a_listener_who_hangs_up_leaves_nothing_behind(phaya: Phaya) -> None:
    job = await ordered(phaya, **NEVER)

    async with listening(phaya, f"{PATH}/status/{job}/events") as stream:
        await anext(aiter(stream))
        await until_waiting(phaya, 1)

    await until_waiting(phaya, 0)


async def test_a_server_that_stops_ends_waits_and_streams_as_if_they_were_over(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = create_app(settings(tmp_path), url)
        async with aiohttp.ClientSession() as session:
            async with serving(app, listener):
                phaya = Phaya(url, app.state.system, session)
                phaya.key = await phaya.new_key(account=phaya.email)
                job = await ordered(phaya, **NEVER)

                async def heard() -> list[dict[str, Any]]:
                    async with listening(phaya, f"{PATH}/status/{job}/events") as stream:
                        return [event async for event in stream]

                streaming = asyncio.create_task(heard())
                waiting = asyncio.create_task(phaya.get(f"{PATH}/status/{job}?wait=60"))
                await until_waiting(phaya, 2)

            assert (await waiting).json["job_id"] == job
            assert {event["data"]["job_id"] for event in await streaming} == {job}


# ── what is new, and when to ask again ───────────────────────────────────────────────────────────────────


async def test_an_answer_that_is_known_already_is_not_sent_again(phaya: Phaya) -> None:
    job = await ordered(phaya, **LATER)
    early = await phaya.get(f"{PATH}/status/{job}")
    done = await phaya.get(f"{PATH}/status/{job}?wait=50", If_None_Match=early.headers["ETag"])

    again = await phaya.get(f"{PATH}/status/{job}", If_None_Match=f'"x", {done.headers["ETag"]}')
    elsewhere = await phaya.get(f"nano-banana/status/{job}", If_None_Match=done.headers["ETag"])

    assert (done.status, done.json["state"]) == (200, "completed")
    assert (again.status, again.content, again.headers["ETag"]) == (304, b"", done.headers["ETag"])
    assert (elsewhere.status, elsewhere.json["status"]) == (200, "completed"), "other words are another answer"


async def test_a_running_job_says_when_to_ask_again_and_an_ended_one_does_not(phaya: Phaya) -> None:
    job = await ordered(phaya, **LATER)

    early = await phaya.get(f"{PATH}/status/{job}")
    done = await phaya.get(f"{PATH}/status/{job}?wait=50")

    assert 1 <= early.json["poll_after"] <= int(early.headers["Retry-After"]) <= 15
    assert done.json["poll_after"] is None
    assert "Retry-After" not in done.headers


@pytest.mark.parametrize(
    ("age", "usual", "seconds"),
    [(0, 300, 15), (200, 300, 10), (290, 300, 1), (300, 300, 1), (350, 300, 5), (5000, 300, 15), (0, 20, 2)],
)
def test_polls_are_advised_by_what_is_left_of_the_usual_time(age: float, usual: float, seconds: float) -> None:
    assert poll_after(age, usual) == seconds


# ── Cancel-After ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_is_cancelled_when_its_own_time_is_over(phaya: Phaya) -> None:
    key = await phaya.new_key("5")
    created = await phaya.post(f"{PATH}/generate", NEVER, key=key, Cancel_After="5")
    job = created.json["job_id"]

    ended = await phaya.get(f"{PATH}/status/{job}?wait=60", key=key)

    told = ended.json
    assert (told["status"], told["state"], told["error_code"]) == ("FAILED", "cancelled", "cancelled")
    assert "5 s of its Cancel-After" in told["error"]
    assert told["completed_at"] >= told["cancel_at"] > told["created_at"]
    assert await phaya.balance(key) == 5
    assert await phaya.audit() == []


@pytest.mark.parametrize("seconds", ["4", "86401", "1.5", "soon", ""])
async def test_a_time_that_cannot_be_is_refused_by_name(phaya: Phaya, seconds: str) -> None:
    key = await phaya.new_key("5")

    answer = await phaya.post(f"{PATH}/generate", NEVER, key=key, Cancel_After=seconds)

    assert answer.status == 422
    assert answer.json["message"].startswith("cancel-after: ")
    assert await phaya.balance(key) == 5
