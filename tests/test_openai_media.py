"""Pictures, speech and films by the OpenAI routes, used by the official `openai` client."""

# OpenAI marked its own Sora routes as ended; they live on here.
# pyright: reportDeprecated=false

from __future__ import annotations

import asyncio
import base64
import io
import wave
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from PIL import Image

from conftest import Phaya, running
from phaya.catalog import SERVICES
from phaya.decoding.decoder import Decoder
from phaya.web.openai.recoding import recoded

pytestmark = [
    pytest.mark.anyio,
    # OpenAI ended its own Sora in autumn 2026, so its client warns; the route lives on here.
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
]


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
async def client(phaya: Phaya) -> AsyncGenerator[AsyncOpenAI, None]:
    async with AsyncOpenAI(base_url=f"{phaya.url}/v1", api_key=phaya.key) as made:
        yield made


def client_of(phaya: Phaya, key: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{phaya.url}/v1", api_key=key, max_retries=0)


async def test_pictures_come_with_the_answer_as_links_or_base64(phaya: Phaya) -> None:
    key = await phaya.new_key("9")
    async with client_of(phaya, key) as client:
        linked = await client.images.generate(model="dall-e-3", prompt="A quiet bay", size="1792x1024", n=2)
        packed = await client.images.generate(model="text-to-image", prompt="A hill", response_format="b64_json")

    assert linked.data is not None
    assert packed.data is not None
    assert len(linked.data) == 2
    async with phaya.session.get(linked.data[0].url or "") as answer:
        with Image.open(io.BytesIO(await answer.read())) as picture:
            assert picture.width > picture.height
    with Image.open(io.BytesIO(base64.b64decode(packed.data[0].b64_json or ""))) as picture:
        assert picture.width == picture.height
    assert ((linked.model_extra or {})["credits_used"], await phaya.balance(key)) == (2, 6)


async def test_pictures_that_came_are_not_withheld_for_one_that_did_not(phaya: Phaya) -> None:
    key = await phaya.new_key("5")
    body = {"prompt": "Three hens [slow 1]", "n": 3}
    asking = asyncio.create_task(phaya.ask("POST", "/v1/images/generations", body, key=key))
    async with asyncio.timeout(20):
        while len(history := (await phaya.get("text-to-image/history", key=key)).json["history"]) < 3:
            await asyncio.sleep(0.02)
    await phaya.post(f"text-to-image/cancel/{history[0]['job_id']}", {}, key=key)

    answer = await asking

    assert len(answer.json["data"]) == len(answer.json["job_ids"]) == answer.json["credits_used"] == 2
    assert history[0]["job_id"] in answer.json["warnings"][0]
    assert await phaya.balance(key) == 3


async def test_several_pictures_are_all_bought_or_none(phaya: Phaya) -> None:
    key = await phaya.new_key("2.5")
    async with client_of(phaya, key) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.images.generate(model="text-to-image", prompt="Boats", n=3)

    assert caught.value.status_code == 402
    assert await phaya.balance(key) == Decimal("2.5")


@pytest.mark.parametrize(("marker", "status"), [("[fail]", 502), ("[refuse]", 502), ("[reject]", 400)])
async def test_a_picture_that_fails_is_an_error_that_nobody_sends_again(phaya: Phaya, marker: str, status: int) -> None:
    key = await phaya.new_key("2")

    answer = await phaya.ask("POST", "/v1/images/generations", {"prompt": f"No {marker}"}, key=key)

    assert answer.status == status, answer.content
    assert answer.headers["x-should-retry"] == "false"
    assert await phaya.balance(key) == 2


async def test_a_slow_picture_is_504_with_its_job_and_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_OPENAI_WAIT=0.3) as phaya, client_of(phaya, phaya.key) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.images.generate(model="text-to-image", prompt="A snail [slow 2]")
        history = (await phaya.get("text-to-image/history")).json["history"]

        assert caught.value.status_code == 504
        assert history[0]["job_id"] in caught.value.message
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert (await phaya.finish("text-to-image", history[0]["job_id"]))["state"] == "completed"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "x", "n": 0}, "n"),
        ({"prompt": "x", "size": "large"}, "size"),
        ({"prompt": "x", "response_format": "gif"}, "response_format"),
        ({}, "prompt"),
    ],
)
async def test_bad_picture_requests_are_explained(phaya: Phaya, body: dict[str, Any], field: str) -> None:
    answer = await phaya.ask("POST", "/v1/images/generations", body)

    assert (answer.status, answer.json["error"]["param"]) == (422, field)


