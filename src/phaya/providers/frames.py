"""Pictures and films: an animation laid over a film, and a film's last picture."""

from __future__ import annotations

from pathlib import Path

from phaya.calls import OverlayGif
from phaya.providers import Rejected, Report
from phaya.providers.clips import frame_of
from phaya.providers.rendering import MP4, SOUND, TAGS, Renderer, file_address, media_input

# Where the animation's upper left corner goes; W, H are the film's sides, w, h the animation's.
_MARGIN = "round(0.03*min(W,H))"
_LEFT, _RIGHT, _TOP, _BOTTOM = _MARGIN, f"W-w-{_MARGIN}", _MARGIN, f"H-h-{_MARGIN}"
PLACES = {
    "top_left": (_LEFT, _TOP),
    "top_right": (_RIGHT, _TOP),
    "bottom_left": (_LEFT, _BOTTOM),
    "bottom_right": (_RIGHT, _BOTTOM),
    "center": ("(W-w)/2", "(H-h)/2"),
}
_LATE = 1.0
"""Seconds before the end from which the last picture is looked for."""


async def overlay(
    renderer: Renderer, call: OverlayGif, video: Path, picture: Path, folder: Path, report: Report
) -> Path:
    """The film with the animation on it, repeated to its end. `picture` is a PNG, moving or still.

    Raises Rejected or Unavailable.
    """
    film, made = await renderer.look_at(video), folder / "video.mp4"
    width, height = frame_of(film)
    x, y = PLACES[call.position]
    box = f"{max(2, round(width * call.scale))}:{height}"
    base = f"[0:v:0]scale={width}:{height}:out_color_matrix=bt709:out_range=tv,setsar=1,fps={film.rate}"
    layer = f"[1:v:0]format=rgba,scale={box}:force_original_aspect_ratio=decrease:flags=lanczos,setsar=1"
    laid = f"[film][layer]overlay=x='{x}':y='{y}':shortest=1,format=yuv420p,{TAGS}[v]"
    arguments = [
        *media_input(video),
        *_picture_input(picture),
        *("-filter_complex", f"{base},setpts=PTS-STARTPTS[film];{layer}[layer];{laid}"),
        *("-map", "[v]", "-map", "0:a:0?", *renderer.encoder(), *SOUND),
        *("-t", f"{film.seconds:.6f}", *MP4, file_address(made)),
    ]
    await renderer.run(arguments, folder, seconds=film.seconds, report=report)
    found = await renderer.look_at(made)
    if abs(found.seconds - film.seconds) > 0.1 + 0.02 * film.seconds:
        raise Rejected("Rendering made no film of the right length.", f"{found} instead of {film}")
    return made


def _picture_input(picture: Path) -> list[str]:
    # FFmpeg reads a moving PNG by another demuxer than a still one; what says which stands before the pixels.
    with picture.open("rb") as file:
        moving = b"acTL" in file.read(512)
    demuxer, again = ("apng", ("-stream_loop", "-1")) if moving else ("png_pipe", ("-loop", "1"))
    only = ("-protocol_whitelist", "file", "-format_whitelist", demuxer, "-f", demuxer)
    return [*again, *only, "-threads", "1", "-i", file_address(picture)]


async def last_frame(renderer: Renderer, video: Path, folder: Path, report: Report) -> Path:
    """The film's last picture, as a PNG. Raises Rejected or Unavailable."""
    film, made = await renderer.look_at(video), folder / "frame.png"
    # Each picture replaces the one before. Only the film's end is decoded, or all of it where a seek to the end
    # finds nothing, as in films whose index is wrong.
    picture = ("-an", "-vf", "scale=w='trunc(iw*sar)':h=ih,setsar=1", "-fps_mode", "passthrough")
    written = ("-c:v", "png", "-pred", "none", "-update", "1", "-f", "image2", file_address(made))
    for start in ("-ss", f"{max(0.0, film.seconds - _LATE):.6f}"), ():
        await renderer.run([*start, *media_input(video), *("-map", "0:v:0"), *picture, *written], folder)
        if made.exists():
            return made
        await report(0.5)
    raise Rejected("The film holds no picture.")
