"""Speech as text and captions in films: timed, broken between Thai words, and never a command to the renderer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from clips import Pixels, fetch, film, finished, frames, link, make, seconds, tone
from conftest import Phaya, running
from phaya.catalog.captions import RATES, by_length
from phaya.providers.captions import from_script, from_speech, shifted
from phaya.providers.lettering import escaped, script
from phaya.providers.transcription import Heard, Span, read_heard
from phaya.providers.words import cut
from phaya.serving import listen, serving

pytestmark = pytest.mark.anyio

SPEECH = "สวัสดีครับทุกคน\nวันนี้เราจะไปเที่ยวทะเล|น้ำใสมาก"


async def subtitle(phaya: Phaya, key: str | None = None, **fields: Any) -> dict[str, Any]:
    return await finished(phaya, "thai-subtitle/generate", "thai-subtitle", key, **fields)


def lettered(frame: Pixels) -> bool:
    """Whether there are white letters on the film's blue."""
    return bool((frame.min(axis=2) > 200).sum() > 30)


# ── through the API ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("animation", ["none", "word_pop_fade"])
async def test_a_script_is_burnt_into_the_film(phaya: Phaya, tmp_path: Path, animation: str) -> None:
    key = await phaya.new_key("1")
    video = await link(phaya, film(tmp_path, "film.mp4", "blue", size="320x180", sound=300, seconds=2))

    status = await subtitle(phaya, key, media_url=video, script=SPEECH, animation=animation)

    assert (status["status"], status["credits_used"]) == ("COMPLETED", 0.07)
    content = await fetch(phaya, status["video_url"])
    assert abs(seconds(content) - 2) < 0.15
    assert all(lettered(frames(content)[place]) for place in (20, 45))
    assert await phaya.balance(key) == Decimal("0.93")


async def test_without_a_script_the_speech_is_written(phaya: Phaya, tmp_path: Path) -> None:
    # A second of silence first: nothing is said, and nothing shown.
    source = "-f lavfi -i color=blue:s=180x320:r=20:d=3 -f lavfi -i aevalsrc=0.3*sin(2000*t)*gte(t\\,1):d=3"
    video = make(tmp_path, "film.mp4", f"{source} -c:v libx264 -pix_fmt yuv420p -c:a aac")

    status = await subtitle(phaya, media_url=await link(phaya, video))

    assert status["status"] == "COMPLETED", status["error"]
    shown = frames(await fetch(phaya, status["video_url"]))
    assert [lettered(shown[place]) for place in (5, 30)] == [False, True]


async def test_a_silent_film_without_a_script_fails_and_is_paid_back(phaya: Phaya, tmp_path: Path) -> None:
    key = await phaya.new_key("1")
    silent = await link(phaya, film(tmp_path, "film.mp4", "blue"))

    status = await subtitle(phaya, key, media_url=silent)

    assert (status["status"], status["error_code"]) == ("FAILED", "no_speech")
    assert "send a script" in status["error"]
    assert await phaya.balance(key) == 1
    assert await phaya.audit() == []


async def test_a_silent_film_with_a_script_gets_it_over_its_length(phaya: Phaya, tmp_path: Path) -> None:
    silent = await link(phaya, film(tmp_path, "film.webm", "blue", size="320x180"))

    status = await subtitle(phaya, media_url=silent, script="สวัสดีครับ\nทุกคน")

    shown = frames(await fetch(phaya, status["video_url"]))
    assert all(lettered(shown[place]) for place in (3, 25))


async def test_speech_is_transcribed_with_times(phaya: Phaya, tmp_path: Path) -> None:
    key = await phaya.new_key("1")
    sound = await link(phaya, tone(tmp_path, "talk.mp3", 300, 4))

    status = await finished(phaya, "media/transcribe", "media", key, media_url=sound, language="en")

    assert status["status"] == "completed", status["error"]
    assert status["text"].startswith("Hello and welcome everyone.")
    assert status["segments"][0] == {"start": 0, "end": 1.6, "text": "Hello and welcome everyone."}
    assert status["segments"][-1]["end"] <= 4.1
    assert status["result_url"] is None
    assert status["credits_used"] == 0.07


@pytest.mark.parametrize("length", [30, 61])
async def test_the_price_follows_the_films_length(phaya: Phaya, tmp_path: Path, length: int) -> None:
    video = await link(phaya, film(tmp_path, "film.mp4", "blue", size="32x32", rate=5, seconds=length))
    expected = {30: "0.085", 61: "0.172833334"}[length]

    dry = await phaya.post("thai-subtitle/generate", {"media_url": video, "dry_run": True})
    heard = await phaya.post("media/transcribe/estimate", {"media_url": video})

    assert (dry.exact("credits"), heard.exact("credits")) == (Decimal(expected), Decimal(expected))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"script": "x" * 10001}, "script: must have at most 10000 characters"),
    ({"script": " | \n "}, "script: must hold a text"),
    ({"timing_offset_ms": 301}, "timing_offset_ms"),
    ({"animation": "spin"}, "animation: must be one of none, word_pop_fade"),
    ({"media_url": "data:video/mp4,%23EXTM3U"}, "media_url: is not usable"),
]


