"""FFmpeg's work: a clip from one still here, edits of films and sounds in the modules beside this one.

FFmpeg sees a clean PNG and a sniffed sound file, opens each as that and nothing else, and has no protocol but
files: a playlist or a concat script under another name opened other local files and the network when it was
left to guess (seen with FFmpeg 9.0, November 2026).
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phaya.calls import (
    Download,
    GeminiSpeech,
    LastFrame,
    LocalCall,
    MergeAudios,
    MergeAudioVideo,
    MergeVideos,
    OverlayGif,
    StillToVideo,
    Subtitle,
    Transcribe,
    Zoom,
)
from phaya.decoding.decoder import Decoder
from phaya.decoding.findings import Contents
from phaya.providers import Made, Rejected, Report
from phaya.providers.frames import last_frame, overlay
from phaya.providers.joining import join_films, join_sounds, replace_sound
from phaya.providers.rendering import MP4, SOUND, TAGS, Renderer, Unrenderable, file_address
from phaya.providers.subtitling import Subtitling
from phaya.providers.transcription import Transcription

FPS = 30
LONG_SIDE, SHORT_SIDE = 1920, 1080
SMALLEST_SIDE = 16
FADE_SECONDS = 1.0
# zoompan cuts its window at whole pixels of its source, so a slow zoom shakes. On a larger source it shakes
# less: by half at twice the size, for the same time. Long clips make do with less, to be ready in time.
SUPERSAMPLED, SUPERSAMPLED_LONG, LONG_SECONDS = 2.0, 1.5, 20.0
LARGEST_SOURCE = 8192
LEAST_PAN_SCALE = 1.1
# All of a still moves the same way, and no light fades in it: a small search finds the movement, blocks need hardly be
# split, and no frame has to be compared with a darker one. The encoder takes a fifth less time for files that are 1 %
# smaller to 3 % larger and as good (SSIM within 0.0005 and PSNR within 0.1 dB of the usual settings).
STEADY = ("-x264-params", "me=dia:partitions=b8x8:weightp=0")

_MUSIC_FORMATS = "mp3,wav,flac,ogg,aac,mov,matroska"
EDIT_SECONDS = 1200
"""The longest that an edit of clients' films may take; they are longer than our clips."""


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
    """The renderer. `decoder` looks at files before and after, `binary` is FFmpeg's path (by default the one that
    imageio-ffmpeg carries), `wall_seconds` the longest that a render may take, `threads` how many it uses (by default
    what the machine has, up to eight). How many renders run at a time is the caller's to limit: half of the cores is a
    good number."""

    name = "ffmpeg"

    def __init__(
        self,
        decoder: Decoder,
        binary: str | None = None,
        wall_seconds: float = 600,
        threads: int | None = None,
        transcription: Transcription | None = None,
    ) -> None:
        self._stills = Renderer(decoder, binary, wall_seconds, threads)
        self._edits = Renderer(decoder, binary, max(EDIT_SECONDS, wall_seconds), threads)
        self._subtitling = Subtitling(self._edits, transcription)

    async def run(self, call: LocalCall, inputs: Mapping[str, Path], folder: Path, report: Report) -> Made:
        """Does the work in `folder`. Raises Rejected or Unavailable.

        Pictures must be PNGs; whoever has others makes them such before.
        """
        renderer = self._edits
        match call:
            case GeminiSpeech() | Download():
                raise TypeError(f"FFmpeg renders no {call.kind}")
            case StillToVideo():
                return await self._animate(call, inputs, folder, report)
            case MergeAudioVideo():
                made = await replace_sound(renderer, inputs[call.video], inputs[call.audio], folder, report)
            case MergeVideos():
                made = await join_films(renderer, [inputs[key] for key in call.videos], folder, report)
            case MergeAudios():
                made = await join_sounds(renderer, [inputs[key] for key in call.audios], folder, report)
            case OverlayGif():
                made = await overlay(renderer, call, inputs[call.video], inputs[call.gif], folder, report)
            case LastFrame():
                made = await last_frame(renderer, inputs[call.video], folder, report)
            case Transcribe():
                return await self._subtitling.transcribe(call, inputs[call.media], folder, report)
            case Subtitle():
                return await self._subtitling.subtitle(call, inputs[call.media], folder, report)
        return Made([made])

    async def _animate(self, call: StillToVideo, inputs: Mapping[str, Path], folder: Path, report: Report) -> Made:
        """Renders the clip from the still."""
        picture = inputs[call.image]
        music = inputs[call.music] if call.music is not None else None
        size = await asyncio.to_thread(_png_size, picture)
        frames = max(1, round(call.seconds * FPS))
        rendering, video = folder / "rendering.mp4", folder / "video.mp4"
        arguments = [
            *_picture_input(picture),
            *(_music_input(music) if music else ()),
            *("-map", "0:v:0", "-vf", _film(call, size, frames), "-frames:v", str(frames)),
            *(*self._stills.encoder(), *STEADY),
            *(_music_output(frames / FPS) if music else ()),
            *(*MP4, file_address(rendering)),
        ]
        try:
            await self._stills.run(arguments, folder, seconds=frames / FPS, report=report)
        except Unrenderable as error:
            raise Rejected(_why(error.detail, music), error.detail) from error
        _check(await self._contents(rendering), frames, music is not None)
        await asyncio.to_thread(rendering.replace, video)
        return Made([video])

    async def _contents(self, rendering: Path) -> Contents:
        try:
            return await self._stills.contents(rendering)
        except Rejected as error:
            raise Rejected("Rendering made no film.", error.detail) from error


