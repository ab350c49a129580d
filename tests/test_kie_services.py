"""KIE's services: what is sent for a request, what comes of it, and by which of KIE's routes it goes."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image
from pydantic import JsonValue

from conftest import Phaya, running
from material import clip, example, picture
from phaya.calls import Finished, KieSuno, KieTask, KieVeo, Look, Refused, Waiting
from phaya.catalog import SERVICES
from phaya.catalog.acceptance import accept
from phaya.providers import Unavailable, Unknown
from phaya.providers.kie_envelope import read_answer, record_in
from phaya.providers.kie_records import read_record
from phaya.providers.kie_routes import KieRoutes
from phaya.providers.veo import read_film

Fields = dict[str, Any]
A, B, C = "https://x.example/a.png", "https://x.example/b.png", "https://x.example/c.mp4"

# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────

SENT: list[tuple[str, Fields, str, Fields]] = [
    (
        "seedream",
        {"prompt": "a kite"},
        "seedream/5-lite-text-to-image",
        {"prompt": "a kite", "aspect_ratio": "1:1", "quality": "basic"},
    ),
    (
        "seedream",
        {"prompt": "dusk", "image_urls": [A], "quality": "high", "aspect_ratio": "21:9"},
        "seedream/5-lite-image-to-image",
        {"prompt": "dusk", "image_urls": [A], "aspect_ratio": "21:9", "quality": "high"},
    ),
    (
        "nano-banana",
        {"prompt": "x"},
        "nano-banana-2",
        {"prompt": "x", "image_input": [], "aspect_ratio": "1:1", "resolution": "1K", "output_format": "jpg"},
    ),
    (
        "nano-banana",
        {"prompt": "x", "image_input": [A, B], "google_search": True, "resolution": "4K", "output_format": "png"},
        "nano-banana-2",
        {
            "prompt": "x",
            "image_input": [A, B],
            "aspect_ratio": "1:1",
            "resolution": "4K",
            "output_format": "png",
            "google_search": True,
        },
    ),
    (
        "gpt-image-2-text-to-image",
        {"prompt": "x"},
        "gpt-image-2-text-to-image",
        {"prompt": "x", "aspect_ratio": "auto", "resolution": "1K"},
    ),
    (
        "gpt-image-2-text-to-image",
        {"prompt": "x", "resolution": "4K"},
        "gpt-image-2-text-to-image",
        {"prompt": "x", "aspect_ratio": "16:9", "resolution": "4K"},
    ),
    (
        "gpt-image-2-image-to-image",
        {"prompt": "x", "input_urls": [A], "resolution": "2K"},
        "gpt-image-2-image-to-image",
        {"prompt": "x", "input_urls": [A], "aspect_ratio": "1:1", "resolution": "2K"},
    ),
    (
        "kling-motion-control",
        {"input_urls": [A], "video_urls": [C]},
        "kling-2.6/motion-control",
        {"input_urls": [A], "video_urls": [C], "character_orientation": "video", "mode": "720p"},
    ),
    (
        "kling-motion-control",
        {"prompt": "dance", "input_urls": [A], "video_urls": [C], "character_orientation": "image", "mode": "pro"},
        "kling-2.6/motion-control",
        {
            "prompt": "dance",
            "input_urls": [A],
            "video_urls": [C],
            "character_orientation": "image",
            "mode": "1080p",
        },
    ),
    ("sora2-character", {"character_file_url": C}, "sora-2-characters", {"character_file_url": [C]}),
    (
        "sora2-character",
        {"character_file_url": C, "character_prompt": "a barista", "safety_instruction": "no knives"},
        "sora-2-characters",
        {"character_file_url": [C], "character_prompt": "a barista", "safety_instruction": "no knives"},
    ),
    (
        "flux-2",
        {"prompt": "a teapot"},
        "flux-2/pro-text-to-image",
        {"prompt": "a teapot", "aspect_ratio": "1:1", "resolution": "1K"},
    ),
    (
        "flux-2",
        {"prompt": "a teapot", "input_urls": [A, B], "resolution": "2K"},
        "flux-2/pro-image-to-image",
        {"prompt": "a teapot", "input_urls": [A, B], "aspect_ratio": "1:1", "resolution": "2K"},
    ),
    ("grok-imagine", {"prompt": "x"}, "grok-imagine/text-to-image", {"prompt": "x", "aspect_ratio": "1:1"}),
    (
        "seedream-4-5",
        {"prompt": "x"},
        "seedream/4.5-text-to-image",
        {"prompt": "x", "aspect_ratio": "1:1", "quality": "basic"},
    ),
    (
        "seedream-4-5",
        {"prompt": "x", "image_urls": [A, B]},
        "seedream/4.5-edit",
        {"prompt": "x", "image_urls": [A, B], "aspect_ratio": "1:1", "quality": "basic"},
    ),
    ("remove-background", {"image_url": A}, "recraft/remove-background", {"image": A}),
    (
        "elevenlabs-speech",
        {"text": "Hello", "voice_id": "Aria"},
        "elevenlabs/text-to-speech-turbo-2-5",
        {"text": "Hello", "voice": "Aria"},
    ),
]


@pytest.mark.parametrize(("path", "asked", "model", "sent"), SENT)
def test_kie_gets_exactly_these_names(path: str, asked: Fields, model: str, sent: Fields) -> None:
    assert KieTask(model, sent) == accept(SERVICES[path], asked).request.call()


VEO_USUAL: Fields = {
    "prompt": "x",
    "model": "veo3_fast",
    "aspect_ratio": "16:9",
    "resolution": "720p",
    "duration": 8,
    "enableTranslation": True,
}
FRAMES = "FIRST_AND_LAST_FRAMES_2_VIDEO"
VEO: list[tuple[Fields, Fields]] = [
    ({}, {"generationType": "TEXT_2_VIDEO"}),
    ({"image_urls": [A]}, {"generationType": FRAMES, "imageUrls": [A]}),
    ({"image_urls": [A, B]}, {"generationType": FRAMES, "imageUrls": [A, B]}),
    ({"image_urls": [A, B, A]}, {"generationType": "REFERENCE_2_VIDEO", "imageUrls": [A, B, A]}),
    (
        {"image_urls": [A], "generation_type": "REFERENCE_2_VIDEO"},
        {"generationType": "REFERENCE_2_VIDEO", "imageUrls": [A]},
    ),
    ({"image_urls": [A], "generation_type": "TEXT_2_VIDEO"}, {"generationType": "TEXT_2_VIDEO"}),
    (
        {"model": "veo3", "aspect_ratio": "Auto", "seeds": 10000, "enable_translation": False, "watermark": "me"},
        {
            "model": "veo3",
            "aspect_ratio": "Auto",
            "seeds": 10000,
            "enableTranslation": False,
            "watermark": "me",
            "generationType": "TEXT_2_VIDEO",
        },
    ),
]


@pytest.mark.parametrize(("asked", "sent"), VEO)
def test_veo_gets_a_flat_body_in_its_mixed_spelling(asked: Fields, sent: Fields) -> None:
    assert KieVeo(VEO_USUAL | sent) == accept(SERVICES["veo31-video"], {"prompt": "x", **asked}).request.call()


SONG = KieSuno({"customMode": True, "instrumental": False, "model": "V5", "prompt": "la", "style": "pop", "title": "T"})
FILM = KieVeo({**VEO_USUAL, "imageUrls": [A], "generationType": FRAMES, "seeds": 10000, "model": "veo3"})
ROUTED: list[tuple[KieRoutes, KieSuno | KieVeo, KieSuno | KieVeo | KieTask, int]] = [
    (KieRoutes(), SONG, SONG, 0),
    (KieRoutes(), FILM, FILM, 0),
    (KieRoutes(song_model="V6_WILD"), SONG, KieSuno({**SONG.body, "model": "V6_WILD"}), 1),
    (
        KieRoutes(suno="unified"),
        SONG,
        KieTask(
            "ai-music-api/generate",
            {
                "custom_mode": True,
                "instrumental": False,
                "model": "V6",
                "prompt": "la",
                "style": "pop",
                "title": "T",
                "duration": 180,
            },
        ),
        1,
    ),
    (
        KieRoutes(suno="unified", song_model="V6_MINI"),
        KieSuno({"customMode": False, "instrumental": True, "model": "V6_MINI", "prompt": "la", "negativeTags": "x"}),
        KieTask(
            "ai-music-api/generate",
            {"custom_mode": False, "instrumental": True, "model": "V6_MINI", "prompt": "la", "negative_tags": "x"},
        ),
        0,
    ),
    (
        KieRoutes(veo="unified"),
        FILM,
        KieTask(
            "veo-3-1",
            {
                "prompt": "x",
                "image_urls": [A],
                "generation_type": FRAMES,
                "aspect_ratio": "16:9",
                "resolution": "720p",
                "duration": 8,
                "enable_translation": True,
            },
        ),
        2,
    ),
]


@pytest.mark.parametrize(("routes", "call", "sent", "notes"), ROUTED)
def test_the_operator_chooses_the_route(
    routes: KieRoutes, call: KieSuno | KieVeo, sent: KieSuno | KieVeo | KieTask, notes: int
) -> None:
    """A routed call is routed for good, and callers are told what it cannot do."""
    assert sent == routes.routed(call) == routes.routed(routes.routed(call))
    assert len(routes.notes(call)) == notes


# ── what Veo says ────────────────────────────────────────────────────────────────────────────────────────

M, N = "https://t.example/1.mp4", "https://t.example/2.mp4"
SAID: list[tuple[Fields, Look]] = [
    ({"successFlag": 0, "response": None, "errorCode": None, "errorMessage": ""}, Waiting()),
    ({"successFlag": 0, "completeTime": 1785999477000}, Waiting()),
    ({"successFlag": 0, "errorCode": 500}, Waiting()),
    ({"successFlag": 1, "response": {"resultUrls": [M], "originUrls": None}}, Finished([M])),
    (
        {"successFlag": 1, "response": {"resultUrls": [M], "originUrls": [N], "resolution": "720p"}},
        Finished([M, N], {"origin": 1, "resolution": "720p"}),
    ),
    ({"successFlag": 1, "response": {"resultUrls": [M], "originUrls": [M]}}, Finished([M], {"origin": 0})),
    ({"successFlag": "1", "response": {"resultUrls": f'["{M}"]'}}, Finished([M])),
    ({"successFlag": 1, "response": None, "resultUrls": f'["{M}"]'}, Finished([M])),
    ({"successFlag": 1, "info": {"resultUrls": [M]}}, Finished([M])),
    ({"successFlag": 1, "response": {"videoUrl": M}}, Finished([M])),
    ({"successFlag": 1, "response": {"resultUrls": None}}, Refused("The provider finished without a result.")),
    ({"successFlag": 2, "errorMessage": "Bad frame."}, Refused("The provider says: Bad frame.")),
    (
        {"successFlag": 3, "errorCode": 501, "errorMessage": "try again later"},
        Refused("The provider failed to make this; trying again later may work."),
    ),
    (
        {"successFlag": 0, "errorCode": 400, "completeTime": 1, "errorMessage": "Rejected by content policy"},
        Refused("The provider refused this content: it seems to break its content policy.", "content_rejected"),
    ),
]


@pytest.mark.parametrize(("data", "meant"), SAID)
def test_every_shape_of_a_veo_record_is_read(data: dict[str, JsonValue], meant: Look) -> None:
    assert meant == read_film(data)


@pytest.mark.parametrize("flag", [4, -1, None, True, "done", 0.5])
def test_a_strange_flag_is_an_error(flag: JsonValue) -> None:
    with pytest.raises(Unknown):
        read_film({"successFlag": flag})


@pytest.mark.parametrize("text", ["record status is not success", "record result data is blank"])
def test_a_film_that_is_not_ready_is_not_lost(text: str) -> None:
    """An unfinished film came under the code of an unknown one; it must be looked at again."""
    body = f'{{"code":422,"msg":"{text}","data":null}}'.encode()

    with pytest.raises(Unavailable):
        record_in(read_answer(200, body, None))


def test_a_unified_film_has_its_original_too() -> None:
    record: dict[str, JsonValue] = {
        "state": "success",
        "resultJson": f'{{"resultUrls":["{M}"],"originUrls":["{N}"],"resolution":"720p"}}',
        "creditsConsumed": 60,
    }

    assert Finished([M, N], {"origin": 1, "resolution": "720p"}, spent="60") == read_record(record)


# ── what comes of it ─────────────────────────────────────────────────────────────────────────────────────

MADE: list[tuple[str, Fields, str]] = [
    ("seedream", {"image_urls": [picture()]}, ".png"),
    ("nano-banana", {}, ".jpg"),
    ("gpt-image-2-text-to-image", {}, ".png"),
    ("gpt-image-2-image-to-image", {}, ".png"),
    ("flux-2", {"input_urls": [picture()]}, ".png"),
    ("grok-imagine", {}, ".png"),
    ("seedream-4-5", {}, ".png"),
    ("remove-background", {}, ".png"),
    ("elevenlabs-speech", {}, ".mp3"),
]


async def read(phaya: Phaya, url: str) -> bytes:
    async with phaya.session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def seconds_of(phaya: Phaya, url: str) -> float:
    with av.open(io.BytesIO(await read(phaya, url)), "r") as film:
        assert film.duration is not None
        return film.duration / av.time_base


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "fields", "ending"), MADE, ids=[row[0] for row in MADE])
async def test_a_result_is_ours_and_costs_its_price(phaya: Phaya, path: str, fields: Fields, ending: str) -> None:
    key = await phaya.new_key("10")
    body = example(SERVICES[path], **fields)
    price = (await phaya.post(f"{path}/estimate", body)).exact("credits")
    created = await phaya.create(SERVICES[path], key, **body)

    status = await phaya.finish(path, created["job_id"], key)

    assert ("completed", None, []) == (status["status"], status["error"], created["warnings"])
    links = status.get("image_urls") or [status["result_url"]]
    assert len(links) == (4 if path == "grok-imagine" else 1)
    for link in links:
        assert link.startswith(f"{phaya.url}/media/") and link.endswith(ending)  # noqa: PT018 - one claim
    contents = [await read(phaya, link) for link in links]
    assert len({*contents}) == len(links)
    if ending != ".mp3":
        Image.open(io.BytesIO(contents[0])).load()
    assert await phaya.balance(key) == 10 - price


@pytest.mark.anyio
async def test_a_dance_is_as_long_as_the_one_it_follows(phaya: Phaya) -> None:
    """Four started seconds are paid for a film of 3.2."""
    key = await phaya.new_key("5")
    created = await phaya.create(SERVICES["kling-motion-control"], key, **example(SERVICES["kling-motion-control"]))

    status = await phaya.finish("kling-motion-control", created["job_id"], key)

    assert status["status"] == "completed"
    assert abs(await seconds_of(phaya, status["video_url"]) - 3.2) < 0.1
    assert await phaya.balance(key) == Decimal("0.16")


@pytest.mark.anyio
async def test_a_veo_film_of_another_ratio_has_its_original_beside_it(phaya: Phaya) -> None:
    created = await phaya.create(SERVICES["veo31-video"], aspect_ratio="9:16")

    status = await phaya.finish("veo31-video", created["job_id"])

    assert ("completed", "720p") == (status["status"], status["resolution"])
    shapes: list[tuple[int, int]] = []
    for name in ("video_url", "origin_url"):
        with av.open(io.BytesIO(await read(phaya, status[name])), "r") as film:
            shapes.append((film.streams.video[0].width, film.streams.video[0].height))
    assert [(720, 1280), (1280, 720)] == shapes


@pytest.mark.anyio
async def test_a_character_is_an_id_that_stays_with_its_account(phaya: Phaya) -> None:
    key, stranger = await phaya.new_key("5"), await phaya.new_key("5")
    made = await phaya.create(SERVICES["sora2-character"], key, character_file_url=clip(2), character_prompt="Bo")
    failed = await phaya.create(SERVICES["sora2-character"], key, character_file_url=clip(2), character_prompt="[fail]")

    status = await phaya.finish("sora2-character", made["job_id"], key)
    refused = await phaya.finish("sora2-character", failed["job_id"], key)
    listed = (await phaya.get("sora2-character/list", key=key)).json["characters"]

    assert ("completed", "failed") == (status["status"], refused["status"])
    assert status["character_id"].startswith("char_")
    assert (status["result_url"], refused["character_id"]) == (None, None)
    assert [(status["character_id"], made["job_id"], "Bo")] == [
        (one["character_id"], one["job_id"], one["character_prompt"]) for one in listed
    ]
    assert (await phaya.get("sora2-character/list", key=stranger)).json["characters"] == []
    assert await phaya.balance(key) == Decimal("4.5")


@pytest.mark.anyio
async def test_characters_outlive_the_storage_time_of_files(tmp_path: Path) -> None:
    async with running(tmp_path) as phaya:
        key = await phaya.new_key("5")
        drawn = (await phaya.create(SERVICES["text-to-image"], key))["job_id"]
        made = (await phaya.create(SERVICES["sora2-character"], key, character_file_url=clip(2)))["job_id"]
        await phaya.finish("text-to-image", drawn, key)
        await phaya.finish("sora2-character", made, key)

    async with running(tmp_path, PHAYA_MEDIA_DAYS=1e-9) as phaya, asyncio.timeout(20):
        while (await phaya.get(f"text-to-image/status/{drawn}", key=key)).json["result_url"]:
            await asyncio.sleep(0.05)
        listed = (await phaya.get("sora2-character/list", key=key)).json["characters"]

    assert [made] == [one["job_id"] for one in listed]
    assert listed[0]["character_id"].startswith("char_")


@pytest.mark.anyio
@pytest.mark.parametrize("marker", ["[fail]", "[reject]", "[refuse]"])
async def test_a_character_that_fails_costs_nothing(phaya: Phaya, marker: str) -> None:
    key = await phaya.new_key("1")
    made = await phaya.create(SERVICES["sora2-character"], key, character_file_url=clip(2), character_prompt=marker)

    status = await phaya.finish("sora2-character", made["job_id"], key)

    assert ("failed", None) == (status["status"], status["character_id"])
    assert await phaya.balance(key) == 1
    assert await phaya.audit() == []


CANCELLED = [
    "seedream", "nano-banana", "gpt-image-2-text-to-image", "gpt-image-2-image-to-image", "kling-motion-control",
    "veo31-video", "sora2-character", "flux-2", "grok-imagine", "seedream-4-5", "elevenlabs-speech",
]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("path", CANCELLED)
async def test_a_cancelled_job_is_paid_back(phaya: Phaya, path: str) -> None:
    service = SERVICES[path]
    key = await phaya.new_key("20")
    words = {"character_prompt" if path == "sora2-character" else "prompt": "Rain [slow 3]"}
    job = (await phaya.create(service, key, **example(service, **words)))["job_id"]

    done = await phaya.post(f"{path}/cancel/{job}", {}, key=key)
    status = await phaya.finish(path, job, key)

    assert (done.json["success"], status["state"]) == (True, "cancelled")
    assert status["status"] == service.words.spell("cancelled")
    assert await phaya.balance(key) == 20


@pytest.mark.anyio
async def test_a_film_that_cannot_be_read_or_reached_costs_nothing(phaya: Phaya) -> None:
    key = await phaya.new_key("50")
    body = {"input_urls": [picture()], "video_urls": ["http://127.0.0.1:9/dance.mp4"]}

    for route in ("create", "estimate"):
        answer = await phaya.post(f"kling-motion-control/{route}", body, key=key)
        assert (422, True) == (answer.status, "video_urls: could not be fetched" in answer.json["message"])

    assert await phaya.balance(key) == 50


@pytest.fixture(scope="module")
async def unified(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    """A Phaya whose operator chose KIE's unified routes."""
    folder = tmp_path_factory.mktemp("unified")
    async with running(folder, PHAYA_VEO_ROUTE="unified", PHAYA_SUNO_ROUTE="unified") as phaya:
        yield phaya


@pytest.mark.anyio
async def test_the_unified_routes_make_films_and_songs_and_tell_what_they_cannot(unified: Phaya) -> None:
    film = await unified.create(SERVICES["veo31-video"], model="veo3", seeds=10000)
    song = await unified.create(SERVICES["text-to-music"], style="", title="", instrumental=True)

    made, sung = await asyncio.gather(
        unified.finish("veo31-video", film["job_id"]), unified.finish("text-to-music", song["job_id"])
    )

    assert ("completed", "COMPLETED") == (made["status"], sung["status"])
    assert made["video_url"].endswith(".mp4")
    assert made["origin_url"] is None
    assert len({*sung["audio_urls"]}) == 2
    assert any("tier" in warning for warning in film["warnings"])
    assert any("V6" in warning for warning in song["warnings"])


@pytest.mark.anyio
async def test_a_failed_film_of_the_unified_route_costs_nothing(unified: Phaya) -> None:
    key = await unified.new_key("15")
    created = await unified.create(SERVICES["veo31-video"], key, prompt="[fail]")

    status = await unified.finish("veo31-video", created["job_id"], key)

    assert ("failed", 15) == (status["status"], await unified.balance(key))