@pytest.mark.parametrize(("body", "told"), BAD)
async def test_bad_input_is_named_and_costs_nothing(phaya: Phaya, body: dict[str, Any], told: str) -> None:
    key = await phaya.new_key("1")

    answer = await phaya.post("thai-subtitle/generate", {"media_url": "data:,", **body}, key=key)

    assert answer.status == 422
    assert told in answer.json["message"]
    assert await phaya.balance(key) == 1


async def test_without_a_transcriber_only_scripts_are_taken(tmp_path: Path) -> None:
    async with running(tmp_path / "data", KIE_API_KEY="k" * 32, KIE_BASE_URL="http://127.0.0.1:9") as phaya:
        video = await link(phaya, film(tmp_path, "film.mp4", "blue", size="320x180", sound=300))

        closed = [
            await phaya.post("media/transcribe", {"media_url": video}),
            await phaya.post("thai-subtitle/generate", {"media_url": video}),
        ]
        status = await subtitle(phaya, media_url=video, script="ไปกันเถอะ")

        assert [(answer.status, answer.json["error"]) for answer in closed] == [(503, "service_unavailable")] * 2
        assert "PHAYA_TRANSCRIBE_URL" in closed[0].json["message"]
        assert status["status"] == "COMPLETED"
        assert await phaya.balance() == Decimal("999.93")


async def test_a_transcriber_that_is_down_is_no_hindrance_to_a_script(tmp_path: Path) -> None:
    async with running(tmp_path / "data", PHAYA_TRANSCRIBE_URL="http://127.0.0.1:9/v1") as phaya:
        video = await link(phaya, film(tmp_path, "film.mp4", "blue", size="320x180", sound=300))

        status = await subtitle(phaya, media_url=video, script="ไปกันเถอะ")

    assert status["status"] == "COMPLETED"


@asynccontextmanager
async def transcriber(answers: list[tuple[int, dict[str, Any]]]) -> AsyncGenerator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers in turn, and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def answer(request: Request) -> JSONResponse:
        async with request.form() as form:
            asked.append({name: form.getlist(name) for name in form if name != "file"} | {
                "key": request.headers.get("authorization"), "file": await form["file"].read(4),  # type: ignore[union-attr]
            })  # fmt: skip
        status, body = answers[min(len(asked), len(answers)) - 1]
        return JSONResponse(body, status)

    with listen("127.0.0.1", 0) as listener:
        app = Starlette(routes=[Route("/v1/audio/transcriptions", answer, methods=["POST"])])
        async with serving(app, listener):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", asked


async def test_a_transcriber_that_knows_no_words_is_asked_for_sentences(tmp_path: Path) -> None:
    refusal = {"error": {"message": "timestamp_granularities is not supported by this model"}}
    heard = {"text": "Good day.", "segments": [{"start": 0.2, "end": 0.9, "text": " Good day."}]}
    async with transcriber([(400, refusal), (200, heard)]) as (url, asked):
        options = {"PHAYA_TRANSCRIBE_URL": url, "PHAYA_TRANSCRIBE_KEY": "sk-1", "PHAYA_TRANSCRIBE_MODEL": "ear-2"}
        async with running(tmp_path / "data", **options) as phaya:
            sound = await link(phaya, tone(tmp_path, "talk.mp3", 300, 1))
            status = await finished(phaya, "media/transcribe", "media", media_url=sound, language="en-GB")

    assert status["text"] == "Good day."
    assert status["segments"] == [{"start": 0.2, "end": 0.9, "text": "Good day."}]
    assert [set(one) for one in asked] == [
        {"model", "response_format", "language", "timestamp_granularities[]", "key", "file"},
        {"model", "response_format", "language", "key", "file"},
    ]
    assert (asked[1]["model"], asked[1]["language"], asked[1]["key"]) == (["ear-2"], ["en"], "Bearer sk-1")
    assert asked[1]["file"] == b"RIFF"