def _why(complaint: str, music: Path | None) -> str:
    """What FFmpeg could make nothing of, in a sentence for the user."""
    if music is not None and f"Error opening input file {file_address(music)}" in complaint:
        return "The music could not be read."
    if music is not None and "matches no streams" in complaint:
        return "The music holds no sound."
    return "The picture could not be rendered."


def _even(side: float) -> int:
    return max(SMALLEST_SIDE, round(side / 2) * 2)


def _picture_input(picture: Path) -> Sequence[str]:
    # A damaged PNG is an error, where FFmpeg would otherwise paint what it has of it.
    strict = ("-err_detect", "explode", "-xerror")
    only = ("-protocol_whitelist", "file", "-format_whitelist", "png_pipe", "-f", "png_pipe")
    return (*strict, *only, "-threads", "1", "-framerate", str(FPS), "-i", file_address(picture))


def _music_input(music: Path) -> Sequence[str]:
    only = ("-protocol_whitelist", "file", "-format_whitelist", _MUSIC_FORMATS)
    return ("-stream_loop", "-1", *only, "-vn", "-i", file_address(music))


def _music_output(seconds: float) -> Sequence[str]:
    """Sound of the film's length: looped by the input where it is shorter, cut where longer, faded out."""
    fade = min(FADE_SECONDS, seconds / 3)
    chain = f"asetpts=N/SR/TB,atrim=0:{seconds:.6f},afade=t=out:st={seconds - fade:.6f}:d={fade:.6f}"
    return ("-map", "1:a:0", "-af", chain, *SOUND)


def _film(call: StillToVideo, size: tuple[int, int], frames: int) -> str:
    """The filters from the picture to the film's frames."""
    frame = Frame.of(*size)
    zoom = call.zoom
    if zoom is None or zoom.mode == "none":
        # One frame, converted once and repeated: decoding it for each frame takes five times as long.
        return f"{_scaled(frame)},format=yuv420p,loop=loop={frames - 1}:size=1,setpts=N/{FPS}/TB,{TAGS}"
    source = frame.times(SUPERSAMPLED_LONG if call.seconds > LONG_SECONDS else SUPERSAMPLED)
    z, x, y = window(zoom, frames)
    moved = f"zoompan=z='{z}':x='{x}':y='{y}':d={frames}:fps={FPS}:s="
    whole, half = f"{frame.width}x{frame.height}", f"{frame.width // 2}x{frame.height // 2}"
    # Each plane moves by itself, brightness to the frame's size and the two colours to half of it, as H.264 has them.
    # All from full resolution: with half the colours to begin with, the window would move in steps of two pixels.
    planes = f"[y]{moved}{whole}[Y];[u]{moved}{half}[U];[v]{moved}{half}[V]"
    merged = "[Y][U][V]mergeplanes=map1s=1:map2s=2:format=yuv420p"
    return f"{_scaled(source)},format=yuv444p,extractplanes=y+u+v[y][u][v];{planes};{merged},setsar=1,{TAGS}"


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


def _check(found: Contents, frames: int, music: bool) -> None:
    """Looks whether the file is the film that was ordered; FFmpeg's exit code does not say so."""
    expected = ("h264", "aac") if music else ("h264",)
    right = found.codecs == expected and found.pictures == frames
    if not right or abs(found.seconds - frames / FPS) > 1 / FPS:
        codecs = ", ".join(found.codecs)
        complaint = f"{codecs}, {found.pictures} of {frames} frames, {found.seconds:.3f} s"
        raise Rejected("Rendering made no film of the right length.", complaint)
