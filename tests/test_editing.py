"""Films and sounds of clients' own: uploaded, joined, drawn upon, and taken apart, on this server."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clips import colour, fetch, film, finished, frames, gif, link, loudness, make, seconds, tone, upload
from conftest import Phaya, running

pytestmark = pytest.mark.anyio


def data(content: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


async def edit(phaya: Phaya, what: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
    status = await finished(phaya, f"media/{what}", "media", key, **fields)
    assert status["status"] == status["state"] == "completed", status["error"]
    return status


# ── uploads ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_uploaded_file_is_measured_and_good_as_any_input(phaya: Phaya, tmp_path: Path) -> None:
    content = film(tmp_path, "a.mp4", "red", sound=300)

    sent = (await upload(phaya, content, name="../../evil.html")).json

    assert sent["success"] is True
    assert (sent["media"], sent["content_type"], sent["bytes"]) == ("video", "video/mp4", len(content))
    assert (sent["width"], sent["height"]) == (160, 90)
    assert abs(sent["seconds"] - 1) < 0.1
    assert sent["url"].startswith(f"{phaya.url}/media/inputs/")
    assert sent["url"].endswith(".mp4")
    assert await fetch(phaya, sent["url"]) == content
    assert sent["expires_at"] > "2026"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not a picture, film or sound"),
        (b"<html><script>alert(1)</script>", "not a picture, film or sound"),
        (b"\x89PNG\r\n\x1a\nbroken", "not a readable picture"),
    ],
)
async def test_what_is_no_media_is_refused(phaya: Phaya, content: bytes, told: str) -> None:
    answer = await upload(phaya, content, name="film.mp4")

    assert answer.status == 422
    assert answer.json["message"].startswith("file: is not usable")
    assert told in answer.json["message"]


async def test_an_upload_needs_a_key_and_a_file(phaya: Phaya) -> None:
    stranger = await upload(phaya, b"x", key="pk_nobody")
    other = await upload(phaya, b"x", field="picture")
    plain = await phaya.post("media/upload", {"file": "x"})
    broken = await phaya.post("media/upload", b"--x\r\nnonsense", Content_Type="multipart/form-data; boundary=y")
    unbounded = await phaya.post("media/upload", b"", Content_Type="multipart/form-data")

    assert [answer.status for answer in (stranger, other, plain, broken, unbounded)] == [401, 422, 422, 422, 422]
    assert "file: is required" in other.json["message"]


async def test_an_upload_stops_at_the_settings_size(tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_UPLOAD_BYTES=100_000) as phaya:
        near = await upload(phaya, b"x" * 100_001)
        far = await upload(phaya, b"x" * 1_000_000)

    assert [(answer.status, answer.json["error"]) for answer in (near, far)] == [(413, "too_large")] * 2
    assert "0.1 MB" in near.json["message"]


# ── joining ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_films_of_any_shape_rate_and_sound_are_joined(phaya: Phaya, tmp_path: Path) -> None:
    key = await phaya.new_key("1")
    parts = [
        film(tmp_path, "1.mp4", "red", size="160x90", rate=25, sound=300),
        film(tmp_path, "2.webm", "lime", size="90x160", rate=30),
        film(tmp_path, "3.mov", "blue", size="122x90", rate=12, sound=300),
    ]
    urls = [await link(phaya, part) for part in parts]

    status = await edit(phaya, "merge-video", key, video_urls=[*urls, urls[0]])

    content = await fetch(phaya, status["video_url"])
    shown = frames(content)
    loud = [part > 0.01 for part in loudness(content)]
    assert shown[0].shape == (90, 160, 3), "the first's size"
    assert abs(seconds(content) - 4) < 0.3
    assert abs(len(shown) - 100) <= 5, "the first's rate"
    assert [colour(shown[place]) for place in (12, 37, 62, 88)] == ["red", "lime", "blue", "red"]
    assert [colour(shown[37], x) for x in (0.05, 0.95)] == ["black", "black"], "bars beside an upright film"
    assert [loud[tenth] for tenth in (5, 15, 25, 35)] == [True, False, True, True]
    assert status["status"] == "completed"
    assert str(await phaya.balance(key)) == "0.5"


async def test_silent_films_make_a_silent_film(phaya: Phaya, tmp_path: Path) -> None:
    urls = [data(film(tmp_path, f"{colour}.mp4", colour)) for colour in ("red", "blue")]

    status = await edit(phaya, "merge-video", video_urls=urls)

    assert loudness(await fetch(phaya, status["video_url"])) == []


async def test_sounds_of_any_format_are_joined(phaya: Phaya, tmp_path: Path) -> None:
    urls = [
        await link(phaya, tone(tmp_path, *part)) for part in (("a.wav", 300, 1), ("b.ogg", 0, 1), ("c.mp3", 300, 1))
    ]

    status = await edit(phaya, "merge-audio", audio_urls=urls)

    content = await fetch(phaya, status["audio_url"])
    loud = [part > 0.01 for part in loudness(content)]
    assert status["audio_url"].endswith(".mp3")
    assert abs(seconds(content) - 3) < 0.3
    assert [loud[tenth] for tenth in (5, 15, 26)] == [True, False, True]


@pytest.mark.parametrize("name", ["film.mp4", "film.webm"])
@pytest.mark.parametrize("length", [1, 3])
async def test_a_sound_is_cut_or_padded_to_the_film(phaya: Phaya, tmp_path: Path, name: str, length: int) -> None:
    video = await link(phaya, film(tmp_path, name, "red", sound=2000, seconds=2))
    audio = await link(phaya, tone(tmp_path, "sound.mp3", 300, length))

    status = await edit(phaya, "merge-audio-video", video_url=video, audio_url=audio)

    content = await fetch(phaya, status["video_url"])
    loud = [part > 0.01 for part in loudness(content)]
    assert abs(seconds(content) - 2) < 0.1
    assert (loud[5], loud[15]) == (True, length > 1)
    assert colour(frames(content)[30]) == "red"


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_gif_repeats_on_the_film_and_its_clear_parts_stay_clear(phaya: Phaya, tmp_path: Path) -> None:
    video = await link(phaya, film(tmp_path, "film.mp4", "blue", size="320x180", sound=300, seconds=2))

    status = await edit(
        phaya, "overlay-gif", video_url=video, gif_url=await link(phaya, gif(["red", "lime"])),
        position="center", scale=0.5,
    )  # fmt: skip

    content = await fetch(phaya, status["video_url"])
    shown = frames(content)
    assert abs(len(shown) - 60) <= 1, "the film's length, not the animation's"
    assert [colour(shown[place]) for place in (3, 9, 51, 57)] == ["red", "lime", "red", "lime"]
    assert colour(shown[3], 0.27, 0.1) == "blue", "a corner of the animation is clear"
    assert loudness(content)


@pytest.mark.parametrize(
    ("position", "x", "y"),
    [("top_left", 0.12, 0.2), ("top_right", 0.88, 0.2), ("bottom_left", 0.12, 0.8), ("bottom_right", 0.88, 0.8)],
)
async def test_a_gif_is_where_it_was_asked_for(phaya: Phaya, tmp_path: Path, position: str, x: float, y: float) -> None:
    video = data(film(tmp_path, "film.mp4", "blue", size="320x180", seconds=0.5))
    still = data(gif(["red"]), "image/gif")

    status = await edit(phaya, "overlay-gif", video_url=video, gif_url=still, position=position, scale=0.2)

    shown = frames(await fetch(phaya, status["video_url"]))
    places = [(0.12, 0.2), (0.88, 0.2), (0.12, 0.8), (0.88, 0.8)]
    assert [place for place in places if colour(shown[-1], *place) == "red"] == [(x, y)]


async def test_the_last_frame_is_the_last_one(phaya: Phaya, tmp_path: Path) -> None:
    key = await phaya.new_key("1")
    # Two seconds of red, then one single blue picture; the sound goes on for longer.
    source = "-f lavfi -i color=red:s=160x90:r=10:d=2.1 -f lavfi -i sine=d=4"
    content = make(
        tmp_path, "film.mp4",
        f"{source} -vf drawbox=c=blue:t=fill:enable=gte(n\\,20) -c:v libx264 -pix_fmt yuv420p -c:a aac",
    )  # fmt: skip
    assert [colour(one) for one in frames(content)[-2:]] == ["red", "blue"]

    status = await edit(phaya, "extract-last-frame", key, video_url=await link(phaya, content))

    with Image.open(io.BytesIO(await fetch(phaya, status["image_url"]))) as picture:
        assert (picture.format, picture.size) == ("PNG", (160, 90))
        assert picture.convert("RGB").getpixel((80, 45))[2] > 150  # type: ignore[index]
    assert str(await phaya.balance(key)) == "0.9"


# ── what all have in common ──────────────────────────────────────────────────────────────────────────────

PLAYLIST = data(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
CONCAT = data(b"ffconcat version 1.0\nfile /etc/passwd\n")
HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("merge-video", {"video_urls": ["https://x.example/1.mp4"]}, "video_urls: must have at least 2 items, not 1"),
    ("merge-video", {"video_urls": ["https://x.example/1.mp4"] * 21}, "video_urls: must have at most 20 items"),
    ("merge-audio", {"audio_urls": ["https://x.example/1.mp3"] * 21}, "audio_urls: must have at most 20 items"),
    ("merge-video", {"video_urls": [PLAYLIST, CONCAT]}, "video_urls: is not usable"),
    ("merge-audio-video", {"video_url": PLAYLIST, "audio_url": PLAYLIST}, "video_url: is not usable"),
    (
        "merge-audio-video",
        {"video_url": "http://127.0.0.1:9/x.mp4", "audio_url": PLAYLIST},
        "the address is not public",
    ),
    ("extract-last-frame", {"video_url": data(b"")}, "video_url: is not usable: it is empty"),
    ("extract-last-frame", {"video_url": data(gif(["red"]))}, "video_url: must be a video"),
    ("extract-last-frame", {"video_url": "file:///etc/passwd"}, "must be an http or https address"),
    ("overlay-gif", {"video_url": PLAYLIST, "gif_url": PLAYLIST, "scale": 0.01}, "scale"),
    ("overlay-gif", {"video_url": PLAYLIST, "gif_url": PLAYLIST, "position": "left"}, "must be one of top_left"),
    ("overlay-gif", {"video_url": PLAYLIST}, "gif_url: is required"),
    ("transcribe", {"media_url": PLAYLIST, "language": "klingon"}, "language"),
    ("transcribe", {"media_url": data(gif(["red"]))}, "media_url: must be a video or a sound file"),
]


@pytest.mark.parametrize(("what", "body", "told"), HOSTILE)
async def test_bad_inputs_are_named_and_cost_nothing(phaya: Phaya, what: str, body: dict[str, Any], told: str) -> None:
    key = await phaya.new_key("2")

    answer = await phaya.post(f"media/{what}", body, key=key)

    assert answer.status == 422
    assert told in answer.json["message"]
    assert await phaya.balance(key) == 2


async def test_a_job_that_fails_is_paid_back(phaya: Phaya, tmp_path: Path) -> None:
    key = await phaya.new_key("2")
    silent = data(film(tmp_path, "film.mp4", "red"))

    status = await finished(phaya, "media/transcribe", "media", key, media_url=silent)

    assert (status["status"], status["error"]) == ("failed", "The film has no sound to transcribe.")
    assert status["text"] is status["segments"] is status["result_url"] is None
    assert await phaya.balance(key) == 2
    assert await phaya.audit() == []


async def test_other_names_of_fields_are_known(phaya: Phaya, tmp_path: Path) -> None:
    video = data(film(tmp_path, "film.mp4", "red", seconds=0.5))

    answer = await phaya.post("media/extract-last-frame", {"media_url": video})

    assert answer.json["warnings"] == ["'media_url' was read as 'video_url'."]
    assert answer.json["status_url"] == f"{phaya.url}/api/v1/media/status/{answer.json['job_id']}"
    assert (await phaya.finish("media", answer.json["job_id"]))["status"] == "completed"


async def test_all_media_jobs_are_in_one_history_and_each_in_its_own_fields(phaya: Phaya, tmp_path: Path) -> None:
    key = await phaya.new_key("5")
    video = data(film(tmp_path, "film.mp4", "red", sound=300, seconds=0.5))
    await edit(phaya, "extract-last-frame", key, video_url=video)
    await edit(phaya, "transcribe", key, media_url=video)

    history = (await phaya.get("media/history", key=key)).json["history"]

    assert [job["service"] for job in history] == ["media/transcribe", "media/extract-last-frame"]
    assert "text" in history[0]
    assert history[1]["image_url"]


async def test_the_queue_tells_counts_and_nothing_else(phaya: Phaya) -> None:
    answer = await phaya.get("media/queue/stats")
    stranger = await phaya.get("media/queue/stats", key="pk_nobody")

    assert {"success", "queued", "processing", "lanes"} == answer.json.keys()
    assert all({"queued", "processing"} == counts.keys() for counts in answer.json["lanes"].values())
    assert stranger.status == 401