async def test_a_transcriber_is_asked_again_when_it_was_down_and_refunds_when_it_refuses(tmp_path: Path) -> None:
    answers: list[tuple[int, dict[str, Any]]] = [(503, {}), (200, {"text": "Hm."}), (400, {"error": {"message": "no"}})]
    async with transcriber(answers) as (url, asked), running(tmp_path / "data", PHAYA_TRANSCRIBE_URL=url) as phaya:
        sound = await link(phaya, tone(tmp_path, "talk.mp3", 300, 1))
        good = await finished(phaya, "media/transcribe", "media", media_url=sound)
        bad = await finished(phaya, "media/transcribe", "media", media_url=sound)
        balance = await phaya.balance()

    assert (good["state"], good["text"], len(good["segments"])) == ("completed", "Hm.", 1)
    assert (bad["state"], bad["error"]) == ("failed", "The speech could not be transcribed.")
    assert (len(asked), balance) == (3, Decimal("999.93"))


# ── price, timing, letters ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("length", "price"),
    [(0.5, "0.07"), (24, "0.07"), (25, "0.070833334"), (60, "0.17"), (60.08, "0.17"), (60.2, "0.172833334")],
)
def test_a_minute_costs_what_the_list_says_and_each_second_begun_its_part(length: float, price: str) -> None:
    assert str(by_length(RATES, length)) == price


def test_thai_is_cut_into_words_that_join_to_the_text() -> None:
    text = "วันนี้เราจะไปเที่ยวทะเล ที่ Phuket (ภูเก็ต) บ่อยๆ นะครับ!"

    words = cut(text)

    assert "".join(words) == text
    assert {"วันนี้", "ทะเล ", "Phuket "} <= set(words)
    assert not any(word.startswith(("ๆ", "!", " ", ")")) for word in words)


def test_a_script_runs_along_the_speech() -> None:
    heard = Heard("abcd", (), (Span("abcd", 2, 4), Span("efgh", 6, 8)))

    one, two = from_script("abcd\nef|gh", heard, 10)

    assert (one.start, one.end, two.start, two.end) == (2, 4, 6, 8)
    assert two.lines == (("ef",), ("gh",))


def test_without_speech_a_script_is_spread_by_its_length() -> None:
    captions = from_script("aa\n\nbbbbbb", None, 8)

    assert [(one.start, one.end) for one in captions] == [(0, 2), (2, 8)]


def test_captions_end_at_pauses_and_before_they_get_long() -> None:
    words = (*(Span("ทะเล", start / 2, start / 2 + 0.5) for start in range(12)), Span("ไป", 9, 9.5))

    captions = from_speech(Heard("", (), words), 10)

    assert captions[-1].lines == (("ไป",),)
    assert all(one.end - one.start <= 5 for one in captions)
    assert all(one.end <= two.start for one, two in pairwise(captions))


def test_an_offset_moves_captions_but_not_out_of_the_film() -> None:
    captions = from_script("aa\nbb", None, 2)

    assert [(one.start, one.end) for one in shifted(captions, -0.3, 2)] == [(0, 0.7), (0.7, 1.7)]
    assert [(one.start, one.end) for one in shifted(captions, 0.3, 2)] == [(0.3, 1.3), (1.3, 2)]


def test_letters_are_never_commands() -> None:
    hostile = "{\\fs200}big \\N {\\p1}m 0 0{\\p0}\x00\nDialogue: 0,0:00:00.00,0:01:00.00,Caption,,0,0,0,,injected"

    text = script(from_script(hostile, None, 5), (1080, 1920), pop=False)

    events = [line for line in text.splitlines() if line.startswith("Dialogue:")]
    assert len(events) == 2, "one for each line of the script, none of its own"
    assert "\\fs200" not in text
    assert "\\N" not in text
    assert "\x00" not in text
    assert escaped("{a}\\N") == "\\{a\\}\\\u2060N"


ANSWERS: list[tuple[dict[str, Any], int, int]] = [
    ({"text": "a b", "segments": [{"start": 0, "end": 2, "text": " a b"}], "words": [
        {"word": "a", "start": 0, "end": 1}, {"word": "b", "start": 1, "end": 2}]}, 1, 2),
    ({"text": "a b", "segments": [{"start": 0, "end": 2, "text": "a b", "words": [
        {"word": " a", "start": 0, "end": 1}, {"word": " b", "start": 1, "end": 2}]}]}, 1, 2),
    ({"text": "a b", "segments": [{"start": 0, "end": 99, "text": "a b"}], "words": None}, 1, 0),
    ({"text": "a b"}, 1, 0),
    ({"text": " ", "segments": []}, 0, 0),
    ({"text": "a", "segments": ["odd", {"start": "0"}]}, 1, 0),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "segments", "words"), ANSWERS)
def test_whatever_a_transcriber_tells_is_read(answer: dict[str, Any], segments: int, words: int) -> None:
    heard = read_heard(answer, 3)

    assert (len(heard.segments), len(heard.words)) == (segments, words)
    assert all(0 <= span.start <= span.end <= 3 for span in (*heard.segments, *heard.words))
