"""Clips rendered on this server: inputs are checked before charging, results are whole, cancels stop the work."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import av
import pytest
from PIL import Image

from conftest import Phaya

pytestmark = pytest.mark.anyio
PATH = "image-to-video"


def picture(width: int = 320, height: int = 180, kind: str = "PNG") -> str:
    """A picture as a data URL."""
    content = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(content, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"


async def render(phaya: Phaya, key: str | None = None, **fields: Any) -> dict[str, Any]:
    answer = await phaya.post(f"{PATH}/create", {"image_url": picture(), "duration": 1, **fields}, key=key)
    assert answer.status == 200, answer.content
    return await phaya.finish(PATH, answer.json["job_id"], key)


async def fetch(phaya: Phaya, url: str) -> bytes:
    async with phaya.session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def test_a_clip_is_rendered_charged_and_kept(phaya: Phaya) -> None:
    key = await phaya.new_key("2")

    status = await render(phaya, key, duration=2, zoom={"mode": "pan_left"})

    assert ("completed", 0.5) == (status["status"], status["credits_used"])
    assert status["video_url"].endswith(".mp4")
    with av.open(io.BytesIO(await fetch(phaya, status["video_url"])), "r") as clip:
        assert clip.duration is not None
        assert abs(clip.duration / 1e6 - 2) < 0.05
        assert clip.streams.video[0].codec_context.name == "h264"
    assert str(await phaya.balance(key)) == "1.5"


async def test_an_earlier_result_of_ours_is_read_from_storage(phaya: Phaya) -> None:
    first = await render(phaya)
    body = {"image_url": first["video_url"]}

    refused = await phaya.post(f"{PATH}/create", body)

    assert refused.status == 422
    assert "image_url: must be a picture" in refused.json["message"], "it was read, and seen to be a film"


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"image_url": "http://127.0.0.1:9/x.png"}, "image_url: could not be fetched: the address is not public"),
    ({"image_url": "http://169.254.169.254/latest"}, "image_url: could not be fetched: the address is not public"),
    ({"image_url": "data:image/png;base64,bm90IGEgcGljdHVyZQ=="}, "image_url: is not usable"),
    ({"image_url": "data:image/png;base64,###"}, "its base64 is broken"),
    ({"image_url": "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>"}, "image_url: is not usable"),
    ({"image_url": picture(), "music_url": picture()}, "music_url: must be a sound file"),
]


@pytest.mark.parametrize(("body", "told"), UNUSABLE)
async def test_unusable_inputs_are_found_out_before_charging(phaya: Phaya, body: dict[str, Any], told: str) -> None:
    key = await phaya.new_key("2")

    answer = await phaya.post(f"{PATH}/create", body, key=key)

    assert answer.status == 422
    assert told in answer.json["message"]
    assert await phaya.balance(key) == 2


async def test_a_cancel_stops_the_render_and_pays_back(phaya: Phaya) -> None:
    key = await phaya.new_key("2")
    body = {"image_url": picture(1920, 1080), "duration": 60, "zoom": {"mode": "center"}}
    job = (await phaya.post(f"{PATH}/create", body, key=key)).json["job_id"]
    async with asyncio.timeout(30):
        while (await phaya.get(f"{PATH}/status/{job}", key=key)).json["state"] != "processing":
            await asyncio.sleep(0.05)

    await phaya.post(f"{PATH}/cancel/{job}", {}, key=key)
    after = await render(phaya, key)

    assert "cancelled" == (await phaya.finish(PATH, job, key))["state"]
    assert "completed" == after["state"], "its place is free for the next"
    assert str(await phaya.balance(key)) == "1.5"
    assert await phaya.audit() == []


async def test_result_links_need_no_key_and_support_ranges(phaya: Phaya) -> None:
    url = (await render(phaya))["video_url"]

    async with phaya.session.get(url, headers={"Range": "bytes=4-7"}, allow_redirects=False) as part:
        assert (206, b"ftyp") == (part.status, await part.read())
        assert part.headers["Content-Type"] == "video/mp4"
        assert part.headers["X-Content-Type-Options"] == "nosniff"
