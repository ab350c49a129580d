"""Chat: flat answers, streams, and money that is exact however the talk ends."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import orjson
import pytest

from conftest import BOTH, Phaya

pytestmark = pytest.mark.anyio

ENGINES = BOTH
PATH = "phaya-gpt/chat/completions"


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def price(usage: dict[str, int]) -> Decimal:
    """The published price: 10.50 a million tokens in, 87.50 out."""
    return (usage["prompt_tokens"] * Decimal("10.5") + usage["completion_tokens"] * Decimal("87.5")) / 1_000_000


async def settled(phaya: Phaya, key: str, seconds: float = 30) -> Decimal:
    """The balance once nothing is held any more."""
    async with asyncio.timeout(seconds):
        while "remote/talking" in (await phaya.operate("check"))["waiting"]:
            await asyncio.sleep(0.05)
    return await phaya.balance(key)


async def events(phaya: Phaya, key: str, body: dict[str, Any]) -> list[dict[str, Any] | str]:
    """A stream's data events, read to its end."""
    headers = {"Authorization": f"Bearer {key}"}
    async with phaya.session.post(f"{phaya.url}/api/v1/{PATH}", data=orjson.dumps(body), headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = (await answer.read()).decode().split("\n")
    told = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [line if line == "[DONE]" else orjson.loads(line) for line in told]


async def test_the_answer_is_flat_with_choices_beside_it(phaya: Phaya) -> None:
    answer = (await phaya.post(PATH, ask("Good morning"))).json

    assert answer["success"] is True
    assert answer["model"] == "Phaya-GPT"
    assert answer["message"]["role"] == "assistant"
    assert answer["message"]["content"] == answer["choices"][0]["message"]["content"]
    assert "Good morning" in answer["message"]["content"]
    assert answer["finish_reason"] == "stop"
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} == answer["usage"].keys()


async def test_a_chat_costs_exactly_its_tokens(phaya: Phaya) -> None:
    key = await phaya.new_key("10")

    answer = await phaya.post(PATH, ask("How much is the fish?"), key=key)

    cost = price(answer.json["usage"])
    assert cost == answer.exact("credits_used") > 0
    assert 10 - cost == answer.exact("credits_balance") == await phaya.balance(key)


async def test_a_stream_costs_what_the_plain_answer_costs_and_says_so(phaya: Phaya) -> None:
    key = await phaya.new_key("10")
    plain = await phaya.post(PATH, ask("Tell me of the sea"), key=key)

    told = await events(phaya, key, ask("Tell me of the sea", stream=True))

    chunks = [event for event in told if isinstance(event, dict)]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    usage = next(chunk for chunk in chunks if chunk.get("usage"))
    assert said == plain.json["message"]["content"]
    assert Decimal(str(usage["credits_used"])) == plain.exact("credits_used")
    assert "cost" not in usage["usage"], "what the operator pays is not the client's business"
    assert told[-1] == "[DONE]"
    assert 10 - 2 * plain.exact("credits_used") == await settled(phaya, key)


async def test_thai_arrives_whole(phaya: Phaya) -> None:
    told = await events(phaya, phaya.key, ask("สวัสดีครับ ขอเรื่องทะเล", stream=True))

    said = "".join(
        event["choices"][0]["delta"].get("content") or ""
        for event in told
        if isinstance(event, dict) and event["choices"]
    )
    assert "สวัสดีครับ ขอเรื่องทะเล" in said


