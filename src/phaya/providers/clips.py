"""What a film or sound of a job is, as far as an edit must know it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from phaya.providers import Rejected
from phaya.providers.rendering import FORMATS

if TYPE_CHECKING:  # PyAV is loaded with the first film or sound: an idle server does without its 18 MB
    from av.container import InputContainer

LONG_SIDE, SHORT_SIDE = 1920, 1080
SMALLEST_SIDE = 16
SLOWEST, FASTEST, USUAL = 10, 60, 30
"""Frames a second."""


@dataclass(frozen=True)
class Clip:
    """A film or sound: pixels as seen (upright, square; 0 for sound), frames a second, seconds of film (of sound
    where there is no film), whether it sounds, and whether its film can be kept as it is in an mp4."""

    width: int
    height: int
    rate: Fraction
    seconds: float
    sounds: bool
    plays_anywhere: bool

    @property
    def frame(self) -> tuple[int, int]:
        """The size in which the film is edited: its own within 1920x1080 or 1080x1920, both sides even."""
        width, height = max(1, self.width), max(1, self.height)
        factor = min(LONG_SIDE / max(width, height), SHORT_SIDE / min(width, height), 1.0)
        return _even(width * factor), _even(height * factor)


async def look_at(path: Path) -> Clip:
    """Finds out what the clip is. Raises Rejected where it is none."""
    return await asyncio.to_thread(_look_at, path)


def _look_at(path: Path) -> Clip:
    import av
    from av.error import FFmpegError

    limits = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    try:
        with path.open("rb") as file, av.open(file, "r", container_options=limits, metadata_errors="ignore") as clip:
            return _read(clip)
    except (FFmpegError, EOFError) as error:
        raise Rejected("The file could not be read.", str(error)) from error


def _read(clip: InputContainer) -> Clip:
    from av.stream import Disposition

    films = [one for one in clip.streams.video if not one.disposition & Disposition.attached_pic]
    sounds = clip.streams.audio
    if not films and not sounds:
        raise Rejected("The file holds no film and no sound.")
    film = films[0] if films else None
    begin, end = Fraction(10**9), Fraction(0)
    for packet in clip.demux(film or sounds[0]):
        if packet.pts is not None and packet.size:
            begin = min(begin, packet.pts * packet.time_base)
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
    seconds = float(end - max(begin, Fraction(0)))
    if seconds <= 0:
        raise Rejected("The file holds no film and no sound.")
    if film is None:
        return Clip(0, 0, Fraction(USUAL), seconds, True, False)
    context = film.codec_context
    ratio = film.sample_aspect_ratio or Fraction(1)
    width, height = round(context.width * float(ratio)), context.height
    clip.seek(0)
    turned = next((frame.rotation for frame in clip.decode(film)), 0)
    if turned % 180:
        width, height = height, width
    rate = film.average_rate or film.guessed_rate
    if rate is None or not SLOWEST <= rate <= FASTEST:
        rate = Fraction(USUAL)
    kept = "mp4" in clip.format.name and context.name == "h264" and context.pix_fmt == "yuv420p" and not turned
    return Clip(width, height, rate, seconds, bool(sounds), kept)


def _even(side: float) -> int:
    return max(SMALLEST_SIDE, round(side / 2) * 2)
