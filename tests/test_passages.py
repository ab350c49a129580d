"""Long texts are cut where a reader would breathe, and nothing of them is lost."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from phaya.catalog.passages import LONGEST_SECONDS, LONGEST_TEXT, is_speakable, passages, usual_seconds
from phaya.catalog.speech import TextToSpeech

THAI = "วันนี้อากาศดีมากเลย เราไปเที่ยวเชียงใหม่กันเถอะ ที่นั่นมีน้ำตกสวย "
UNBROKEN_THAI = "กินข้าวที่น้ำตกแม่ยะสวยงามมากเลยทีเดียวเชียว"

texts = st.one_of(
    st.text(max_size=4000),
    st.lists(st.sampled_from([*"abc .!?\n,0。ก่น้เา", "é", "👨‍👩‍👧", "word "]), max_size=6000).map("".join),
)


@settings(max_examples=60, deadline=None)
@given(texts)
@example("\u0301" * 4000)
@example("\n" * 4000)
@example("7" * 4000)
@example(THAI * 100)
@example(UNBROKEN_THAI * 100)
def test_passages_are_the_text_again_and_each_is_short_enough(text: str) -> None:
    found = passages(text)

    assert "".join(found) == text
    assert all(0 < len(one) <= LONGEST_TEXT for one in found)
    assert all(usual_seconds(one) <= LONGEST_SECONDS + 1e-6 for one in found)


def test_a_text_is_cut_after_a_sentence() -> None:
    found = passages("The river is wide here, and slow. Nobody knows its name! " * 60)

    assert len(found) > 2
    assert all(one.rstrip()[-1] in ".!" for one in found)


def test_a_paragraph_is_a_better_end_than_a_sentence() -> None:
    text = ("One sentence of a few words. " * 33) + "\n\n" + ("Another one follows here. " * 30)

    assert passages(text)[0].endswith("\n\n")


def test_thai_is_cut_at_spaces() -> None:
    found = passages(THAI * 60)

    assert len(found) > 2
    assert all(one.endswith(" ") for one in found)


def test_thai_without_spaces_is_cut_between_signs() -> None:
    found = passages(UNBROKEN_THAI * 60)

    assert len(found) > 2
    assert all(not unicodedata.category(one[0]).startswith("M") and one[-1] not in "เแโใไ" for one in found)


def test_japanese_is_cut_after_its_full_stop() -> None:
    found = passages("今日はとても天気がいいですね。明日は海へ行きましょう。" * 40)

    assert all(one.endswith("。") for one in found)


@pytest.mark.parametrize(
    ("text", "least", "most"), [("a" * 150, 9, 11), ("ก" * 120, 9, 11), ("1" * 40, 9, 11), ("---" * 100, 0, 10)]
)
def test_how_long_a_text_takes_follows_its_script(text: str, least: float, most: float) -> None:
    assert least <= usual_seconds(text) <= most


def test_what_cannot_be_said_is_no_passage_of_a_call() -> None:
    call = TextToSpeech(prompt="First part. " * 100 + "\n" * 3000 + "* * *" + "\n" * 3000 + "The end.").call()

    assert all(is_speakable(passage.text) and passage.text == passage.text.strip() for passage in call.passages)
    assert call.passages[-1].text.endswith("The end.")


def test_a_book_of_the_longest_length_is_taken_and_bounded() -> None:
    book = TextToSpeech(prompt=("The rain fell on the tin roofs all night. " * 12_000)[:500_000])

    price = book.price(TextToSpeech.rates)

    assert 300 * 10**9 < price.units < 1000 * 10**9
