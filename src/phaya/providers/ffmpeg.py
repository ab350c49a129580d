"""Renders a clip from one still, with FFmpeg in a child process.

FFmpeg sees a clean PNG and a sniffed sound file, opens each as that and nothing else, and has no protocol but
files: a playlist or a concat script under another name opened other local files and the network when it was
left to guess (seen with FFmpeg 9.0, November 2026).
"""

from __future__ import annotations

import asyncio
import math
import os
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
from av.error import FFmpegError

from phaya.calls import LocalCall, StillToVideo, Zoom
from phaya.providers import Made, Rejected, Report, Unavailable
from phaya.providers.child import Limits, Outcome, run_child

FPS = 30
LONG_SIDE, SHORT_SIDE = 1920, 1080
SMALLEST_SIDE = 16
FADE_SECONDS = 1.0
# zoompan cuts its window at whole pixels of its source, so a slow zoom shakes. On a larger source it shakes
# less: by half at twice the size, for the same time. Long clips make do with less, to be ready in time.
SUPERSAMPLED, SUPERSAMPLED_LONG, LONG_SECONDS = 2.0, 1.5, 20.0
LARGEST_SOURCE = 8192
LEAST_PAN_SCALE = 1.1
MOST_THREADS = 8  # more help little at this size, and each reserves address space

_MUSIC_FORMATS = "mp3,wav,flac,ogg,aac,mov,matroska"
_MEMORY = 4 << 30
_FILE = 1 << 30


@dataclass(frozen=True)
class Frame:
    """Width and height in pixels, both even as H.264 with half the colours needs them."""

    width: int
    height: int

    @classmethod
    def of(cls, width: int, height: int) -> Frame:
        """The frame of a clip: the picture's shape within 1920x1080 or 1080x1920, at most twice the picture."""
        factor = min(LONG_SIDE / max(width, height), SHORT_SIDE / min(width, height), 2.0)
        return cls(_even(width * factor), _even(height * factor))

    def times(self, factor: float) -> Frame:
        """The frame enlarged, but no side beyond 8192."""
        factor = min(factor, LARGEST_SOURCE / max(self.width, self.height))
        return Frame(_even(self.width * factor), _even(self.height * factor))


class Ffmpeg:
    """The renderer. `binary` is FFmpeg's path (by default the one that imageio-ffmpeg carries),
    `wall_seconds` the longest that a render may take, `threads` how many it uses (by default what the machine
    has, up to eight). How many renders run at a time is the caller's to limit: half of the cores is a good number."""

    name = "ffmpeg"

    def __init__(self, binary: str | None = None, wall_seconds: float = 240, threads: int | None = None) -> None:
        self._binary = binary
        self._threads = threads or min(MOST_THREADS, os.cpu_count() or 1)
        self._limits = Limits(
            cpu_seconds=math.ceil(wall_seconds * self._threads),
            memory_bytes=_MEMORY,
            file_bytes=_FILE,
            wall_seconds=wall_seconds,
        )

    async def run(self, call: LocalCall, inputs: Mapping[str, Path], folder: Path, report: Report) -> Made:
        """Renders the clip into `folder`. Raises Rejected or Unavailable.

        The picture must be a PNG; whoever has another makes it one before.
        """
        assert isinstance(call, StillToVideo)
        picture = inputs[call.image]
        music = inputs[call.music] if call.music is not None else None
        size = await asyncio.to_thread(_png_size, picture)
        frames = max(1, round(call.seconds * FPS))
        rendering, video = folder / "rendering.mp4", folder / "video.mp4"
        argv = [
            await self._program(),
            *("-nostdin", "-hide_banner", "-v", "error", "-y"),
            *("-progress", "pipe:1", "-nostats", "-stats_period", "0.5"),
            *("-filter_threads", str(self._threads)),
            *_picture_input(picture),
            *(_music_input(music) if music else ()),
            *("-map", "0:v:0", "-vf", _film(call, size, frames), "-frames:v", str(frames)),
            *("-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-threads", str(self._threads)),
            *(_music_output(frames / FPS) if music else ()),
            *("-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4", _file(rendering)),
        ]
        outcome = await run_child(argv, folder=folder, limits=self._limits, on_line=_reader(frames, report))
        self._judge(outcome, music)
        await asyncio.to_thread(_check, rendering, frames, music is not None)
        await asyncio.to_thread(rendering.replace, video)
        return Made([video])

    async def _program(self) -> str:
        if self._binary is None:
            try:
                self._binary = str(await asyncio.to_thread(imageio_ffmpeg.get_ffmpeg_exe))
            except RuntimeError as error:
                raise Unavailable("The renderer is not installed.", str(error), retry_after=600) from error
        return self._binary

    def _judge(self, outcome: Outcome, music: Path | None) -> None:
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
        if music is not None and f"Error opening input file {_file(music)}" in complaint:
            raise Rejected("The music could not be read.", complaint)
        if music is not None and "matches no streams" in complaint:
            raise Rejected("The music holds no sound.", complaint)
        raise Rejected("The picture could not be rendered.", complaint)


def _even(side: float) -> int:
    return max(SMALLEST_SIDE, round(side / 2) * 2)


def _file(path: Path) -> str:
    return f"file:{path.absolute()}"


def _picture_input(picture: Path) -> Sequence[str]:
    # A damaged PNG is an error, where FFmpeg would otherwise paint what it has of it.
    strict = ("-err_detect", "explode", "-xerror")
    only = ("-protocol_whitelist", "file", "-format_whitelist", "png_pipe", "-f", "png_pipe")
    return (*strict, *only, "-threads", "1", "-framerate", str(FPS), "-i", _file(picture))


