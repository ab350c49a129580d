"""The list of all jobs, and each job by its id alone."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from conftest import Phaya
from phaya import jobs
from phaya.catalog import SERVICES

pytestmark = pytest.mark.anyio

NEVER = {"prompt": "A ship in the fog [lost]"}


async def some(phaya: Phaya, key: str) -> list[str]:
    """A picture, a film and a song, of which the film is cancelled; ids in this order."""
    made = [
        (await phaya.create(SERVICES[path], key, **NEVER))["job_id"]
        for path in ("text-to-image", "sora2-text-to-video", "text-to-music")
    ]
    assert (await phaya.post(f"jobs/{made[1]}/cancel", {}, key=key)).json["success"] is True
    return made


async def listed(phaya: Phaya, key: str, query: str = "") -> list[dict[str, Any]]:
    answer = await phaya.get(f"jobs?{query}", key=key)
    assert answer.status == 200, answer.content
    return answer.json["jobs"]


async def test_jobs_of_all_services_are_listed_newest_first_in_their_own_words(phaya: Phaya) -> None:
    key = await phaya.new_key("50")
    picture, film, song = await some(phaya, key)
    await phaya.create(SERVICES["text-to-image"], await phaya.new_key())

    found = await listed(phaya, key)

    assert [job["job_id"] for job in found] == [song, film, picture]
    assert [job["service"] for job in found] == ["text-to-music", "sora2-text-to-video", "text-to-image"]
    assert found[1]["status"] == "cancelled"
    assert "audio_urls" in found[0]
    assert {job["status"] for job in (found[0], found[2])} <= {"QUEUED", "PROCESSING"}


async def test_pages_follow_one_another_to_the_end(phaya: Phaya) -> None:
    key = await phaya.new_key("50")
    made = await some(phaya, key)
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await phaya.get(f"jobs?limit=1{cursor and f'&cursor={cursor}'}", key=key)).json
        seen += [job["job_id"] for job in page["jobs"]]
        cursor = page["next_cursor"]

    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("service=text-to-music", [2]),
        ("service=text-to-music&service=text-to-image", [2, 0]),
        ("state=cancelled", [1]),
        ("status=cancelled", [1]),
        ("status=COMPLETED", []),
        ("state=cancelled&status=processing", []),
        ("since=2020-01-01", [2, 1, 0]),
        ("since=2200-01-01T00:00:00Z", []),
        ("until=2020-01-01T00:00:00", []),
        ("sandbox=true", [2, 1, 0]),
        ("sandbox=false", []),
        ("service=phaya-gpt", []),
    ],
)
async def test_a_list_can_be_narrowed(phaya: Phaya, query: str, places: list[int]) -> None:
    key = await phaya.new_key("50")
    made = await some(phaya, key)

    found = await listed(phaya, key, query)

    assert [job["job_id"] for job in found] == [made[place] for place in places]


REFUSED = [
    ("service=text-to-film", "service: must be one of text-to-image"),
    ("status=succeeded", "status: must be one of"),
    ("state=done", "state: "),
    ("cursor=abc", "cursor: must be the next_cursor"),
    ("cursor=%00%ff", "cursor: must be the next_cursor"),
    ("since=yesterday", "since: "),
    ("limit=201", "limit: "),
]


@pytest.mark.parametrize(("query", "told"), REFUSED)
async def test_what_cannot_be_looked_for_is_refused_by_name(phaya: Phaya, query: str, told: str) -> None:
    answer = await phaya.get(f"jobs?{query}")

    assert (answer.status, answer.json["message"][: len(told)]) == (422, told)


async def test_chats_are_listed_where_they_are_asked_for(phaya: Phaya) -> None:
    key = await phaya.new_key("50")
    chat = {"messages": [{"role": "user", "content": "Say hello."}]}
    said = await phaya.post("phaya-gpt/chat/completions", chat, key=key)

    [call] = await listed(phaya, key, "service=phaya-gpt&status=completed")

    assert await listed(phaya, key) == []
    assert call["credits_used"] == said.json["credits_used"]
    assert call["credits_held"] == pytest.approx(call["credits_used"] + call["credits_refunded"])
    assert call["usage"] == said.json["usage"]
    assert (await phaya.get(f"jobs/{call['job_id']}", key=key)).json == call
    assert (await phaya.post(f"jobs/{call['job_id']}/cancel", {}, key=key)).json["success"] is False


async def test_a_job_is_known_by_its_id_alone(phaya: Phaya) -> None:
    job = (await phaya.create(SERVICES["seedream"], prompt="A slow sunrise [slow 1]"))["job_id"]

    by_id = await phaya.get(f"jobs/{job}?wait=50")
    events = await phaya.get(f"jobs/{job}/events")

    assert (by_id.json["status"], by_id.json["state"]) == ("completed", "completed")
    assert by_id.json == (await phaya.get(f"seedream/status/{job}")).json
    assert by_id.json["result_url"].encode() in events.content


@pytest.mark.parametrize("path", ["jobs/{}", "jobs/{}/events"])
async def test_a_job_of_another_account_is_not_there(phaya: Phaya, path: str) -> None:
    job = (await phaya.create(SERVICES["text-to-image"]))["job_id"]
    other = await phaya.new_key()

    asked = await phaya.get(path.format(job), key=other)
    unknown = await phaya.get(path.format("x"), key=other)
    cancelled = await phaya.post(f"jobs/{job}/cancel", {}, key=other)

    assert (asked.status, unknown.status, cancelled.status) == (404, 404, 404)
    assert asked.json["message"].replace(job, "x") == unknown.json["message"]


async def test_a_cancel_by_id_needs_the_services_scope(phaya: Phaya) -> None:
    key = await phaya.new_key("5", account="scoped@phaya.example")
    job = (await phaya.create(SERVICES["text-to-image"], key, **NEVER))["job_id"]
    chatting = await phaya.new_key(None, account="scoped@phaya.example", scopes=["chat"])

    answer = await phaya.post(f"jobs/{job}/cancel", {}, key=chatting)

    assert (answer.status, answer.json["error"]) == (403, "forbidden")


def test_ids_of_jobs_follow_the_clock_and_cannot_be_guessed_from_each_other() -> None:
    made = [jobs.new_id(moment) for moment in (1_800_000_000_000, 1_800_000_000_001) for _ in range(1000)]

    assert {uuid.UUID(one).version for one in made} == {7}
    assert {uuid.UUID(one).variant for one in made} == {uuid.RFC_4122}
    assert max(made[:1000]) < min(made[1000:])
    random = [uuid.UUID(one).int & ((1 << 62) - 1) for one in made]
    assert len(set(random)) == 2000
    assert all(any(number >> bit & 1 for number in random) for bit in range(62)), "every bit is drawn"


def test_an_id_is_made_of_its_moment_and_of_what_was_drawn() -> None:
    assert jobs.new_id(0x0123456789AB, lambda count: (1 << count) - 1) == "01234567-89ab-7fff-bfff-ffffffffffff"
