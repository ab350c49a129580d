"""The OpenAI routes, used by the official `openai` client with only its base address and key changed."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any, cast

import openai
import orjson
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.responses import FunctionToolParam, ResponseInputParam
from PIL import Image
from pydantic import BaseModel

from conftest import Phaya
from phaya.catalog import SERVICES

pytestmark = pytest.mark.anyio
PREFIXES = ("/v1", "/api/v1", "")
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
FLAT_WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


def user(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def price(prompt: int, completion: int = 0) -> Decimal:
    return (prompt * Decimal("10.5") + completion * Decimal("87.5")) / 1_000_000


def extra(answer: BaseModel, name: str) -> Any:
    assert answer.model_extra is not None
    return answer.model_extra[name]


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
async def client(phaya: Phaya) -> AsyncGenerator[AsyncOpenAI, None]:
    async with AsyncOpenAI(base_url=f"{phaya.url}/v1", api_key=phaya.key) as made:
        yield made


def client_of(phaya: Phaya, key: str, prefix: str = "/v1") -> AsyncOpenAI:
    return AsyncOpenAI(base_url=phaya.url + prefix, api_key=key, max_retries=0)


async def settled(phaya: Phaya, key: str) -> Decimal:
    """The balance once nothing is held any more."""
    async with asyncio.timeout(30):
        while "remote/talking" in (await phaya.operate("check"))["waiting"]:
            await asyncio.sleep(0.05)
    return await phaya.balance(key)


# ── chat ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_chat_is_answered_at_each_base_address_and_costs_its_tokens(phaya: Phaya, prefix: str) -> None:
    key = await phaya.new_key("5")
    async with client_of(phaya, key, prefix) as client:
        answer = await client.chat.completions.create(model="gpt-4o", messages=user("Good morning"))

    assert answer.object == "chat.completion"
    assert answer.choices[0].finish_reason == "stop"
    assert "Good morning" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    cost = price(answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert 5 - cost == await phaya.balance(key) < 5


@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream_says_the_same_and_tells_usage_as_it_was_asked_for(
    phaya: Phaya, client: AsyncOpenAI, asked: bool
) -> None:
    plain = await client.chat.completions.create(model="phaya-gpt", messages=user("Tell me of rice"))
    stream = await client.chat.completions.create(
        model="phaya-gpt", messages=user("Tell me of rice"), stream=True, stream_options={"include_usage": asked}
    )

    chunks = [chunk async for chunk in stream]

    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    with_usage = [chunk for chunk in chunks if chunk.usage]
    assert said == plain.choices[0].message.content
    assert with_usage[0].usage == plain.usage
    assert extra(with_usage[0], "credits_used") == extra(plain, "credits_used")
    assert (not with_usage[0].choices) is asked, "programs that read choices[0] of every event do not fail"


async def test_a_tool_is_called_and_its_result_answered(client: AsyncOpenAI) -> None:
    messages = user("Please get weather of Chiang Mai")
    first = await client.chat.completions.create(model="phaya-gpt", messages=messages, tools=[WEATHER])
    call = (first.choices[0].message.tool_calls or [])[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert "city" in orjson.loads(call.function.arguments)

    messages.append(cast("ChatCompletionMessageParam", first.choices[0].message.model_dump(exclude_none=True)))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "31 degrees"})
    second = await client.chat.completions.create(model="phaya-gpt", messages=messages, tools=[WEATHER])

    assert first.choices[0].finish_reason == "tool_calls"
    assert "31 degrees" in (second.choices[0].message.content or "")


async def test_a_streamed_tool_call_is_put_together_by_the_client(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="phaya-gpt", messages=user("Please get weather of Nan"), tools=[WEATHER]
    ) as stream:
        answer = await stream.get_final_completion()

    call = (answer.choices[0].message.tool_calls or [])[0]
    assert call.function.name == "get_weather"
    assert "city" in orjson.loads(call.function.arguments)


@pytest.mark.parametrize("address", ["https://example.com/boat.png", "data"])
async def test_a_picture_is_seen(client: AsyncOpenAI, address: str) -> None:
    url = address if address != "data" else f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    content: Any = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]

    answer = await client.chat.completions.create(model="phaya-gpt", messages=[{"role": "user", "content": content}])

    assert "1 attachment" in (answer.choices[0].message.content or "")


class Dish(BaseModel):
    name: str
    spicy: bool
    grams: int


async def test_a_structured_answer_fits_its_schema(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.parse(model="phaya-gpt", messages=user("A Thai dish"), response_format=Dish)

    assert isinstance(answer.choices[0].message.parsed, Dish)


async def test_the_native_route_searches_and_shapes_too(phaya: Phaya) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "dish", "schema": Dish.model_json_schema()}}
    body = {"messages": user("A dish"), "web_search": True, "response_format": schema}

    answer = (await phaya.post("phaya-gpt/chat/completions", body)).json

    assert answer["warnings"] == []
    Dish.model_validate_json(answer["message"]["content"])


async def test_a_dry_run_of_a_chat_asks_nobody(phaya: Phaya) -> None:
    key = await phaya.new_key("5")
    body = {"messages": user("hello"), "dry_run": True}

    answers = [
        await phaya.post("phaya-gpt/chat/completions", body, key=key),
        await phaya.ask("POST", "/v1/chat/completions", body, key=key),
        await phaya.post("embedding/create", {"input": "hello", "dry_run": True}, key=key),
    ]

    assert [answer.json["dry_run"] for answer in answers] == [True] * 3
    assert all(answer.exact("credits") > 0 == answer.exact("credits_used") for answer in answers)
    assert await phaya.balance(key) == 5


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_a_hang_up_stops_the_model_and_is_settled(phaya: Phaya, path: str) -> None:
    key = await phaya.new_key("10")
    text = f"Count for ever at {path} [forever]"
    body = {"stream": True} | ({"input": text} if path.endswith("responses") else {"messages": user(text)})
    headers = {"Authorization": f"Bearer {key}"}
    async with phaya.session.post(phaya.url + path, data=orjson.dumps(body), headers=headers) as answer:
        async for line in answer.content:
            if b'"content":"' in line or b"output_text.delta" in line:
                break
        answer.close()

    left = await settled(phaya, key)

    kie = cast("Any", phaya.system.workflow.roster.kie)
    async with phaya.session.get(f"{kie.base_url}/sandbox/generations", params={"last": "1"}) as found:
        last = (await found.json())["generations"][0]
    assert last["cancelled"]
    assert 10 - price(last["prompt_tokens"], last["completion_tokens"]) == left
    assert await phaya.audit() == []


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_errors_wear_openais_envelope(phaya: Phaya, prefix: str) -> None:
    poor, picky = await phaya.new_key("0.001"), await phaya.new_key("5", scopes=["text-to-image"])
    told: list[tuple[int, str, str | None]] = []
    for key, messages in (("wrong", user("x")), (poor, user("x")), (picky, user("x")), (phaya.key, [])):
        async with client_of(phaya, key, prefix) as client:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.chat.completions.create(model="phaya-gpt", messages=messages)
        error = cast("dict[str, Any]", caught.value.body)
        assert error.keys() == {"message", "type", "code", "param"}
        assert caught.value.response.json()["message"] == error["message"]
        assert caught.value.response.headers["x-should-retry"] == "false"
        told.append((caught.value.status_code, error["type"], error["param"]))

    assert told == [
        (401, "authentication_error", None),
        (402, "insufficient_quota", None),
        (403, "permission_error", None),
        (422, "invalid_request_error", "messages"),
    ]


async def test_too_many_requests_are_told_when_to_come_back_and_may_be_sent_again(phaya: Phaya) -> None:
    key = await phaya.new_key("5", rate=1)
    async with client_of(phaya, key) as client:
        await client.models.list()
        with pytest.raises(openai.RateLimitError) as caught:
            await client.models.list()

    assert int(caught.value.response.headers["retry-after"]) > 0
    assert "x-should-retry" not in caught.value.response.headers


async def test_a_model_that_is_down_is_503_and_costs_nothing(phaya: Phaya) -> None:
    key = await phaya.new_key("5")
    async with client_of(phaya, key) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="phaya-gpt", messages=user("Hello [fail]"))

    assert (caught.value.status_code, caught.value.type) == (503, "server_error")
    assert await settled(phaya, key) == 5


@pytest.mark.parametrize("model", ["text-to-image", "sora-2", "text-embedding-3-small"])
async def test_a_model_that_does_not_chat_is_not_found(client: AsyncOpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model=model, messages=user("x"))

    assert caught.value.code == "model_not_found"


async def test_an_unknown_path_is_told_in_the_same_envelope(phaya: Phaya) -> None:
    answer = await phaya.ask("POST", "/v1/chat/completion", {})

    assert answer.status == 404
    assert "/v1/chat/completions" in answer.json["error"]["message"]


# ── embeddings and models ────────────────────────────────────────────────────────────────────────────────


async def test_embeddings_come_in_order_by_the_clients_own_base64(phaya: Phaya) -> None:
    key = await phaya.new_key("5")
    texts = ["boat", "river", "boat"]
    async with client_of(phaya, key) as client:
        packed = await client.embeddings.create(model="qwen/qwen3-embedding-8b", input=texts)
        plain = await client.embeddings.create(
            model="qwen/qwen3-embedding-8b", input=texts, encoding_format="float", dimensions=64
        )

    assert [one.index for one in packed.data] == [0, 1, 2]
    assert {len(one.embedding) for one in packed.data} == {4096}
    assert packed.data[0].embedding == packed.data[2].embedding != packed.data[1].embedding
    assert {len(one.embedding) for one in plain.data} == {64}
    used = packed.usage.prompt_tokens + plain.usage.prompt_tokens
    assert 5 - used * Decimal("2.8") / 1_000_000 == await phaya.balance(key)


async def test_token_numbers_go_to_openais_model(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="text-embedding-3-small", input=[[9906, 1917], [15339]])

    assert {len(one.embedding) for one in answer.data} == {1536}


async def test_the_models_are_listed_and_each_is_taken_where_it_belongs(client: AsyncOpenAI) -> None:
    listed = [model async for model in client.models.list()]
    ids = {model.id for model in listed}

    assert {"phaya-gpt", "qwen/qwen3-embedding-8b", "text-to-image", "sora2-text-to-video"} <= ids
    assert {model.object for model in listed} == {"model"}
    assert (await client.models.retrieve("qwen/qwen3-embedding-8b")).owned_by == "phaya"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-9")


# ── responses ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_response_says_what_a_chat_says(phaya: Phaya) -> None:
    key = await phaya.new_key("5")
    async with client_of(phaya, key) as client:
        answer = await client.responses.create(model="gpt-5", instructions="Be brief.", input="Good evening")

    assert answer.status == "completed"
    assert "Good evening" in answer.output_text
    assert answer.usage is not None
    assert 5 - price(answer.usage.input_tokens, answer.usage.output_tokens) == await phaya.balance(key)


async def test_a_streamed_response_has_openais_events_in_their_order(client: AsyncOpenAI) -> None:
    plain = await client.responses.create(model="phaya-gpt", input="Tell me of the sea")
    stream = await client.responses.create(model="phaya-gpt", input="Tell me of the sea", stream=True)

    events = [event async for event in stream]

    kinds = list(dict.fromkeys(event.type for event in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == plain.output_text
    assert last.response.usage == plain.usage


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_response_calls_a_tool_and_answers_its_result(client: AsyncOpenAI, streamed: bool) -> None:
    asked: ResponseInputParam = [{"role": "user", "content": "Please get weather of Phuket"}]
    if streamed:
        async with client.responses.stream(model="phaya-gpt", input=asked, tools=[FLAT_WEATHER]) as stream:
            first = await stream.get_final_response()
    else:
        first = await client.responses.create(model="phaya-gpt", input=asked, tools=[FLAT_WEATHER])
    call = first.output[0]
    assert call.type == "function_call"
    assert "city" in orjson.loads(call.arguments)

    asked += cast("Any", [item.model_dump(exclude_none=True) for item in first.output])
    asked.append({"type": "function_call_output", "call_id": call.call_id, "output": "29 degrees"})
    second = await client.responses.create(model="phaya-gpt", input=asked, tools=[FLAT_WEATHER])

    assert "29 degrees" in second.output_text


async def test_a_response_sees_pictures_and_keeps_to_a_schema(client: AsyncOpenAI) -> None:
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    content: Any = [{"type": "input_text", "text": "And this?"}, {"type": "input_image", "image_url": url}]
    seen = await client.responses.create(model="phaya-gpt", input=[{"role": "user", "content": content}])
    shaped = await client.responses.parse(model="phaya-gpt", input="A dish", text_format=Dish)

    assert "1 attachment" in seen.output_text
    assert isinstance(shaped.output_parsed, Dish)


async def test_a_response_that_was_cut_short_says_so(client: AsyncOpenAI) -> None:
    answer = await client.responses.create(model="phaya-gpt", input="A long tale", max_output_tokens=3)

    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": [{"type": "computer_call"}]}, "input.0.type"),
        ({"input": "x", "tools": [{"type": "file_search"}]}, "tools.0.type"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input.0.content"),
    ],
)
async def test_bad_responses_are_explained(phaya: Phaya, body: dict[str, Any], field: str) -> None:
    answer = await phaya.ask("POST", "/v1/responses", body)

    assert (answer.status, answer.json["error"]["param"]) == (422, field)


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/text-to-image/create",
        "/api/v1/text-to-image/generate/",
        "/api/v1/text-to-image/create/",
        "/v1/chat/completions/",
        "/chat/completions/",
        "/api/v1/phaya-gpt/chat/completions/",
    ],
)
async def test_slips_in_paths_reach_where_they_were_meant_to(phaya: Phaya, path: str) -> None:
    body = {"prompt": "x", "messages": user("x"), "dry_run": True}

    answer = await phaya.ask("POST", path, body)

    assert (answer.status, answer.json["dry_run"]) == (200, True)


@pytest.mark.parametrize("path", ["tts/create", "text-to-speech/create", "text-to-speech/generate"])
async def test_speech_is_found_under_the_names_that_clients_use(phaya: Phaya, path: str) -> None:
    answer = await phaya.post(path, {"prompt": "Hello", "dry_run": True})

    assert answer.status == (200 if "text-to-speech" in SERVICES else 404)
    if answer.status == 404:
        pytest.skip("no service speaks yet")


async def test_aliases_are_not_advertised(phaya: Phaya) -> None:
    paths = (await phaya.ask("GET", "/openapi.json")).json["paths"]

    assert "/v1/chat/completions" in paths
    assert not {"/api/v1/text-to-image/create", "/chat/completions", "/api/v1/chat/completions"} & paths.keys()