def _music_input(music: Path) -> Sequence[str]:
    only = ("-protocol_whitelist", "file", "-format_whitelist", _MUSIC_FORMATS)
    return ("-stream_loop", "-1", *only, "-vn", "-i", _file(music))


def _music_output(seconds: float) -> Sequence[str]:
    """Sound of the film's length: looped by the input where it is shorter, cut where longer, faded out."""
    fade = min(FADE_SECONDS, seconds / 3)
    chain = f"asetpts=N/SR/TB,atrim=0:{seconds:.6f},afade=t=out:st={seconds - fade:.6f}:d={fade:.6f}"
    return ("-map", "1:a:0", "-af", chain, "-c:a", "aac", "-b:a", "192k", "-ar", "48000", "-ac", "2")


def _film(call: StillToVideo, size: tuple[int, int], frames: int) -> str:
    """The filters from the picture to the film's frames."""
    frame = Frame.of(*size)
    zoom = call.zoom
    if zoom is None or zoom.mode == "none":
        # One frame, converted once and repeated: decoding it for each frame takes five times as long.
        return f"{_scaled(frame)},format=yuv420p,loop=loop={frames - 1}:size=1,setpts=N/{FPS}/TB,{_TAGS}"
    source = frame.times(SUPERSAMPLED_LONG if call.seconds > LONG_SECONDS else SUPERSAMPLED)
    z, x, y = window(zoom, frames)
    moved = f"zoompan=z='{z}':x='{x}':y='{y}':d={frames}:s={frame.width}x{frame.height}:fps={FPS}"
    # Full colour resolution until the end: with less, the window would move in steps of two pixels.
    return f"{_scaled(frame=source)},format=yuv444p,{moved},setsar=1,format=yuv420p,{_TAGS}"


# Players take a film of this size for BT.709. Unless the conversion is told so, it is BT.601, and red turns orange.
_TAGS = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"


def _scaled(frame: Frame) -> str:
    size = f"{frame.width}:{frame.height}"
    colours = "out_color_matrix=bt709:out_range=tv"
    filling = f"scale={size}:force_original_aspect_ratio=increase:flags=lanczos:{colours}"
    return f"{filling},crop={size},setsar=1"


def window(zoom: Zoom, frames: int) -> tuple[str, str, str]:
    """FFmpeg's expressions for the scale and the upper left corner of what is seen in output frame `on`.

    A zoom grows by `speed` a frame up to `max_scale`, towards the point that the mode names; a pan keeps
    `max_scale` (at least 1.1, or there would be nothing to move over) and crosses the picture `pan_speed` times
    in the length of the clip, but stops at its end. Raises Rejected for a mode or a number that is none.
    """
    numbers = (zoom.speed, zoom.max_scale, zoom.pan_speed)
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise Rejected("The zoom's numbers must be positive.")
    grown = f"min(1+{zoom.speed:.9f}*on,{max(1.0, zoom.max_scale):.6f})"
    still = f"{max(LEAST_PAN_SCALE, zoom.max_scale):.6f}"
    passed = f"min(1,{zoom.pan_speed:.9f}*on/{max(1, frames - 1)})"
    right, bottom, centre, middle = "(iw-iw/zoom)", "(ih-ih/zoom)", "(iw-iw/zoom)/2", "(ih-ih/zoom)/2"
    match zoom.mode:
        case "center":
            return grown, centre, middle
        case "top_left":
            return grown, "0", "0"
        case "top_right":
            return grown, right, "0"
        case "bottom_left":
            return grown, "0", bottom
        case "bottom_right":
            return grown, right, bottom
        case "pan_right":
            return still, f"{right}*{passed}", middle
        case "pan_left":
            return still, f"{right}*(1-{passed})", middle
        case "pan_down":
            return still, centre, f"{bottom}*{passed}"
        case "pan_up":
            return still, centre, f"{bottom}*(1-{passed})"
        case other:
            raise Rejected(f"There is no zoom mode {other!r}.")


def _reader(frames: int, report: Report) -> Callable[[str], Awaitable[None]]:
    """Reports the part that is rendered, from FFmpeg's `-progress` lines."""
    last = 0.0

    async def read(line: str) -> None:
        nonlocal last
        name, _, value = line.partition("=")
        if name == "frame" and value.strip().isdigit():
            part = min(1.0, int(value) / frames)
            if part > last:
                last = part
                await report(part)

    return read


def _png_size(picture: Path) -> tuple[int, int]:
    """Width and height by the header. Raises Rejected where the file is no PNG."""
    with picture.open("rb") as file:
        head = file.read(24)
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise Rejected("The picture could not be read.", "the input is no PNG")
    width, height = struct.unpack(">II", head[16:24])
    if not (0 < width <= LARGEST_SOURCE and 0 < height <= LARGEST_SOURCE):
        raise Rejected("The picture could not be read.", f"the input has {width} x {height} pixels")
    return width, height


def _check(video: Path, frames: int, music: bool) -> None:
    """Looks whether the file is the film that was ordered; FFmpeg's exit code does not say so."""
    try:
        with av.open(video, "r", format="mov") as film:
            codecs = [stream.codec_context.name for stream in film.streams]
            count = sum(1 for packet in film.demux(video=0) if packet.size)
            seconds = (film.duration or 0) / av.time_base
    except (FFmpegError, OSError) as error:
        raise Rejected("Rendering made no film.", str(error)) from error
    expected = ["h264", "aac"] if music else ["h264"]
    if codecs != expected or count != frames or abs(seconds - frames / FPS) > 1 / FPS:
        found = f"{codecs}, {count} of {frames} frames, {seconds:.3f} s"
        raise Rejected("Rendering made no film of the right length.", found)
