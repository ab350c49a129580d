"""The sandbox's studio: real media, the same for the same words, and nothing left behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from phaya.providers.sandbox import studio
from phaya.providers.sandbox.drawing import lettering
from phaya.providers.sandbox.workshop import StudioError, run

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def frames_of(path: Path) -> list[Image.Image]:
    images: list[Image.Image] = []
    with av.open(str(path)) as film:
        for frame in film.decode(video=0):
            plane = frame.reformat(format="rgb24").planes[0]
            size = frame.width, frame.height
            images.append(Image.frombytes("RGB", size, bytes(plane), "raw", "RGB", plane.line_size))
    return images


def sound_of(path: Path) -> list[int]:
    """The samples of both channels, one after the other pair by pair."""
    with av.open(str(path)) as file:
        resampler = av.AudioResampler("s16", "stereo", 44_100)
        parts = [
            bytes(part.planes[0])[: part.samples * 4]
            for frame in file.decode(audio=0)
            for part in resampler.resample(frame)
        ]
    return list(memoryview(b"".join(parts)).cast("h"))


def difference(one: Image.Image, other: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


async def sung(path: Path, seed: str, style: str = "pop", *, instrumental: bool = True) -> Path:
    await studio.song(
        path, prompt="Moonlight", title="แสงจันทร์", style=style, seconds=9, seed=seed, instrumental=instrumental
    )
    return path


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("a.png", "PNG", (512, 512)),
        ("a.jpg", "JPEG", (640, 272)),
        ("a.jpeg", "JPEG", (301, 511)),
        ("a.webp", "WEBP", (288, 512)),
        ("wide.png", "PNG", (1408, 176)),
        ("tall.png", "PNG", (88, 704)),
        ("tiny.png", "PNG", (1, 3)),
    ],
)
async def test_picture_has_the_asked_size_and_the_format_of_its_suffix(
    tmp_path: Path, name: str, kind: str, size: tuple[int, int]
) -> None:
    await studio.picture(tmp_path / name, prompt="A lake at dawn", width=size[0], height=size[1], seed="1")

    with Image.open(tmp_path / name) as image:
        image.load()
        assert (kind, size) == (image.format, image.size)


async def test_the_same_prompt_and_seed_give_the_same_picture(tmp_path: Path) -> None:
    one, other = tmp_path / "1.png", tmp_path / "2.png"
    for path in (one, other):
        await studio.picture(path, prompt="ทะเลยามค่ำคืน", width=320, height=320, seed="1")

    assert one.read_bytes() == other.read_bytes()


async def test_another_seed_gives_another_picture(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        await studio.picture(tmp_path / f"{seed}.png", prompt="Something", width=320, height=320, seed=seed)

    assert difference(Image.open(tmp_path / "1.png"), Image.open(tmp_path / "2.png")) > 8


@pytest.mark.parametrize(("dark", "bright"), [("city at night", "city at noon"), ("ภูเขากลางคืน", "ภูเขากลางวัน")])
async def test_words_choose_the_light(tmp_path: Path, dark: str, bright: str) -> None:
    for prompt in (dark, bright):
        await studio.picture(tmp_path / f"{prompt}.png", prompt=prompt, width=256, height=256, seed="1")
    night, day = (ImageStat.Stat(Image.open(tmp_path / f"{p}.png").convert("L")).mean[0] for p in (dark, bright))

    assert night < day / 1.5


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        " \n\t ",
        "🐉🔥 中文 العربية",
        "\x00\x1b[31m \u202e",
        "x" * 5000,
        "น้ำ" * 700,
        "%{metadata} ':,[a]=\\ -y",
        "[fail]",
        *("rain snow", "aurora", "dragon balloon lantern boat", "cat elephant house lighthouse palm tree temple"),
    ],
    ids=lambda prompt: prompt[:12].encode("unicode_escape").decode(),
)
async def test_any_words_can_be_drawn(tmp_path: Path, prompt: str) -> None:
    await studio.picture(tmp_path / "a.jpg", prompt=prompt, width=256, height=192, seed="1")

    with Image.open(tmp_path / "a.jpg") as image:
        assert image.size == (256, 192)


async def test_a_still_shows_through_its_new_style(tmp_path: Path) -> None:
    """The left half of the still is dark and the right half bright, and so it stays."""
    still = Image.new("RGB", (400, 300), (20, 20, 20))
    still.paste((240, 240, 240), (200, 0, 400, 300))
    still.save(tmp_path / "still.png")

    await studio.picture(
        tmp_path / "a.png", prompt="dusk", width=300, height=300, seed="1", still=tmp_path / "still.png"
    )

    image = Image.open(tmp_path / "a.png").convert("L")
    left, right = (ImageStat.Stat(image.crop((x, 20, x + 140, 160))).mean[0] for x in (0, 160))
    assert left + 40 < right


@pytest.mark.parametrize("junk", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
async def test_a_still_that_is_no_picture_is_told(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "still").write_bytes(junk)

    with pytest.raises(StudioError):
        await studio.picture(tmp_path / "a.png", prompt="x", width=64, height=64, seed="1", still=tmp_path / "still")

    assert ["still"] == [path.name for path in tmp_path.iterdir()]


async def test_cover_is_a_square_picture(tmp_path: Path) -> None:
    await studio.cover(tmp_path / "a.jpeg", title="Moonlit Mekong", seed="1")

    with Image.open(tmp_path / "a.jpeg") as image:
        assert ("JPEG", (1024, 1024)) == (image.format, image.size)


@pytest.mark.parametrize(("prompt", "stills", "sound"), [("sea, boat", 0, True), ("ฝนตก", 1, True), ("x", 2, False)])
async def test_film_is_playable_and_exactly_as_asked(tmp_path: Path, prompt: str, stills: int, sound: bool) -> None:
    given = [tmp_path / f"{number}.png" for number in range(stills)]
    for number, path in enumerate(given):
        await studio.picture(path, prompt=f"view {number}", width=200, height=200, seed="1")
    path = tmp_path / "a.mp4"

    await studio.film(path, prompt=prompt, width=432, height=240, seconds=1.5, seed="1", sound=sound, stills=given)

    with av.open(str(path)) as film:
        video = film.streams.video[0]
        seen = (video.codec_context.name, video.codec_context.pix_fmt, video.width, video.height, video.frames)
        audio = [(stream.codec_context.name, stream.codec_context.channels) for stream in film.streams.audio]
    assert ("h264", "yuv420p", 432, 240, 36) == seen
    assert ([("aac", 2)] if sound else []) == audio
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it is still loading


@pytest.mark.parametrize("stills", [0, 1, 2])
async def test_film_never_stands_still(tmp_path: Path, stills: int) -> None:
    given = [tmp_path / f"{number}.png" for number in range(stills)]
    for number, path in enumerate(given):
        await studio.picture(path, prompt=f"night {number}", width=320, height=180, seed="1")

    await studio.film(
        tmp_path / "a.mp4", prompt="mountains at dusk", width=640, height=360, seconds=2, seed="1",
        sound=False, stills=given,
    )  # fmt: skip

    frames = frames_of(tmp_path / "a.mp4")
    assert all(difference(one, other) > 0.01 for one, other in zip(frames, frames[4:], strict=False))
    assert difference(frames[0], frames[-1]) > 1.5


async def test_film_goes_from_the_first_still_to_the_last(tmp_path: Path) -> None:
    red, blue = tmp_path / "red.png", tmp_path / "blue.png"
    Image.new("RGB", (64, 64), (200, 30, 30)).save(red)
    Image.new("RGB", (64, 64), (30, 30, 200)).save(blue)

    await studio.film(
        tmp_path / "a.mp4", prompt="", width=160, height=160, seconds=2, seed="1", sound=False, stills=[red, blue]
    )

    frames = frames_of(tmp_path / "a.mp4")
    first, last = (ImageStat.Stat(frame.crop((0, 0, 160, 60))).mean for frame in (frames[0], frames[-1]))
    assert first[0] > first[2] + 60
    assert last[2] > last[0] + 60


async def test_film_of_odd_sides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="431x240"):
        await studio.film(tmp_path / "a.mp4", prompt="", width=431, height=240, seconds=1, seed="1")


@pytest.mark.parametrize("style", ["pop", "หมอลำ", "cinematic"])
async def test_song_is_music_of_the_asked_length(tmp_path: Path, style: str) -> None:
    """44.1 kHz stereo with its title; neither silence nor clipped, and it ends quietly."""
    path = await sung(tmp_path / "a.mp3", "1", style, instrumental=style != "pop")

    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        assert ("แสงจันทร์", 44_100, 2) == (file.metadata["title"], stream.rate, stream.channels)
        assert stream.codec_context.name.startswith("mp3")
    samples = sound_of(path)
    loud = [max(map(abs, samples[start : start + 44_100])) for start in range(0, len(samples) - 44_100, 44_100)]
    assert abs(len(samples) / 88_200 - 9) < 0.1
    assert min(loud[:-3]) > 1000
    assert 20_000 < max(loud) < 32_700
    assert max(map(abs, samples[-2000:])) < 500


async def test_two_seeds_give_two_songs(tmp_path: Path) -> None:
    one, other = [sound_of(await sung(tmp_path / f"{seed}.mp3", seed)) for seed in ("1", "2")]

    apart = sum(abs(a - b) for a, b in zip(one[::7], other[::7], strict=False))
    assert apart > 0.5 * sum(map(abs, one[::7]))


async def test_one_seed_gives_one_song(tmp_path: Path) -> None:
    one, other = [await sung(tmp_path / name, "1") for name in ("1.mp3", "2.mp3")]

    assert one.read_bytes() == other.read_bytes()


async def test_cancelling_ends_the_children_and_leaves_nothing(tmp_path: Path) -> None:
    making = asyncio.create_task(
        studio.film(tmp_path / "a.mp4", prompt="rain", width=1280, height=720, seconds=60, seed="1", sound=False)
    )
    while not children_naming(tmp_path):
        await asyncio.sleep(0.05)

    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making

    assert ([], []) == (children_naming(tmp_path), list(tmp_path.iterdir()))


def children_naming(folder: Path) -> Sequence[str]:
    """Command lines of running FFmpegs that work in the folder."""
    lines: list[str] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if str(folder) in line and "ffmpeg" in line]


async def test_a_failed_child_is_told_with_its_last_words() -> None:
    with pytest.raises(StudioError, match=r"ended with code 3: .*it rains"):
        await run([sys.executable, "-c", "import sys; print('it rains', file=sys.stderr); sys.exit(3)"])


async def test_the_server_never_loads_numpy() -> None:
    await run([sys.executable, "-c", "import sys, phaya.providers.sandbox.studio; sys.exit('numpy' in sys.modules)"])


@pytest.mark.parametrize("word", ["น้ำตกทีลอซูที่สวยที่สุด", "ปรัชญาเมธีผู้ยิ่งใหญ่ๆ", "เสียงกระซิบแห่งสายน้ำ"])
async def test_thai_lines_break_only_where_letters_stay_whole(word: str) -> None:
    """No line begins with a sign that belongs to the letter before it, or ends with a vowel that leads the next."""
    face = lettering.font("medium", 40)

    lines = lettering.lines_of(word * 3, face, 260)

    assert word * 3 == "".join(lines)
    assert all(face.getlength(line) <= 260 for line in lines)
    assert not any(
        line[0] in "ะาำๆฯ\u0e31\u0e34\u0e35\u0e36\u0e37\u0e38\u0e39\u0e47\u0e48\u0e49\u0e4c" for line in lines
    )
    assert not any(line[-1] in "เแโใไ" for line in lines)


async def test_lines_break_between_words() -> None:
    face = lettering.font("medium", 40)

    lines = lettering.lines_of("A dragon over snow at dawn", face, 300)

    assert "A dragon over snow at dawn" == " ".join(lines)
    assert len(lines) > 1
