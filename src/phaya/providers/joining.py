"""Joins films and sounds, and gives a film another sound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from phaya.decoding.findings import Clip
from phaya.providers import Rejected, Report
from phaya.providers.clips import frame_of
from phaya.providers.rendering import MP4, SOUND, TAGS, Renderer, file_address, media_input

_STEREO = "aresample=48000,aformat=sample_fmts=fltp:channel_layouts=stereo"


async def replace_sound(renderer: Renderer, video: Path, audio: Path, folder: Path, report: Report) -> Path:
    """The film with the sound of another file, as long as the film. Raises Rejected or Unavailable."""
    film, made = await renderer.look_at(video), folder / "video.mp4"
    if not (await renderer.look_at(audio)).sounds:
        raise Rejected("The sound file holds no sound.")
    # What any player plays stays as it is: nothing is lost, and a long film is ready at once.
    fitted = _fitted(frame_of(film), film.rate)
    picture = ("-c:v", "copy") if film.plays_anywhere else ("-vf", fitted, *renderer.encoder())
    arguments = [
        *media_input(video),
        *media_input(audio),
        *("-map", "0:v:0", "-map", "1:a:0", *picture),
        *("-af", f"{_STEREO},asetpts=PTS-STARTPTS,apad,atrim=0:{film.seconds:.6f}", *SOUND),
        *("-t", f"{film.seconds:.6f}", *MP4, file_address(made)),
    ]
    await renderer.run(arguments, folder, seconds=film.seconds, report=report)
    await _check(renderer, made, film.seconds, film=True)
    return made


async def join_films(renderer: Renderer, videos: Sequence[Path], folder: Path, report: Report) -> Path:
    """The films one after another: the first's size and rate, black bars around other shapes, silence where a
    film has no sound. Raises Rejected or Unavailable."""
    made = folder / "video.mp4"
    clips = [await renderer.look_at(video) for video in videos]
    first, seconds = clips[0], sum(clip.seconds for clip in clips)
    sounds = any(clip.sounds for clip in clips)
    chains: list[str] = []
    for number, clip in enumerate(clips):
        length = f"{clip.seconds:.6f}"
        chains.append(f"[{number}:v:0]{_fitted(frame_of(first), first.rate)},trim=0:{length}[v{number}]")
        if sounds and clip.sounds:
            chains.append(f"[{number}:a:0]{_STEREO},asetpts=PTS-STARTPTS,apad,atrim=0:{length}[a{number}]")
        elif sounds:
            chains.append(f"anullsrc=r=48000:cl=stereo,aformat=sample_fmts=fltp,atrim=0:{length}[a{number}]")
    pads = "".join(f"[v{number}][a{number}]" if sounds else f"[v{number}]" for number in range(len(clips)))
    chains.append(f"{pads}concat=n={len(clips)}:v=1:a={int(sounds)}[v]{'[a]' if sounds else ''}")
    arguments = [
        *(part for video in videos for part in media_input(video)),
        *("-filter_complex", ";".join(chains), "-map", "[v]", *renderer.encoder()),
        *(("-map", "[a]", *SOUND) if sounds else ()),
        *(*MP4, file_address(made)),
    ]
    await renderer.run(arguments, folder, seconds=seconds, report=report)
    await _check(renderer, made, seconds, film=True, slack=0.1 * len(clips))
    return made


async def join_sounds(renderer: Renderer, audios: Sequence[Path], folder: Path, report: Report) -> Path:
    """The sounds one after another, as an MP3. Raises Rejected or Unavailable."""
    made = folder / "audio.mp3"
    clips = [await renderer.look_at(audio) for audio in audios]
    if not all(clip.sounds for clip in clips):
        raise Rejected("One of the files holds no sound.")
    seconds = sum(clip.seconds for clip in clips)
    chains = [f"[{number}:a:0]{_STEREO},asetpts=PTS-STARTPTS[a{number}]" for number in range(len(clips))]
    pads = "".join(f"[a{number}]" for number in range(len(clips)))
    arguments = [
        *(part for audio in audios for part in media_input(audio)),
        *("-filter_complex", ";".join([*chains, f"{pads}concat=n={len(clips)}:v=0:a=1[a]"]), "-map", "[a]"),
        *("-c:a", "libmp3lame", "-b:a", "192k", "-map_metadata", "-1", "-f", "mp3", file_address(made)),
    ]
    await renderer.run(arguments, folder, seconds=seconds, report=report)
    await _check(renderer, made, seconds, film=False, slack=0.1 * len(clips))
    return made


def _fitted(frame: tuple[int, int], rate: Fraction) -> str:
    """The filters that bring any film into a frame, whole, with black bars where its shape is another."""
    width, height = frame
    square = "scale=w='trunc(iw*sar/2)*2':h='trunc(ih/2)*2',setsar=1"
    colours = "flags=bicubic:out_color_matrix=bt709:out_range=tv"
    inside = f"scale={width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2:{colours}"
    bars = f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:black"
    start = "setpts=PTS-STARTPTS"
    return f"{square},{inside},{bars},setsar=1,fps={rate},format=yuv420p,{start},{TAGS}"


async def _check(renderer: Renderer, made: Path, seconds: float, *, film: bool, slack: float = 0.1) -> Clip:
    """Looks whether the file is what was ordered; FFmpeg's exit code does not say so."""
    found = await renderer.look_at(made)
    if (found.width > 0) != film or abs(found.seconds - seconds) > slack + 0.02 * seconds:
        raise Rejected("Rendering made no file of the right length.", f"{found} instead of {seconds:.3f} s")
    return found
