"""Embeddings by the native route, and what is told of chat's and their models and prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from conftest import Phaya
from phaya.providers import Unknown
from phaya.web.vectors import in_order

pytestmark = pytest.mark.anyio
PATH = "embedding/create"


@pytest.mark.parametrize("given", ["one text", ["one text"], ["สวัสดี", "boat", "สวัสดี"]])
async def test_there_are_as_many_vectors_as_inputs_in_their_order(phaya: Phaya, given: str | list[str]) -> None:
    key = await phaya.new_key("5")

    answer = await phaya.post(PATH, {"input": given}, key=key)

    told = answer.json
    count = 1 if isinstance(given, str) else len(given)
    assert told["success"] is True
    assert told["model"] == "qwen/qwen3-embedding-8b"
    assert [one["index"] for one in told["data"]] == list(range(count))
    assert {len(one["embedding"]) for one in told["data"]} == {4096}
    assert told["data"][0]["embedding"] == told["data"][-1]["embedding"]
    cost = told["usage"]["prompt_tokens"] * Decimal("2.8") / 1_000_000
    assert cost == answer.exact("credits_used") > 0
    assert 5 - cost == answer.exact("credits_balance") == await phaya.balance(key)


async def test_vectors_may_be_shorter_and_packed(phaya: Phaya) -> None:
    short = (await phaya.post(PATH, {"input": "x", "dimensions": 8})).json
    packed = (await phaya.post(PATH, {"input": "x", "dimensions": 8, "encoding_format": "base64"})).json

    assert len(short["data"][0]["embedding"]) == 8
    assert in_order(packed["data"], 1, "float")[0]["embedding"] == pytest.approx(short["data"][0]["embedding"])
    assert in_order(short["data"], 1, "base64") == packed["data"]


def test_vectors_are_put_into_the_order_of_the_inputs() -> None:
    shuffled = [{"index": 2, "embedding": [2.0]}, {"index": 0, "embedding": [0.0]}, {"index": 1, "embedding": [1.0]}]

    assert [one["embedding"] for one in in_order(shuffled, 3, "float")] == [[0.0], [1.0], [2.0]]
    assert [one["embedding"] for one in in_order([{"embedding": [5.0]}], 1, "float")] == [[5.0]]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 7, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": None}],
        [{"index": 0, "embedding": [1.0]}, {"index": [1], "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": "?"}],
    ],
)
def test_vectors_that_do_not_fit_the_inputs_are_no_answer(data: Any) -> None:
    with pytest.raises(Unknown):
        in_order(data, 2, "float")


@pytest.mark.parametrize(("marker", "status"), [("[fail]", 503), ("[reject]", 422), ("[drop]", 502)])
async def test_what_fails_costs_nothing(phaya: Phaya, marker: str, status: int) -> None:
    key = await phaya.new_key("5")

    answer = await phaya.post(PATH, {"input": f"text {marker}"}, key=key)

    assert answer.status == status, answer.content
    assert await phaya.balance(key) == 5
    assert await phaya.audit() == []


FAULTS: list[tuple[dict[str, Any], int, str]] = [
    ({}, 422, "input: is required"),
    ({"input": ""}, 422, "input.0: must not be blank"),
    ({"input": []}, 422, "input: must be a text or a list"),
    ({"input": 7}, 422, "input: must be a text or a list"),
    ({"input": ["x"] * 2049}, 422, "1 to 2048 texts"),
    ({"input": [[1, 2]]}, 422, "input takes texts for qwen"),
    ({"input": "x", "dimensions": 5000}, 422, "dimensions must be at most 4096"),
    ({"input": "x", "dimensions": 0}, 422, "dimensions"),
    ({"input": "x", "encoding_format": "hex"}, 422, "encoding_format: must be one of float, base64"),
    ({"input": "x", "model": "text-embedding-9"}, 404, "there are qwen/qwen3-embedding-8b"),
]


@pytest.mark.parametrize(("body", "status", "told"), FAULTS)
async def test_bad_input_is_named(phaya: Phaya, body: dict[str, Any], status: int, told: str) -> None:
    answer = await phaya.post(PATH, body)

    assert answer.status == status
    assert told in answer.json["message"]


async def test_a_ceiling_is_held_and_scopes_are_kept(phaya: Phaya) -> None:
    poor, picky = await phaya.new_key("0.0001"), await phaya.new_key("5", scopes=["text-to-image"])

    assert (await phaya.post(PATH, {"input": "word " * 1000}, key=poor)).status == 402
    assert (await phaya.post(PATH, {"input": "x"}, key=picky)).status == 403
    assert (await phaya.post(PATH, {"input": "x"}, key=await phaya.new_key("5", scopes=["embedding"]))).status == 200


async def test_unknown_fields_are_named(phaya: Phaya) -> None:
    answer = await phaya.post(PATH, {"text": "x", "colour": "red"})

    assert answer.status == 200
    assert sorted(answer.json["warnings"]) == ["'text' was read as 'input'.", "Unknown field 'colour' was ignored."]


async def test_models_and_prices_need_no_key(phaya: Phaya) -> None:
    told: dict[str, Any] = {}
    for path in ("phaya-gpt/models", "phaya-gpt/pricing", "embedding/pricing"):
        async with phaya.session.get(f"{phaya.url}/api/v1/{path}") as answer:
            assert answer.status == 200
            told[path] = await answer.json()

    assert told["phaya-gpt/pricing"]["prices"] == {"input": 10.5, "output": 87.5}
    assert told["embedding/pricing"]["prices"] == {"input": 2.8}
    assert [model["id"] for model in told["phaya-gpt/models"]["models"]] == ["phaya-gpt"]