@pytest.mark.parametrize(
    ("marker", "status"), [("[fail]", 503), ("[garbage]", 503), ("[reject]", 422), ("[drop]", 502)]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_fails_before_the_first_word_costs_nothing(
    phaya: Phaya, marker: str, status: int, stream: bool
) -> None:
    if stream and marker == "[drop]":
        pytest.skip("a dropped stream breaks off in the middle, see below")
    key = await phaya.new_key("10")

    answer = await phaya.post(PATH, ask(f"Hello {marker}", stream=stream), key=key)

    assert answer.status == status, answer.content
    assert answer.json["success"] is False
    assert len(answer.json["message"]) > 10
    assert await settled(phaya, key) == 10


async def test_a_busy_model_is_asked_again(phaya: Phaya) -> None:
    answer = await phaya.post(PATH, ask("Is anybody there? [429]"))

    assert answer.status == 200


async def test_a_stream_that_breaks_off_is_paid_for_what_was_said(phaya: Phaya) -> None:
    key = await phaya.new_key("10")

    told = await events(phaya, key, ask("A long story [drop]", stream=True))

    assert "[DONE]" not in told
    assert isinstance(told[-1], dict)
    assert "cut off" in told[-1]["error"]["message"]
    left = await settled(phaya, key)
    assert Decimal(9) < left < 10


async def test_an_error_in_the_middle_reaches_the_client(phaya: Phaya) -> None:
    told = await events(phaya, phaya.key, ask("Hello [midfail]", stream=True))

    assert any(isinstance(event, dict) and "error" in event for event in told)


@pytest.mark.parametrize("chunks", [1, 2, 5])
async def test_a_hang_up_is_settled_by_what_was_used(phaya: Phaya, chunks: int) -> None:
    key = await phaya.new_key("10")
    body = orjson.dumps(ask("Count to ten thousand [forever]", stream=True))
    headers = {"Authorization": f"Bearer {key}"}
    held = Decimal(10)
    async with phaya.session.post(f"{phaya.url}/api/v1/{PATH}", data=body, headers=headers) as answer:
        seen = 0
        async for line in answer.content:
            if line.startswith(b"data: "):
                held = await phaya.balance(key)
                seen += 1
                if seen == chunks:
                    break
        answer.close()

    left = await settled(phaya, key)

    assert held < left < 10, "neither the ceiling nor nothing"
    assert await phaya.audit() == []


async def test_a_ceiling_is_held_so_that_nobody_talks_on_credit(phaya: Phaya) -> None:
    key = await phaya.new_key("0.01")

    answer = await phaya.post(PATH, ask("x" * 10_000, max_tokens=100), key=key)

    assert answer.status == 402
    assert await phaya.balance(key) == Decimal("0.01")


async def test_parallel_chats_never_overdraw(phaya: Phaya) -> None:
    key = await phaya.new_key("1")  # one default ceiling is about 0.7

    answers = await asyncio.gather(*(phaya.post(PATH, ask(f"hello {n}"), key=key) for n in range(12)))

    assert {200, 402} >= {answer.status for answer in answers}
    used = sum((answer.exact("credits_used") for answer in answers if answer.status == 200), Decimal(0))
    assert 1 - used == await settled(phaya, key)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "messages: is required"),
    ({"messages": []}, "messages: must have at least 1 items"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role: must be one of system, developer"),
    (ask("x", temperature=3), "temperature"),
    (ask("x", max_tokens=0), "max_tokens"),
    ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "takes parts text and image_url"),
]


@pytest.mark.parametrize(("body", "told"), FAULTS)
async def test_bad_chats_are_explained(phaya: Phaya, body: dict[str, Any], told: str) -> None:
    answer = await phaya.post(PATH, body)

    assert answer.status == 422
    assert told in answer.json["message"]


async def test_an_unknown_model_is_answered_by_ours_with_a_warning(phaya: Phaya) -> None:
    answer = await phaya.post(PATH, ask("hi", model="gpt-9", service_tier="ultrafast"))

    assert answer.status == 200
    assert any("gpt-9" in warning for warning in answer.json["warnings"])
    assert any("service_tier" in warning for warning in answer.json["warnings"])


async def test_tools_are_passed_through(phaya: Phaya) -> None:
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}

    answer = (await phaya.post(PATH, ask("Please call get_weather", tools=[tool]))).json

    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