async def test_speech_comes_in_the_format_that_was_asked_for(phaya: Phaya, client: AsyncOpenAI) -> None:
    if "text-to-speech" not in SERVICES:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.audio.speech.create(model="tts-1", voice="alloy", input="Hello")
        assert caught.value.code == "model_not_found"
        pytest.skip("no service speaks yet")
    sound = await client.audio.speech.create(model="tts-1", voice="alloy", input="Hello there")
    raw = await client.audio.speech.create(model="tts-1", voice="nova", input="Hello", response_format="wav")

    assert sound.content[:3] == b"ID3" or sound.content[0] == 0xFF
    assert raw.content[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("form", "start"),
    [("mp3", (b"ID3", b"\xff")), ("opus", (b"OggS",)), ("aac", (b"\xff",)), ("flac", (b"fLaC",)), ("wav", (b"RIFF",))],
)
async def test_speech_is_recoded(decoder: Decoder, tmp_path: Path, form: str, start: tuple[bytes, ...]) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 24_000, 0, "NONE", ""))
        sound.writeframes(bytes(48_000))

    assert (await recoded(decoder, tmp_path, file.getvalue(), form)).startswith(start)
    assert len(await recoded(decoder, tmp_path, file.getvalue(), "pcm")) == 48_000


async def test_a_film_is_made_listed_fetched_and_deleted(phaya: Phaya) -> None:
    key = await phaya.new_key("30")
    async with client_of(phaya, key) as client:
        made = await client.videos.create(model="sora-2", prompt="A dragon", seconds="8", size="720x1280")
        assert made.status in ("queued", "in_progress")
        done = await client.videos.poll(made.id, poll_interval_ms=100)
        content = await client.videos.download_content(made.id)
        listed = [film.id async for film in client.videos.list()]
        deleted = await client.videos.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.videos.retrieve(made.id)

        assert (done.status, done.progress, done.seconds, done.size) == ("completed", 100, "10", "720x1280")
        assert b"ftyp" in content.content[:16]
        assert listed == [made.id]
        assert deleted.deleted
        assert [film.id async for film in client.videos.list()] == []
    assert await phaya.balance(key) == 22


async def test_a_film_sets_a_picture_in_motion(phaya: Phaya, client: AsyncOpenAI) -> None:
    film = await client.videos.create(
        model="sora-2", prompt="Waves begin", input_reference=("sea.png", png(), "image/png")
    )

    told = await phaya.finish("sora2-video", film.id)

    assert (told["service"], told["state"]) == ("sora2-video", "completed")


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        (b"{}", "application/json", "prompt"),
        (b'{"prompt": "x", "size": "wide"}', "application/json", "size"),
        (b'{"prompt": "x", "seconds": "long"}', "application/json", "seconds"),
        (b'{"prompt": "x", "input_reference": {"file_id": "f"}}', "application/json", "input_reference"),
        (b"no form", "multipart/form-data", None),
        (b"no form", "multipart/form-data; boundary=x", None),
    ],
)
async def test_bad_film_requests_are_explained(phaya: Phaya, body: bytes, kind: str, field: str | None) -> None:
    answer = await phaya.ask("POST", "/v1/videos", body, Content_Type=kind)

    assert (answer.status, answer.json["error"]["param"]) == (422, field), answer.content


async def test_an_endless_form_is_not_taken(phaya: Phaya) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        yield b'--x\r\nContent-Disposition: form-data; name="input_reference"; filename="a.png"\r\n\r\n'
        for _ in range(33):
            yield bytes(1_000_000)

    headers = {"Authorization": f"Bearer {phaya.key}", "Content-Type": "multipart/form-data; boundary=x"}
    async with phaya.session.post(f"{phaya.url}/v1/videos", data=endless(), headers=headers) as answer:
        assert answer.status == 413


async def test_a_film_can_be_priced_by_a_form(phaya: Phaya, client: AsyncOpenAI) -> None:
    film = await client.videos.create(prompt="A dragon", extra_body={"dry_run": True})

    assert (film.model_extra or {})["dry_run"] is True


async def test_pages_of_films_follow_each_other(phaya: Phaya) -> None:
    key = await phaya.new_key("50")
    async with client_of(phaya, key) as client:
        made = [(await client.videos.create(prompt=f"Film {number} [fail]")).id for number in range(3)]

        assert [film.id async for film in client.videos.list(limit=1)] == made[::-1]
        assert [film.id async for film in client.videos.list(limit=2, order="asc")] == made


async def test_a_failed_film_tells_why_and_costs_nothing(phaya: Phaya) -> None:
    key = await phaya.new_key("9")
    async with client_of(phaya, key) as client:
        film = await client.videos.create(prompt="No [fail]")
        done = await client.videos.poll(film.id, poll_interval_ms=100)
        with pytest.raises(openai.ConflictError):
            await client.videos.download_content(film.id)

    assert done.status == "failed"
    assert done.error is not None
    assert done.error.message
    assert await phaya.balance(key) == 9


async def test_a_strangers_film_is_unknown(phaya: Phaya, client: AsyncOpenAI) -> None:
    film = await client.videos.create(prompt="Mine [fail]")
    async with client_of(phaya, await phaya.new_key()) as stranger:
        for ask in (stranger.videos.retrieve, stranger.videos.delete, stranger.videos.download_content):
            with pytest.raises(openai.NotFoundError):
                await ask(film.id)
