"""The studio: makes the sandbox's pictures, films and songs, the same ones for the same prompt and seed.

Each function writes one file. It appears under its name only when it is complete, and its folder must exist.
All raise StudioError where a given still is no picture, or where FFmpeg or the orchestra fails. Cancelling ends
the child processes.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

from phaya.providers.sandbox import films
from phaya.providers.sandbox.chance import chance
from phaya.providers.sandbox.drawing import pictures
from phaya.providers.sandbox.drawing.lettering import MARK
from phaya.providers.sandbox.drawing.moods import mood_of
from phaya.providers.sandbox.drawing.scenery import FRAMES
from phaya.providers.sandbox.workshop import StudioError, ffmpeg, run, threaded, workshop

__all__ = ["StudioError", "cover", "film", "picture", "song"]

LONGEST_TAG = 300
Result = TypeVar("Result")


async def picture(path: Path, *, prompt: str, width: int, height: int, seed: str, still: Path | None = None) -> None:
    """A picture of exactly `width` by `height` pixels that shows and carries the prompt.

    With a `still`, that picture is restyled instead. The format follows the suffix: .png, .jpg, .jpeg or .webp.
    """

    def draw() -> Image.Image:
        if still is not None:
            return pictures.restyled(still, prompt, width, height, seed)
        return pictures.view(prompt, width, height, seed)

    await _saved(path, draw)


async def cover(path: Path, *, title: str, seed: str) -> None:
    """The square cover of a song, 1024 pixels wide."""
    await _saved(path, lambda: pictures.sleeve(title, seed))


async def film(
    path: Path,
    *,
    prompt: str,
    width: int,
    height: int,
    seconds: float,
    seed: str,
    sound: bool = True,
    stills: Sequence[Path] = (),
) -> None:
    """An MP4 of exactly the asked size and, within a frame, the asked length: H.264, 24 frames a second,
    and stereo AAC with `sound`.

    One still is animated; of two or more, the film goes from the first to the last.
    Raises ValueError where a side is odd or the length is not positive.
    """
    if width % 2 or height % 2 or seconds <= 0:
        raise ValueError(f"there is no film of {width}x{height} pixels and {seconds} seconds")
    exact = films.frames_of(seconds) / FRAMES

    async with workshop(path) as folder:

        def draw() -> films.Reel:
            if stills:
                return films.still_film(folder, prompt, width, height, exact, seed, stills)
            return films.scene_film(folder, prompt, width, height, exact, seed)

        reel = await _drawn(draw)
        track = None
        if sound:
            track = folder / "sound.wav"
            place = mood_of(prompt, chance(seed, prompt))
            await _play(
                kind="ambience",
                path=str(track),
                seconds=exact,
                seed=seed,
                land=place.land,
                hour=place.hour,
                weather=place.weather,
                water=place.water,
            )
        await run(reel.arguments(track, folder / path.name))


async def song(
    path: Path, *, prompt: str, title: str, style: str, seconds: float, seed: str, instrumental: bool
) -> None:
    """An MP3 (44.1 kHz stereo) of the asked length, tagged with its title; unless instrumental, a voice sings
    the melody on vowels.
    """
    async with workshop(path) as folder:
        track = folder / "song.wav"
        await _play(
            kind="song",
            path=str(track),
            seconds=seconds,
            seed=seed,
            text=f"{title} {prompt}",
            style=style,
            instrumental=instrumental,
        )
        tag = " ".join("".join(char if char.isprintable() else " " for char in title).split())[:LONGEST_TAG]
        await run(
            [
                *(ffmpeg(), "-nostdin", "-hide_banner", "-v", "error", "-y", "-i", track),
                *("-c:a", "libmp3lame", "-b:a", "160k", "-compression_level", "7", "-id3v2_version", "3"),
                *("-map_metadata", "-1", "-metadata", f"title={tag}", "-metadata", f"artist={MARK}"),
                *("-bitexact", "-f", "mp3", folder / path.name),
            ]
        )


async def _play(**specification: str | float | bool) -> None:
    """Lets the orchestra play into a WAV file. Isolated (-I): nothing from the caller's folder or environment."""
    module = "phaya.providers.sandbox.music.score"
    await run([sys.executable, "-I", "-m", module], stdin=json.dumps(specification).encode())


async def _saved(path: Path, draw: Callable[[], Image.Image]) -> None:
    async with workshop(path) as folder:
        image = await _drawn(draw)

        def save() -> None:
            # A PNG by run lengths alone is as small, and written in a third of the time.
            image.save(folder / path.name, quality=90, compress_level=1, compress_type=zlib.Z_RLE, method=2)

        await threaded(save)


async def _drawn(draw: Callable[[], Result]) -> Result:
    """Draws in a thread. A still that is no picture, or far too large a one, is the caller's fault."""
    try:
        return await threaded(draw)
    except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise StudioError(f"cannot draw this: {error}") from error
