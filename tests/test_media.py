"""Files are what their bytes say; hostile ones get nowhere, and clean pictures are nothing but pixels."""

from __future__ import annotations

import io
import struct
import subprocess
import zlib
from pathlib import Path

import av
import imageio_ffmpeg  # type: ignore[reportMissingTypeStubs]
import pytest
from PIL import Image, ImageCms

from phaya.decoding.decoder import Decoder
from phaya.decoding.formats import Unreadable


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # the server's loop


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of film and of sound, in every container that is taken."""
    folder = tmp_path_factory.mktemp("samples")
    film = "-f lavfi -i testsrc=s=160x90:d=2:r=30 -f lavfi -i sine=d=2 -pix_fmt yuv420p -c:a aac"
    sound = "-f lavfi -i sine=d=2"
    made = {
        "film.mp4": f"{film} -movflags +faststart",
        "film.mov": film,
        "film.mkv": film,
        "film.avi": film,
        "film.webm": f"{film} -c:v libvpx -c:a libopus",
        "silent.mp4": "-f lavfi -i testsrc=s=160x90:d=2 -pix_fmt yuv420p",
        **{f"sound.{extension}": sound for extension in ("mp3", "wav", "flac", "ogg", "aac", "m4a")},
    }
    for name, arguments in made.items():
        ffmpeg(*arguments.split(), folder / name)
    return folder


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([str(imageio_ffmpeg.get_ffmpeg_exe()), "-v", "error", "-y", *arguments], check=True)


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (40, 20), **options: object) -> Path:
    Image.new(mode, size, options.pop("colour", 0)).save(path, **options)  # type: ignore[arg-type]
    return path


async def refusal(decoder: Decoder, path: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        await decoder.measure(path)
    return caught.value.message


# What a file is


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "kind", "content_type"),
    [
        ("film.mp4", "video", "video/mp4"),
        ("film.mov", "video", "video/quicktime"),
        ("film.mkv", "video", "video/x-matroska"),
        ("film.avi", "video", "video/x-msvideo"),
        ("film.webm", "video", "video/webm"),
        ("sound.mp3", "audio", "audio/mpeg"),
        ("sound.wav", "audio", "audio/wav"),
        ("sound.flac", "audio", "audio/flac"),
        ("sound.ogg", "audio", "audio/ogg"),
        ("sound.aac", "audio", "audio/aac"),
        ("sound.m4a", "audio", "audio/mp4"),
    ],
)
async def test_film_and_sound_are_measured_whatever_they_are_called(
    decoder: Decoder, samples: Path, tmp_path: Path, name: str, kind: str, content_type: str
) -> None:
    path = tmp_path / "named.png"
    path.write_bytes((samples / name).read_bytes())

    measured = await decoder.measure(path)

    assert (measured.kind, measured.content_type) == (kind, content_type)
    assert measured.extension == name.partition(".")[2]
    assert (measured.width, measured.height) == ((160, 90) if kind == "video" else (0, 0))
    assert measured.seconds == pytest.approx(2, abs=0.1)
    assert measured.bytes == (samples / name).stat().st_size


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("form", "extension", "content_type"),
    [
        ("PNG", "png", "image/png"),
        ("JPEG", "jpg", "image/jpeg"),
        ("WEBP", "webp", "image/webp"),
        ("GIF", "gif", "image/gif"),
        ("AVIF", "avif", "image/avif"),
    ],
)
async def test_pictures_are_measured_whatever_they_are_called(
    decoder: Decoder, tmp_path: Path, form: str, extension: str, content_type: str
) -> None:
    path = picture(tmp_path / "named.mp4", format=form)

    measured = await decoder.measure(path)

    assert (measured.kind, measured.content_type, measured.extension) == ("image", content_type, extension)
    assert (measured.width, measured.height, measured.seconds) == (40, 20, 0.0)


@pytest.mark.anyio
async def test_a_turned_picture_is_measured_as_it_is_seen(decoder: Decoder, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    measured = await decoder.measure(picture(tmp_path / "a.jpg", exif=exif))

    assert (measured.width, measured.height) == (20, 40)


@pytest.mark.anyio
async def test_a_cover_picture_does_not_make_a_song_a_film(decoder: Decoder, samples: Path, tmp_path: Path) -> None:
    cover = picture(tmp_path / "cover.png")
    song = tmp_path / "song.mp3"
    ffmpeg("-i", samples / "sound.mp3", "-i", cover, "-map", "0", "-map", "1", "-c", "copy", song)

    measured = await decoder.measure(song)

    assert (measured.kind, measured.extension) == ("audio", "mp3")
    assert measured.seconds == pytest.approx(2, abs=0.1)


@pytest.mark.anyio
async def test_a_recording_without_a_length_in_its_header_is_measured(
    decoder: Decoder, samples: Path, tmp_path: Path
) -> None:
    """As browsers' MediaRecorder writes them."""
    live = tmp_path / "live.webm"
    ffmpeg("-i", samples / "film.webm", "-c", "copy", "-f", "webm", "-live", "1", live)

    assert (await decoder.measure(live)).seconds == pytest.approx(2, abs=0.1)


