"""FFmpeg: how long a clip takes, and what polls feel of it."""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import time

from PIL import Image

import machine
import polls
import subjects
from figures import Part, Row, ratio
from load import Load, Void, ask, request
from sitting import Points, Sitting

WIDTH, HEIGHT, LENGTH = 1080, 1920, 5
CLIENTS, REST = 16, 40
"""Four hundred polls a second at the most: sixteen clients that rest 40 ms after each answer."""
CLIP, BESIDE = f"a clip of {LENGTH} s, {WIDTH}×{HEIGHT}, zooming", "400 polls a second while clips are rendered"
WORDS = "/api/v1/image-to-video"


async def measure(sitting: Sitting) -> Part:
    """Clips on all cores, and a pace of polls with and without a clip being rendered."""
    clip = Row(CLIP, note="from the request to the end of the job")
    quiet = Row("400 polls a second, quiet")
    busy = Row(BESIDE)
    async with subjects.books(sitting.folder / "renders", "sqlite") as prepared:
        await prepared.endow(1)
        async with (
            subjects.provider(sitting.folder) as kie,
            subjects.serving(prepared, kie, cores=machine.CORES) as phaya,
        ):
            key = prepared.purses[0]
            done = await polls.finished_job(phaya.port, kie, key)
            load = polls.poll(phaya.port, key, [done], "COMPLETED")
            points: Points = [
                (clip, functools.partial(_clip, phaya, key)),
                (quiet, functools.partial(_polls, phaya, load, sitting.seconds)),
                (busy, functools.partial(_beside, phaya, load, key, sitting.seconds)),
            ]
            await sitting.interleaved(points)
    busy.add(ratio=ratio(busy.median("p99"), quiet.median("p99")))
    busy.note = "ratio: its p99 ÷ the quiet one"
    return Part("render", f"FFmpeg on {len(machine.CORES)} cores", [clip, quiet, busy])


@functools.cache
def still() -> str:
    """A picture with something to see everywhere, as a data URL."""
    grain = [Image.effect_noise((WIDTH // 4, HEIGHT // 4), 40).resize((WIDTH, HEIGHT)) for _ in range(2)]
    slope = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    file = io.BytesIO()
    Image.merge("RGB", (slope, *grain)).save(file, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


async def _begin(phaya: subjects.Subject, key: str) -> str:
    body = {"image_url": still(), "duration": LENGTH, "zoom": {"mode": "center"}}
    made = await ask(phaya.port, request("POST", f"{WORDS}/create", subjects.bearer(key), body))
    assert made.status == 200, made.body
    return made.json["job_id"]


async def _state(phaya: subjects.Subject, key: str, job_id: str) -> str:
    answer = await ask(phaya.port, request("GET", f"{WORDS}/status/{job_id}", subjects.bearer(key)))
    return answer.json["state"]


async def _end(phaya: subjects.Subject, key: str, job_id: str) -> None:
    until = time.monotonic() + 120
    while (state := await _state(phaya, key, job_id)) != "completed":
        if state == "failed" or time.monotonic() > until:
            raise Void(f"the clip is {state}")
        await asyncio.sleep(0.05)


async def _clip(phaya: subjects.Subject, key: str) -> dict[str, float]:
    began, used = time.monotonic(), phaya.process.all_cpu
    await _end(phaya, key, await _begin(phaya, key))
    return {"seconds": time.monotonic() - began, "busy": phaya.process.all_cpu - used}


async def _polls(phaya: subjects.Subject, load: Load, seconds: float) -> dict[str, float]:
    burst = await load.run(CLIENTS, seconds, pause=REST)
    return {"rate": burst.rate, "p50": burst.p50, "p99": burst.p99}


async def _beside(phaya: subjects.Subject, load: Load, key: str, seconds: float) -> dict[str, float]:
    clips = [await _begin(phaya, key) for _ in range(2)]
    await asyncio.sleep(0.5)
    told = await _polls(phaya, load, seconds)
    if await _state(phaya, key, clips[-1]) == "completed":
        raise Void("the clips were done before the polls")
    for clip in clips:
        await _end(phaya, key, clip)
    return told
