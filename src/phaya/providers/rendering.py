"""Runs FFmpeg on files that were checked before: each is opened as what it is, with no protocol but files."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]

from phaya.decoding.decoder import Decoder
from phaya.decoding.findings import Clip, Contents
from phaya.decoding.formats import DEMUXERS, Unreadable
from phaya.errors import Overloaded, StorageDown
from phaya.providers import Rejected, Report, Unavailable
from phaya.providers.child import Limits, Outcome, run_child

T = TypeVar("T")

MOST_THREADS = 8  # more help little at this size, and each reserves address space

# Players take a film of this size for BT.709. Unless the conversion is told so, it is BT.601, and red turns orange.
TAGS = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
FILM = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-pix_fmt", "yuv420p")
SOUND = ("-c:a", "aac", "-b:a", "192k", "-ar", "48000", "-ac", "2")
MP4 = ("-map_metadata", "-1", "-map_chapters", "-1", "-movflags", "+faststart", "-f", "mp4")

_FILE_PROTOCOL = "file:"
_MEMORY = 4 << 30
_FILE = 2 << 30


class Unrenderable(Rejected):
    """FFmpeg can make nothing of the inputs; `detail` is what it complains of."""


class Renderer:
    """FFmpeg, and the `decoder` that looks at its files. `binary` is its path (by default the one that imageio-ffmpeg
    carries), `wall_seconds` the longest that one run may take, `threads` how many it uses (by default what the machine
    has, up to eight)."""

    def __init__(
        self, decoder: Decoder, binary: str | None = None, wall_seconds: float = 600, threads: int | None = None
    ) -> None:
        self._decoder = decoder
        self._binary = binary
        self.threads = threads or min(MOST_THREADS, os.cpu_count() or 1)
        self._limits = Limits(
            cpu_seconds=math.ceil(wall_seconds * self.threads),
            memory_bytes=_MEMORY,
            file_bytes=_FILE,
            wall_seconds=wall_seconds,
        )

    async def run(
        self, arguments: Sequence[str], folder: Path, *, seconds: float = 0, report: Report | None = None
    ) -> None:
        """Runs FFmpeg in `folder`; `report` is told the part done of `seconds` of output.

        Raises Unrenderable, Rejected where it takes too long, or Unavailable.
        """
        argv = [
            await self._program(),
            *("-nostdin", "-hide_banner", "-v", "error", "-y"),
            *("-progress", "pipe:1", "-nostats", "-stats_period", "0.5"),
            *("-filter_threads", str(self.threads), "-filter_complex_threads", str(self.threads)),
            *arguments,
        ]
        reader = _reader(seconds, report) if report is not None and seconds > 0 else None
        named = [arguments[at + 1] for at, one in enumerate(arguments[:-1]) if one == "-i"]
        limits = replace(self._limits, reads=[Path(name.removeprefix(_FILE_PROTOCOL)) for name in named])
        self._judge(await run_child(argv, folder=folder, limits=limits, on_line=reader))

    async def look_at(self, path: Path) -> Clip:
        """What a film or sound is. Raises Rejected where it is none, or Unavailable."""
        return await self._seen(self._decoder.look_at(path))

    async def contents(self, film: Path) -> Contents:
        """What a film holds that was rendered. Raises Rejected where it is none, or Unavailable."""
        return await self._seen(self._decoder.contents(film))

    async def _seen(self, looking: Awaitable[T]) -> T:
        try:
            return await looking
        except (Unreadable, FileNotFoundError) as error:  # FFmpeg may have written none
            raise Rejected("The file could not be read.", str(error)) from error
        except (Overloaded, StorageDown) as error:
            raise Unavailable("The file could not be looked at.", str(error), retry_after=15) from error

    def encoder(self) -> Sequence[str]:
        """How films are encoded."""
        return (*FILM, "-threads", str(self.threads))

    async def _program(self) -> str:
        if self._binary is None:
            try:
                self._binary = str(await asyncio.to_thread(imageio_ffmpeg.get_ffmpeg_exe))
            except RuntimeError as error:
                raise Unavailable("The renderer is not installed.", str(error), retry_after=600) from error
        return self._binary

    def _judge(self, outcome: Outcome) -> None:
        if outcome.timed_out:
            seconds = self._limits.wall_seconds
            raise Rejected(f"Rendering took longer than {seconds:g} seconds.", outcome.stderr_tail)
        if outcome.code == 0:
            return
        complaint = f"ffmpeg ended with {outcome.code}: {outcome.stderr_tail}"
        if outcome.code in (125, 126, 127):
            raise Unavailable("The renderer could not be started.", complaint, retry_after=60)
        if outcome.code < 0 or "No space left" in complaint or "Cannot allocate memory" in complaint:
            raise Unavailable("The renderer was stopped.", complaint, retry_after=15)
        if "matches no streams" in complaint:
            raise Unrenderable("The file holds no sound.", complaint)
        raise Unrenderable("The file could not be rendered.", complaint)


def file_address(path: Path) -> str:
    """A path as FFmpeg takes it, whatever it holds."""
    return f"{_FILE_PROTOCOL}{path.absolute()}"


def media_input(path: Path, *, formats: str = DEMUXERS) -> Sequence[str]:
    """A film or sound as an input. One thread decodes it: each reserves address space."""
    only = ("-protocol_whitelist", "file", "-format_whitelist", formats)
    return (*only, "-threads", "2", "-i", file_address(path))


def _reader(seconds: float, report: Report) -> Callable[[str], Awaitable[None]]:
    """Reports the part that is rendered, from FFmpeg's `-progress` lines."""
    last = 0.0

    async def read(line: str) -> None:
        nonlocal last
        name, _, value = line.partition("=")
        if name == "progress" and value.strip() == "end":
            part = 1.0
        elif name == "out_time_us" and value.strip().isdigit():  # `N/A` at first
            part = min(1.0, int(value) / 1e6 / seconds)
        else:
            return
        if part > last:
            last = part
            await report(part)

    return read
