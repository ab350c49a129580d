"""A clip moves as it was told to, lasts as long, sounds as it should, and is made of honest files only."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image

from phaya.calls import StillToVideo, Zoom
from phaya.decoding.decoder import Decoder
from phaya.providers import ProviderError, Rejected, Unavailable
from phaya.providers.ffmpeg import Ffmpeg, Frame, window

Pixels = NDArray[np.uint8]

# A place in this picture is known by its colour: red grows to the right, green downwards.
WIDTH, HEIGHT = 256, 144


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # the server's loop


@pytest.fixture
def map_picture(tmp_path: Path) -> Path:
    red = Image.linear_gradient("L").rotate(90).resize((WIDTH, HEIGHT))
    green = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    path = tmp_path / "map.png"
    Image.merge("RGB", (red, green, Image.new("L", (WIDTH, HEIGHT), 128))).save(path)
    return path


async def nothing(part: float) -> None:
    pass


async def render(
    folder: Path,
    picture: Path,
    *,
    seconds: float = 1,
    music: Path | None = None,
    zoom: Zoom | None = None,
    binary: str | None = None,
    wall_seconds: float = 240,
) -> Path:
    inputs = {"picture": picture}
    if music is not None:
        inputs["music"] = music
    call = StillToVideo("picture", seconds, "music" if music else None, zoom)
    async with Decoder() as decoder:
        made = await Ffmpeg(decoder, binary, wall_seconds, threads=2).run(call, inputs, folder, nothing)
    assert len(made.files) == 1
    return made.files[0]


def frames_of(video: Path) -> list[Pixels]:
    with av.open(video) as film:
        frames = film.decode(video=0)
        return [np.asarray(_rgb(frame).to_ndarray(), dtype=np.uint8) for frame in frames]


def _rgb(frame: av.VideoFrame) -> av.VideoFrame:
    return frame.reformat(format="rgb24", src_colorspace=Colorspace.ITU709, src_color_range=ColorRange.MPEG)


def seen(frame: Pixels) -> tuple[float, float, float, float]:
    """Which part of the map a frame shows: left, top, right, bottom, from 0 to 1."""
    height, width, _ = frame.shape
    red, green = frame[:, :, 0] / 255, frame[:, :, 1] / 255
    return (
        float(red[height // 2, 1]),
        float(green[1, width // 2]),
        float(red[height // 2, width - 2]),
        float(green[height - 2, width // 2]),
    )


WHOLE = (0.0, 0.0, 1.0, 1.0)
THIRD = 1 / 3


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("mode", "first", "last"),
    [
        ("center", WHOLE, (THIRD / 2, THIRD / 2, 1 - THIRD / 2, 1 - THIRD / 2)),
        ("top_left", WHOLE, (0, 0, 2 * THIRD, 2 * THIRD)),
        ("top_right", WHOLE, (THIRD, 0, 1, 2 * THIRD)),
        ("bottom_left", WHOLE, (0, THIRD, 2 * THIRD, 1)),
        ("bottom_right", WHOLE, (THIRD, THIRD, 1, 1)),
        ("pan_right", (0, THIRD / 2, 2 * THIRD, 1 - THIRD / 2), (THIRD, THIRD / 2, 1, 1 - THIRD / 2)),
        ("pan_left", (THIRD, THIRD / 2, 1, 1 - THIRD / 2), (0, THIRD / 2, 2 * THIRD, 1 - THIRD / 2)),
        ("pan_down", (THIRD / 2, 0, 1 - THIRD / 2, 2 * THIRD), (THIRD / 2, THIRD, 1 - THIRD / 2, 1)),
        ("pan_up", (THIRD / 2, THIRD, 1 - THIRD / 2, 1), (THIRD / 2, 0, 1 - THIRD / 2, 2 * THIRD)),
    ],
)
async def test_the_window_moves_as_the_mode_says(
    map_picture: Path,
    tmp_path: Path,
    mode: str,
    first: tuple[float, float, float, float],
    last: tuple[float, float, float, float],
) -> None:
    zoom = Zoom(mode, speed=0.02, max_scale=1.5, pan_speed=1.0)

    frames = frames_of(await render(tmp_path, map_picture, zoom=zoom))

    assert len(frames) == 30
    assert seen(frames[0]) == pytest.approx(first, abs=0.03)
    assert seen(frames[-1]) == pytest.approx(last, abs=0.03)


@pytest.mark.anyio
async def test_the_speed_is_growth_per_frame_up_to_the_largest_scale(map_picture: Path, tmp_path: Path) -> None:
    zoom = Zoom("top_left", speed=0.05, max_scale=1.5, pan_speed=1.0)

    frames = frames_of(await render(tmp_path, map_picture, zoom=zoom))

    right = [seen(frames[number])[2] for number in (0, 4, 10, 29)]
    assert right == pytest.approx([1, 1 / 1.2, 1 / 1.5, 1 / 1.5], abs=0.03)


@pytest.mark.anyio
async def test_a_slow_pan_covers_a_part_of_the_way_and_a_fast_one_stops_at_the_end(
    map_picture: Path, tmp_path: Path
) -> None:
    lefts: list[list[float]] = []
    for number, pan_speed in enumerate((0.5, 2.0)):
        (folder := tmp_path / str(number)).mkdir()
        zoom = Zoom("pan_right", speed=0.0015, max_scale=1.5, pan_speed=pan_speed)
        frames = frames_of(await render(folder, map_picture, zoom=zoom))
        lefts.append([seen(frames[place])[0] for place in (0, 15, 29)])

    assert lefts[0] == pytest.approx([0, THIRD / 4, THIRD / 2], abs=0.03)
    assert lefts[1] == pytest.approx([0, THIRD, THIRD], abs=0.03)


@pytest.mark.anyio
@pytest.mark.parametrize("zoom", [None, Zoom("none", 0.0015, 1.5, 1.0)])
async def test_without_zoom_the_picture_stands_still(map_picture: Path, tmp_path: Path, zoom: Zoom | None) -> None:
    frames = frames_of(await render(tmp_path, map_picture, zoom=zoom))

    assert len(frames) == 30
    assert seen(frames[0]) == pytest.approx(WHOLE, abs=0.03)
    changes = [int(np.abs(frame.astype(int) - frames[0]).max()) for frame in frames]
    assert max(changes) <= 6  # what the encoder refines over time


@pytest.mark.anyio
async def test_colours_are_those_of_the_picture(tmp_path: Path) -> None:
    """By the wrong one of two matrices pure green would be off by dozens."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (128, 128, 128)]
    for zoom in (None, Zoom("center", 0.0015, 1.5, 1.0)):
        for number, colour in enumerate(colours):
            (folder := tmp_path / f"{number}{zoom is None}").mkdir()
            Image.new("RGB", (32, 32), colour).save(folder / "in.png")
            video = await render(folder, folder / "in.png", seconds=0.1, zoom=zoom)

            assert frames_of(video)[0][16, 16].tolist() == pytest.approx(list(colour), abs=4)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["bottom_right", "pan_right"])
