"""Wrong answers of providers: a part of what `make soak` sends, the same in each run, and those that once did harm."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from fuzz import fuzz
from parsers import PARSERS
from phaya.calls import Finished, Passage, Refused
from phaya.providers import gemini_wire
from phaya.providers.kie_records import read_record
from phaya.providers.openrouter_errors import refusal
from phaya.providers.openrouter_stream import decimal_text, usage_in
from phaya.providers.pcm import NotSound, read_sound
from phaya.providers.suno import songs
from phaya.results import Results
from phaya.stripe import read_session
from reliability import write

DEEP: list[object] = orjson.loads("[" * 400 + "]" * 400)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_wrong_answer_is_refused_as_documented_or_read_soundly(parser: str) -> None:
    assert fuzz(parser, 2_000) == []


def test_an_input_is_made_from_its_number_alone() -> None:
    made: list[float] = []
    PARSERS["of this test"] = lambda dice: made.append(dice.random())
    try:
        fuzz("of this test", 3)
        fuzz("of this test", 1, first=2)
    finally:
        del PARSERS["of this test"]

    assert len(set(made[:3])) == 3
    assert made[3] == made[2]


def test_a_reason_that_is_nested_too_deep_to_be_written_is_no_reason() -> None:
    found = read_record({"state": "fail", "failMsg": DEEP})  # pyright: ignore[reportArgumentType] - JSON all the same

    assert isinstance(found, Refused)
    assert refusal(400, {"error": {"metadata": {"raw": DEEP}}}, "", None).message  # pyright: ignore[reportArgumentType]


def test_facts_are_words_and_numbers_so_that_the_row_can_hold_them() -> None:
    inner = {"character_id": ["c"], "deep": DEEP, "name": "bo"}
    found = read_record({"state": "success", "response": {"resultObject": inner}})  # pyright: ignore[reportArgumentType]

    assert isinstance(found, Finished)
    assert found.facts == {"name": "bo"}
    assert Results.pack(found)


def test_a_price_of_nothing_with_a_hundred_million_places_is_nothing() -> None:
    assert decimal_text("0E-99999999") == decimal_text("0E+99999999") == "0"
    assert decimal_text("0." + "3" * 5000) is None


@pytest.mark.parametrize("count", [2**63, 2**64 - 1, 2_000_000_000, -1, "9"])
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens"])
def test_a_count_that_is_none_makes_no_bill(field: str, count: object) -> None:
    told = {"prompt_tokens": 1, "completion_tokens": 2, field: count}

    assert usage_in({"usage": told}) is None  # pyright: ignore[reportArgumentType] - JSON all the same


def test_sound_at_no_samples_a_second_is_no_sound() -> None:
    assert read_sound(bytes(48_000), "audio/L16;rate=0000").seconds == 1.0
    header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x01\0\0\0\0\0\0\0\x02\0\x10\0data\0\0\0\0"
    with pytest.raises(NotSound, match="1 Hz"):
        read_sound(header + bytes(8), "audio/wav")


def test_more_tokens_than_a_passage_can_have_are_not_charged() -> None:
    answer = {
        "candidates": [{"finishReason": "STOP", "content": {"parts": [{"inlineData": {"data": "AAAA" * 16_000}}]}}],
        "usageMetadata": {"promptTokenCount": 2**63, "candidatesTokenCount": 2**63},
    }
    spoken = gemini_wire.read_answer(answer, Passage("Hello", 1.0))  # pyright: ignore[reportArgumentType]

    assert (spoken.prompt_tokens, spoken.audio_tokens) == (2, 25)


def test_a_songs_address_is_no_longer_than_any_other() -> None:
    assert songs([{"audioUrl": "https://a.example/" + "y" * 5000}]) is None


@pytest.mark.parametrize("amount", [True, -1, 2**63, 1.5, "100"])
def test_an_amount_of_stripes_is_a_whole_number(amount: object) -> None:
    assert read_session({"id": "cs_1", "amount_total": amount}).total is None
    assert read_session({"id": "cs_1", "amount_total": 100}).total == 100


def test_a_result_is_printed_between_its_own_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x: printed -->old<!-- x: end -->\nb")

    write("x", "new", page)

    assert page.read_text() == "a\n<!-- x: printed -->\n\nnew\n\n<!-- x: end -->\nb"
    with pytest.raises(ValueError, match="0 places for y"):
        write("y", "new", page)
