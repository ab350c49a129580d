"""Tiny films, sounds and animations that tests make, send and look at."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import av
import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from conftest import Phaya, Reply

Pixels = NDArray[np.uint8]


def make(folder: Path, name: str, arguments: str) -> bytes:
    """What FFmpeg makes of these arguments."""
    file = folder / name
    program = str(imageio_ffmpeg.get_ffmpeg_exe())
    subprocess.run([program, "-v", "error", "-y", *arguments.split(), file], check=True, timeout=60)
    return file.read_bytes()


def film(
    folder: Path, name: str, colour: str, *, size: str = "160x90", rate: int = 30, sound: int = 0, seconds: float = 1
) -> bytes:
    """A film of one colour, with a tone of `sound` Hz if any."""
    tone = (
        f"-f lavfi -i sine=f={sound}:d={seconds} -c:a {'libopus' if name.endswith('webm') else 'aac'}" if sound else ""
    )
    codec = "libvpx" if name.endswith("webm") else "libx264 -preset ultrafast"
    picture = f"-f lavfi -i color={colour}:s={size}:r={rate}:d={seconds}"
    return make(folder, name, f"{picture} {tone} -c:v {codec} -pix_fmt yuv420p")


def tone(folder: Path, name: str, hertz: int, seconds: float) -> bytes:
    """A tone; 0 Hz is silence."""
    source = f"sine=f={hertz}:d={seconds}" if hertz else f"anullsrc=r=16000:cl=mono,atrim=0:{seconds}"
    return make(folder, name, f"-f lavfi -i {source}")


def gif(colours: list[str], size: int = 40) -> bytes:
    """An animation of discs on nothing, a fifth of a second each."""
    frames: list[Image.Image] = []
    for colour in colours:
        frame = Image.new("RGBA", (size, size), (0, 0, 0, 0))
        ImageDraw.Draw(frame).ellipse((8, 8, size - 8, size - 8), fill=colour)
        frames.append(frame)
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=200, loop=1, disposal=2)
    return content.getvalue()


async def upload(
    phaya: Phaya, content: bytes, key: str | None = None, name: str = "file", field: str = "file"
) -> Reply:
    """Sends a file as browsers do."""
    form = aiohttp.FormData()
    form.add_field(field, content, filename=name, content_type="application/octet-stream")
    headers = {"Authorization": f"Bearer {key or phaya.key}"}
    async with phaya.session.post(f"{phaya.url}/api/v1/media/upload", data=form, headers=headers) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


async def link(phaya: Phaya, content: bytes) -> str:
    """Where an uploaded file is."""
    sent = await upload(phaya, content)
    assert sent.status == 200, sent.content
    return sent.json["url"]


async def finished(phaya: Phaya, create: str, status: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
    """A job's last status."""
    created = await phaya.post(create, fields, key=key)
    assert created.status == 200, created.content
    return await phaya.finish(status, created.json["job_id"], key)


async def fetch(phaya: Phaya, url: str) -> bytes:
    """A result, without a key."""
    async with phaya.session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


def frames(content: bytes) -> list[Pixels]:
    """All pictures of a film, in RGB."""
    with av.open(io.BytesIO(content), "r") as clip:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in clip.decode(video=0)]


def seconds(content: bytes) -> float:
    """How long a film or sound lasts."""
    with av.open(io.BytesIO(content), "r") as clip:
        return (clip.duration or 0) / av.time_base


def loudness(content: bytes) -> list[float]:
    """How loud each tenth of a second is, 0..1; empty without a sound track."""
    with av.open(io.BytesIO(content), "r") as clip:
        if not clip.streams.audio:
            return []
        wave = av.AudioResampler("flt", "mono", 16000)
        parts = [part.to_ndarray()[0] for frame in clip.decode(audio=0) for part in wave.resample(frame)]
    samples = np.concatenate(parts)
    return [float(np.abs(samples[place : place + 1600]).mean()) for place in range(0, len(samples), 1600)]


def colour(frame: Pixels, x: float = 0.5, y: float = 0.5) -> str:
    """The nearest of a few colours, at a part of the width and height."""
    red, green, blue = (int(part) > 110 for part in frame[int(y * (len(frame) - 1)), int(x * (len(frame[0]) - 1))])
    names = {(1, 0, 0): "red", (0, 1, 0): "lime", (0, 0, 1): "blue", (0, 0, 0): "black", (1, 1, 1): "white"}
    return names.get((int(red), int(green), int(blue)), "mixed")