async def test_colour_stays_where_its_brightness_goes(tmp_path: Path, mode: str) -> None:
    """The planes of a frame move each by itself."""
    picture = Image.new("RGB", (320, 180), "blue")
    picture.paste("red", (0, 0, 200, 180))  # by far the brighter one
    picture.save(tmp_path / "in.png")

    video = await render(tmp_path, tmp_path / "in.png", zoom=Zoom(mode, 0.01, 1.5, 1.0))

    with av.open(video) as film:
        films = [np.asarray(frame.to_ndarray(), dtype=np.uint8) for frame in film.decode(video=0)]
    height, width = 360, 640
    edges = [(_edge(one[height // 2, :width]), _edge(one[height:].reshape(-1, width // 2)[90])) for one in films]
    assert edges[0][0] - edges[-1][0] > 50
    assert [colour * 2 for _, colour in edges] == pytest.approx([light for light, _ in edges], abs=2)


def _edge(row: Pixels) -> int:
    """Where a row of one plane passes the middle between its ends."""
    middle = (int(row[0]) + int(row[-1])) / 2
    return int(np.argmax((row > middle) != (row[0] > middle)))


@pytest.mark.anyio
@pytest.mark.parametrize(("seconds", "frames"), [(1, 30), (0.5, 15), (2.5, 75), (1.016, 30), (0.01, 1)])
async def test_a_clip_lasts_exactly_as_long_as_ordered(
    map_picture: Path, tmp_path: Path, seconds: float, frames: int
) -> None:
    for number, zoom in enumerate((None, Zoom("center", 0.0015, 1.5, 1.0))):
        (folder := tmp_path / str(number)).mkdir()
        video = await render(folder, map_picture, seconds=seconds, zoom=zoom)

        with av.open(video) as film:
            assert film.duration == pytest.approx(frames / 30 * av.time_base, abs=2)
            assert len(list(film.decode(video=0))) == frames


@pytest.mark.anyio
async def test_a_clip_plays_everywhere(map_picture: Path, tmp_path: Path) -> None:
    video = await render(tmp_path, map_picture)

    with av.open(video) as film:
        (stream,) = film.streams
        context = film.streams.video[0].codec_context
        assert (stream.codec_context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert film.streams.video[0].average_rate == 30
        assert context.colorspace == Colorspace.ITU709
    content = contents(video)
    assert content.index(b"moov") < content.index(b"mdat")


def contents(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.parametrize(
    ("picture", "frame"),
    [
        ((1920, 1080), (1920, 1080)),
        ((1080, 1920), (1080, 1920)),
        ((4000, 3000), (1440, 1080)),
        ((1024, 1024), (1080, 1080)),
        ((300, 200), (600, 400)),
        ((101, 51), (202, 102)),
        ((1, 1), (16, 16)),
        ((8192, 8), (1920, 16)),
        ((1366, 768), (1920, 1080)),
    ],
)
def test_a_clip_has_the_shape_of_its_picture(picture: tuple[int, int], frame: tuple[int, int]) -> None:
    made = Frame.of(*picture)

    assert (made.width, made.height) == frame


def test_the_enlarged_source_stays_below_8192() -> None:
    assert Frame(1920, 1080).times(2.0) == Frame(3840, 2160)
    assert Frame(1920, 1080).times(10.0) == Frame(8192, 4608)


@pytest.mark.anyio
@pytest.mark.parametrize("size", [(1, 1), (3, 777), (101, 51)])
async def test_pictures_of_odd_sizes_are_rendered(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "teal").save(tmp_path / "in.png")

    video = await render(tmp_path, tmp_path / "in.png", seconds=0.1, zoom=Zoom("pan_right", 0.0015, 1.5, 1.0))

    assert frames_of(video)[0].shape[:2] == (Frame.of(*size).height, Frame.of(*size).width)


# Music


def tone(path: Path, seconds: float, *options: str) -> Path:
    binary = str(imageio_ffmpeg.get_ffmpeg_exe())
    source = f"sine=frequency=440:duration={seconds}:sample_rate=44100"
    subprocess.run([binary, "-v", "error", "-y", "-f", "lavfi", "-i", source, *options, path], check=True)
    return path


def loudness(video: Path) -> list[float]:
    """The strength of the sound in each tenth of a second."""
    with av.open(video) as film:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in film.decode(audio=0)])
    tenths = [sound[start : start + 4800] for start in range(0, len(sound), 4800)]
    return [float(np.sqrt((part.astype(float) ** 2).mean())) for part in tenths]


@pytest.mark.anyio
@pytest.mark.parametrize("extension", ["mp3", "wav", "flac", "ogg", "m4a", "aac", "webm"])
@pytest.mark.parametrize("length", [0.7, 9])
async def test_music_of_any_length_fills_the_clip_and_fades_out(
    map_picture: Path, tmp_path: Path, extension: str, length: float
) -> None:
    music = tone(tmp_path / f"music.{extension}", length)

    video = await render(tmp_path, map_picture, seconds=4, music=music)

    with av.open(video) as film:
        sound = film.streams.audio[0].codec_context
        assert (sound.name, sound.sample_rate, sound.layout.name) == ("aac", 48_000, "stereo")
        assert film.duration == pytest.approx(4 * av.time_base, abs=av.time_base / 30)
    strengths = loudness(video)[1:40]
    full = strengths[10]
    assert len(strengths) == 39
    assert min(strengths[:28]) > full * 0.5
    assert full * 0.3 < strengths[34] < full * 0.7
    assert strengths[38] < full * 0.15


@pytest.mark.anyio
async def test_a_clip_without_music_has_no_sound_track(map_picture: Path, tmp_path: Path) -> None:
    video = await render(tmp_path, map_picture)

    with av.open(video) as film:
        assert [stream.type for stream in film.streams] == ["video"]


@pytest.mark.anyio
async def test_the_cover_of_a_song_does_not_get_into_the_clip(map_picture: Path, tmp_path: Path) -> None:
    song = tone(tmp_path / "song.mp3", 2, "-i", str(map_picture), "-map", "0", "-map", "1", "-c:v", "copy")

    video = await render(tmp_path, map_picture, music=song)

    with av.open(video) as film:
        assert [stream.type for stream in film.streams] == ["video", "audio"]


# Refusals


@pytest.mark.anyio
@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n",
        b"ffconcat version 1.0\nfile 'map.png'\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"\xff\xd8\xff\xe0 a jpeg",
        b"\x89PNG\r\n\x1a\n and then nothing",
        b"",
    ],
)
async def test_what_is_no_png_is_rejected_as_picture(tmp_path: Path, content: bytes) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(content)

    with pytest.raises(Rejected) as caught:
        await render(tmp_path, picture)

    assert caught.value.message == "The picture could not be read."


@pytest.mark.anyio
async def test_a_broken_picture_is_rejected(tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    Image.effect_noise((64, 64), 90).save(picture)
    picture.write_bytes(picture.read_bytes()[:900])

    with pytest.raises(Rejected) as caught:
        await render(tmp_path, picture)

    assert caught.value.message == "The picture could not be rendered."
    assert "png" in caught.value.detail


@pytest.mark.anyio
@pytest.mark.parametrize("extension", ["mp3", "wav", "m4a"])
@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///{music}\n",
        b"ffconcat version 1.0\nfile 'real.wav'\n",
        b"not music",
        b"",
    ],
)
async def test_a_script_is_rejected_as_music(map_picture: Path, tmp_path: Path, extension: str, content: bytes) -> None:
    """Even where it names a good file beside it."""
    tone(tmp_path / "real.wav", 1)
    music = tmp_path / f"music.{extension}"
    music.write_bytes(content)

    with pytest.raises(Rejected) as caught:
        await render(tmp_path, map_picture, music=music)

    assert caught.value.message == "The music could not be read."


@pytest.mark.anyio
async def test_a_silent_film_is_rejected_as_music(map_picture: Path, tmp_path: Path) -> None:
    silent = await render(tmp_path, map_picture)

    with pytest.raises(Rejected) as caught:
        await render(tmp_path, map_picture, music=silent.rename(tmp_path / "silent.mp4"))

    assert caught.value.message == "The music holds no sound."


@pytest.mark.parametrize(
    "zoom",
    [
        Zoom("sideways", 0.1, 1.5, 1.0),
        Zoom("center", float("nan"), 1.5, 1.0),
        Zoom("center", 0.1, float("inf"), 1.0),
        Zoom("pan_up", 0.1, 1.5, -1.0),
    ],
)
def test_a_zoom_that_is_none_is_rejected(zoom: Zoom) -> None:
    with pytest.raises(Rejected):
        window(zoom, 30)


# The child


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def failure(folder: Path, picture: Path, script: str, wall_seconds: float = 20) -> ProviderError:
    binary = program(folder / "binary", script)
    with pytest.raises(ProviderError) as caught:
        await render(folder, picture, binary=binary, wall_seconds=wall_seconds)
    return caught.value


@pytest.mark.anyio
async def test_progress_is_told_and_never_goes_back(map_picture: Path, tmp_path: Path) -> None:
    told: list[float] = []

    async def keep(part: float) -> None:
        told.append(part)

    call = StillToVideo("picture", 10, None, Zoom("center", 0.0015, 1.5, 1.0))
    async with Decoder() as decoder:
        await Ffmpeg(decoder, threads=2).run(call, {"picture": map_picture}, tmp_path, keep)

    assert told == sorted(told)
    assert told[-1] == 1.0
    assert all(0 < part <= 1 for part in told)


@pytest.mark.anyio
async def test_a_cancelled_render_leaves_no_process(map_picture: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    binary = program(tmp_path / "binary", f"echo $$ > {pid_file}; echo out_time_us=33333; exec sleep 60")
    begun = asyncio.Event()

    async def begin(_: float) -> None:
        begun.set()

    call = StillToVideo("picture", 1)
    task = asyncio.create_task(Ffmpeg(Decoder(), binary).run(call, {"picture": map_picture}, tmp_path, begin))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(ProcessLookupError):
        os.kill(int(contents(pid_file)), 0)


@pytest.mark.anyio
async def test_a_render_without_end_is_rejected(map_picture: Path, tmp_path: Path) -> None:
    failed = await failure(tmp_path, map_picture, "exec sleep 60", wall_seconds=0.3)

    assert isinstance(failed, Rejected)
    assert failed.message == "Rendering took longer than 0.3 seconds."


@pytest.mark.anyio
@pytest.mark.parametrize(
    "script", ["exit 127", "kill -KILL $$", "kill -SEGV $$", "echo 'No space left on device' >&2; exit 1"]
)
async def test_trouble_of_the_machine_is_not_the_users(map_picture: Path, tmp_path: Path, script: str) -> None:
    assert isinstance(await failure(tmp_path, map_picture, script), Unavailable)


@pytest.mark.anyio
async def test_a_missing_binary_is_not_the_users_trouble(map_picture: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="could not be started"):
        await render(tmp_path, map_picture, binary="/nowhere/ffmpeg")


SHORT_FILMS: Mapping[str, Sequence[str]] = {
    "short": ("-f", "lavfi", "-i", "testsrc=s=64x64:d=0.5:r=30", "-c:v", "libx264"),
    "another codec": ("-f", "lavfi", "-i", "testsrc=s=64x64:d=1:r=30", "-c:v", "mpeg4"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("film", ["nothing", "garbage", *SHORT_FILMS])
async def test_an_exit_code_of_zero_is_not_believed(map_picture: Path, tmp_path: Path, film: str) -> None:
    script = {"nothing": "exit 0", "garbage": "echo garbage > rendering.mp4"}.get(
        film, "exec mv made.mp4 rendering.mp4"
    )
    if film in SHORT_FILMS:
        argv = (imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *SHORT_FILMS[film], "made.mp4")
        assert await (await asyncio.create_subprocess_exec(*argv, cwd=tmp_path)).wait() == 0

    failed = await failure(tmp_path, map_picture, script)

    assert isinstance(failed, Rejected)
    assert failed.message.startswith("Rendering made no film")
    assert not exists(tmp_path / "video.mp4")


def exists(path: Path) -> bool:
    return path.exists()