HOSTILE = {
    "page": b"<!DOCTYPE html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "svg-in-xml": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "playlist": b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/meta-data/\n",
    "concat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "dash": b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\x03\x04" + bytes(40),
    "program": b"\x7fELF" + bytes(60),
    "text": b"hello",
    "one-byte": b"\xff",
    "postscript": b"%!PS-Adobe-3.0\n",
    "bmp": b"BM" + bytes(60),
    "tiff": b"II*\x00" + bytes(60),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("extension", ["png", "jpg", "mp4"])
async def test_what_is_no_picture_film_or_sound_is_refused_under_any_name(
    decoder: Decoder, tmp_path: Path, name: str, extension: str
) -> None:
    path = tmp_path / f"file.{extension}"
    path.write_bytes(HOSTILE[name])

    assert await refusal(decoder, path) == "it is not a picture, film or sound of a known format"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "head",
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"\0\0\0\x20ftypavif"],
)
async def test_a_script_behind_the_first_bytes_of_a_picture_is_refused(
    decoder: Decoder, tmp_path: Path, head: bytes
) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(head + b"\n#EXTM3U\nffconcat version 1.0\nfile '/etc/passwd'\n" * 40)

    assert await refusal(decoder, path) in ("it is not a readable picture", "it is a damaged picture")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x20ftypisom",
        b"\x1aE\xdf\xa3",
        b"OggS",
        b"fLaC",
        b"ID3\x04",
        b"\xff\xfb\x90\x64",
        b"\xff\xf1\x50\x80",
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0AVI ",
    ],
)
async def test_a_script_behind_the_first_bytes_of_a_film_is_refused(
    decoder: Decoder, tmp_path: Path, head: bytes
) -> None:
    path = tmp_path / "file.mp4"
    path.write_bytes(head + b"\n#EXTM3U\nffconcat version 1.0\nfile '/etc/passwd'\n" * 40)

    assert await refusal(decoder, path) in ("it is a damaged film or sound", "it holds no film and no sound")


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
async def test_a_picture_cut_in_half_is_refused(decoder: Decoder, tmp_path: Path, form: str) -> None:
    whole = io.BytesIO()
    Image.effect_noise((200, 200), 90).convert("RGB").save(whole, form)
    path = tmp_path / "file"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])

    assert await refusal(decoder, path) in ("it is not a readable picture", "it is a damaged picture")


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.webm", "sound.flac", "sound.m4a"])
async def test_a_film_cut_in_half_is_refused(decoder: Decoder, samples: Path, tmp_path: Path, name: str) -> None:
    whole = (samples / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) // 3])

    assert await refusal(decoder, path) in ("it is cut short", "it is a damaged film or sound")


@pytest.mark.anyio
async def test_an_empty_file_is_refused(decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(b"")

    assert await refusal(decoder, path) == "it is empty"


@pytest.mark.anyio
async def test_a_picture_of_a_billion_pixels_is_refused_by_its_header(decoder: Decoder, tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50_000, 20_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000_000))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))

    assert await refusal(decoder, path) == "it has more than 50 megapixels"


@pytest.mark.anyio
async def test_a_heic_picture_is_refused_with_advice(decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))

    assert await refusal(decoder, path) == "it is a HEIC picture; send it as JPEG or PNG"


# Clean pictures


async def cleaned(decoder: Decoder, path: Path) -> Image.Image:
    into = path.with_name("clean.png")
    measured = await decoder.clean_picture(path, into)
    image = Image.open(into)
    image.load()
    assert (measured.kind, measured.extension, image.format, image.mode) == ("image", "png", "PNG", "RGB")
    assert (measured.width, measured.height) == image.size
    return image


@pytest.mark.anyio
async def test_a_clean_picture_stands_upright(decoder: Decoder, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    image.save(tmp_path / "a.png", exif=exif)

    upright = await cleaned(decoder, tmp_path / "a.png")

    assert upright.size == (20, 40)
    assert (upright.getpixel((10, 5)), upright.getpixel((10, 35))) == ((0, 0, 255), (255, 0, 0))


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF"])
async def test_a_clean_picture_has_white_behind_transparency(decoder: Decoder, tmp_path: Path, form: str) -> None:
    path = tmp_path / "a"
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(path, form)

    assert (await cleaned(decoder, path)).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
async def test_a_clean_picture_is_the_first_of_a_moving_one(decoder: Decoder, tmp_path: Path, form: str) -> None:
    path = tmp_path / "a"
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(path, form, save_all=True, append_images=frames[1:], duration=100, lossless=True)

    assert (await cleaned(decoder, path)).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("mode", "form", "colour", "expected"),
    [
        ("L", "PNG", 100, (100, 100, 100)),
        ("1", "PNG", 1, (255, 255, 255)),
        ("P", "PNG", 0, (0, 0, 0)),
        ("LA", "PNG", (100, 255), (100, 100, 100)),
        ("I;16", "PNG", 0x8000, (128, 128, 128)),
        ("CMYK", "JPEG", (0, 0, 0, 0), (255, 255, 255)),
    ],
)
async def test_a_clean_picture_keeps_its_colours_from_any_mode(
    decoder: Decoder, tmp_path: Path, mode: str, form: str, colour: int | tuple[int, ...], expected: tuple[int, ...]
) -> None:
    image = Image.new(mode, (8, 8), colour)
    image.save(tmp_path / "a", form)

    assert (await cleaned(decoder, tmp_path / "a")).getpixel((4, 4)) == expected


@pytest.mark.anyio
async def test_a_clean_picture_ignores_a_broken_colour_profile(decoder: Decoder, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", colour="red", icc_profile=b"no profile at all")

    assert (await cleaned(decoder, path)).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.anyio
async def test_a_clean_picture_carries_nothing_but_pixels(decoder: Decoder, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # type: ignore[reportUnknownMemberType]
    path = picture(tmp_path / "a.jpg", colour="red", exif=exif, icc_profile=profile, comment=b"secret")

    image = await cleaned(decoder, path)

    assert image.info == {}
    assert b"secret" not in (tmp_path / "clean.png").read_bytes()


@pytest.mark.anyio
async def test_a_clean_picture_is_no_longer_than_8192(decoder: Decoder, tmp_path: Path) -> None:
    image = await cleaned(decoder, picture(tmp_path / "a.png", "L", (10_000, 1_000)))

    assert image.size == (8192, 819)


@pytest.mark.anyio
async def test_a_film_is_no_picture_to_clean(decoder: Decoder, samples: Path, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="it is not a picture"):
        await decoder.clean_picture(samples / "film.mp4", tmp_path / "clean.png")


# Sound tracks


@pytest.mark.anyio
async def test_the_sound_of_a_film_is_copied_as_it_is(decoder: Decoder, samples: Path, tmp_path: Path) -> None:
    into = tmp_path / "sound.m4a"

    assert await decoder.sound_track(samples / "film.mp4", into)

    measured = await decoder.measure(into)
    assert (measured.kind, measured.extension) == ("audio", "m4a")
    assert measured.seconds == pytest.approx(2, abs=0.05)
    assert packets(into) == packets(samples / "film.mp4")
    assert into.read_bytes().index(b"moov") < into.read_bytes().index(b"mdat")


def there(path: Path) -> bool:
    return path.exists()


def packets(path: Path) -> list[bytes]:
    with av.open(path) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["silent.mp4", "film.webm"])
async def test_a_film_without_an_aac_track_has_no_sound_to_copy(
    decoder: Decoder, samples: Path, tmp_path: Path, name: str
) -> None:
    into = tmp_path / "sound.m4a"

    assert not await decoder.sound_track(samples / name, into)
    assert not there(into)
