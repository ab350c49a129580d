"""What a file is, found out from its bytes; never from its name or from what a server said about it.

A file is sniffed against a list of known beginnings and then opened as that format only: a playlist, a script
or a page that is named like a picture is refused before any decoder has a look at it.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from PIL import Image, ImageCms

from phaya.links import CONTENT_TYPES

if TYPE_CHECKING:  # PyAV is loaded with the first film or sound: an idle server does without its 18 MB
    from av.container import InputContainer

PIXELS = 50_000_000
LONGEST_SIDE = 8192
ANIMATED_PIXELS = 200_000_000
"""Pixels of all frames of an animation together."""

MOST_FRAMES = 3000
"""Frames of an animation."""

Kind = Literal["image", "video", "audio"]
T = TypeVar("T")

# Two pictures of the largest size take half a gigabyte while they are decoded; more wait for their turn.
_decoders = ThreadPoolExecutor(2, thread_name_prefix="pictures")

# All frames of one animation take up to 0.8 gigabytes, so never those of two.
_motion = threading.Lock()

# Pillow's own limit only warns at first. Ours is checked as soon as the header is read, before any pixel.
Image.MAX_IMAGE_PIXELS = None

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

_PILLOW = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "webp": "WEBP", "avif": "AVIF"}
_DEMUXERS = {
    "mp4": "mov",
    "mkv": "matroska",
    "avi": "avi",
    "mp3": "mp3",
    "wav": "wav",
    "aac": "aac",
    "ogg": "ogg",
    "flac": "flac",
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture stand upright, by its orientation in Exif."""
_BEST: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 6},
    "jpg": {"quality": 95, "subsampling": 0},
    "webp": {"quality": 95},
    "avif": {"quality": 90},
}
"""How a picture is written anew, so that nobody sees that it was."""
_AUDIO_ONLY = frozenset({"mp3", "wav", "aac", "ogg", "flac"})


class Unreadable(Exception):
    """`message` says what is wrong with the file: "it is cut short"."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True)
class Measured:
    """What a file is. Sizes in pixels (0 for sound), `seconds` of playing time (0 for pictures)."""

    kind: Kind
    content_type: str
    extension: str
    width: int
    height: int
    seconds: float
    bytes: int


async def measure(path: Path) -> Measured:
    """Finds out what the file is; a picture is decoded, sound and film are read to their end.

    Raises Unreadable where it is none of the formats that Phaya takes, is damaged, or too large to decode.
    """
    sniffed = await asyncio.to_thread(_sniff, path)
    if sniffed in _PILLOW:
        return await _decoding(lambda: _measure_picture(path, sniffed))
    return await asyncio.to_thread(_measure_streams, path, sniffed)


async def clean_picture(path: Path, into: Path) -> Measured:
    """Writes the picture anew, as a plain PNG: upright, first frame, white behind transparency, sRGB.

    No side is longer than 8192 pixels. Nothing but its pixels is left of the original. Raises Unreadable.
    """
    sniffed = await asyncio.to_thread(_sniff, path)
    if sniffed not in _PILLOW:
        raise Unreadable("it is not a picture")
    return await _decoding(lambda: _clean(path, sniffed, into))


async def clean_animation(path: Path, into: Path) -> Measured:
    """Writes the picture anew, as a PNG that moves where it moved (APNG), transparency kept. Raises Unreadable."""
    sniffed = await asyncio.to_thread(_sniff, path)
    if sniffed not in _PILLOW:
        raise Unreadable("it is not a picture")
    return await _decoding(lambda: _clean_frames(path, sniffed, into))


async def renew_picture(path: Path, into: Path) -> Measured:
    """Writes the picture anew in its own format: upright, in sRGB, moving where it moved, transparency kept.

    Nothing but its pixels is left: no place where it was taken, no second format behind or between them. Raises
    Unreadable.
    """
    sniffed = await asyncio.to_thread(_sniff, path)
    if sniffed not in _PILLOW:
        raise Unreadable("it is not a picture")
    return await _decoding(lambda: _renew(path, sniffed, into))


async def sound_track(video: Path, into: Path) -> bool:
    """Copies the AAC track of an mp4 into an m4a file, as it is; false where the film has none.

    Raises Unreadable where `video` is no film that Phaya takes.
    """
    return await asyncio.to_thread(_copy_sound, video, into)


async def _decoding(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_decoders, work)


def _sniff(path: Path) -> str:
    """The format by its first bytes: a key of `_PILLOW` or `_DEMUXERS`."""
    with path.open("rb") as file:
        head = file.read(32)
    if not head:
        raise Unreadable("it is empty")
    match head[:4], head[4:8], head[8:12]:
        case b"\x89PNG", b"\r\n\x1a\n", _:
            return "png"
        case b"GIF8", _, _:
            return "gif"
        case b"RIFF" | b"RF64", _, (b"WEBP" | b"WAVE" | b"AVI ") as form:
            return {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi"}[form]
        case _, b"ftyp", b"avif" | b"avis":
            return "avif"
        case _, b"ftyp", b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1":
            raise Unreadable("it is a HEIC picture; send it as JPEG or PNG")
        case _, b"ftyp" | b"moov" | b"mdat" | b"wide", _:
            return "mp4"
        case b"\x1aE\xdf\xa3", _, _:
            return "mkv"
        case b"OggS", _, _:
            return "ogg"
        case b"fLaC", _, _:
            return "flac"
        case _:
            pass
    if head[:3] == b"\xff\xd8\xff":
        return "jpg"
    # A frame of MPEG sound begins with eleven set bits; the layer tells MP3 (01) from AAC in ADTS (00).
    if head[:3] == b"ID3" or (head[0] == 0xFF and head[1:] and head[1] & 0xE6 == 0xE2):
        return "mp3"
    if head[0] == 0xFF and head[1:] and head[1] & 0xF6 == 0xF0:
        return "aac"
    raise Unreadable("it is not a picture, film or sound of a known format")


def _open_picture(path: Path, sniffed: str) -> Image.Image:
    """The picture, decoded."""
    try:
        image = Image.open(path, formats=[_PILLOW[sniffed]])
    except MemoryError:  # ours, not the file's: it has no more pixels than there should be room for
        raise
    except Exception as error:  # decoders of hostile files raise nearly anything
        raise Unreadable("it is not a readable picture") from error
    try:
        if image.width * image.height > PIXELS:
            raise Unreadable(f"it has more than {PIXELS // 1_000_000} megapixels")
        image.load()
    except (Unreadable, MemoryError):
        image.close()
        raise
    except Exception as error:
        image.close()
        raise Unreadable("it is a damaged picture") from error
    return image


def _measure_picture(path: Path, sniffed: str) -> Measured:
    with _open_picture(path, sniffed) as image:
        # What is seen: a camera's turned picture has its sides exchanged.
        turned = _orientation(image) in (5, 6, 7, 8)
        width, height = (image.height, image.width) if turned else image.size
    return Measured("image", CONTENT_TYPES[sniffed], sniffed, width, height, 0.0, path.stat().st_size)


def _orientation(image: Image.Image) -> int:
    """How a camera was held, 1 to 8 as in Exif; 1 where nothing sensible is said."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001 - what is no Exif raises nearly anything, and the picture may be good
        return 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _clean(path: Path, sniffed: str, into: Path) -> Measured:
    with _open_picture(path, sniffed) as image:
        profile = image.info.get("icc_profile")
        upright = _upright(image)
    plain = _in_srgb(upright, profile)
    plain.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    plain.save(into, "PNG", compress_level=1, icc_profile=None)
    return Measured("image", "image/png", "png", plain.width, plain.height, 0.0, into.stat().st_size)


def _clean_frames(path: Path, sniffed: str, into: Path) -> Measured:
    with _open_picture(path, sniffed) as image, _motion:
        pictures, times = _frames(image)
        _save_frames(pictures, times, into, "PNG")
    return Measured("image", "image/png", "png", *pictures[0].size, 0.0, into.stat().st_size)


def _renew(path: Path, sniffed: str, into: Path) -> Measured:
    with _open_picture(path, sniffed) as image:
        if _moves(image):
            with _motion:
                pictures, times = _frames(image)
                _save_frames(pictures, times, into, _PILLOW[sniffed])
        else:
            profile = image.info.get("icc_profile")
            plain = _kept_clear(_upright(image), profile)
            plain.info.clear()  # Pillow writes the comment that it finds there
            pictures = [plain]
            plain.save(into, _PILLOW[sniffed], **_BEST.get(sniffed, {}))
    return Measured("image", CONTENT_TYPES[sniffed], sniffed, *pictures[0].size, 0.0, into.stat().st_size)


def _moves(image: Image.Image) -> bool:
    """Whether there is a second frame. Counting them all would read a file of a million to its end."""
    try:
        image.seek(1)
    except EOFError:
        return False
    except MemoryError:
        raise
    except Exception as error:  # decoders of hostile files raise nearly anything
        raise Unreadable("it is a damaged picture") from error
    image.seek(0)
    return True


def _frames(image: Image.Image) -> tuple[list[Image.Image], list[float]]:
    """Every frame whole, and the milliseconds that it is shown for. Raises Unreadable where they are too many."""
    pictures: list[Image.Image] = []
    times: list[float] = []
    most = min(MOST_FRAMES, ANIMATED_PIXELS // (image.width * image.height))
    try:
        while True:
            try:
                image.seek(len(pictures))
            except EOFError:
                break
            if len(pictures) >= most:
                raise Unreadable(
                    f"it has more than {MOST_FRAMES} frames, or more than {ANIMATED_PIXELS // 1_000_000} megapixels "
                    "in all of them"
                )
            pictures.append(image.convert("RGBA"))
            # Browsers show a frame without a sensible time for a tenth of a second.
            given = float(image.info.get("duration") or 0)
            times.append(given if given >= 20 else 100.0)
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # decoders of hostile files raise nearly anything
        raise Unreadable("it is a damaged picture") from error
    if not pictures:
        raise Unreadable("it is a damaged picture")
    return pictures, times


def _save_frames(pictures: list[Image.Image], times: list[float], into: Path, form: str) -> None:
    first, *others = pictures
    options: dict[str, Any] = {"compress_level": 1} if form == "PNG" else {}
    if others:
        options |= {"save_all": True, "append_images": others, "duration": times, "loop": 0}
    if others and form == "PNG":
        # Whole frames: drawn over nothing, so that no trace of the one before stays where this one is clear.
        options |= {"blend": 0, "disposal": 0}
    if others and form == "GIF":
        options |= {"disposal": 2}
    first.save(into, form, **options)


def _kept_clear(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in sRGB, with its transparency where it has any."""
    if "A" not in image.mode and "a" not in image.mode and "transparency" not in image.info:
        return _in_srgb(image, profile)
    layer = image.convert("RGBA")
    clear = layer.getchannel("A")
    shown = _in_srgb(layer.convert("RGB"), profile)
    shown.putalpha(clear)
    return shown


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in RGB on white; the colours of cameras and printers as a plain screen shows them."""
    if image.mode.startswith("I"):  # 16 bits of grey
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(layer, mask=layer.getchannel("A"))
    elif image.mode not in ("RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            turned = ImageCms.profileToProfile(image, given, _SRGB, outputMode="RGB")
            image = turned or image
    return image.convert("RGB")


def _open_streams(file: io.BufferedReader, demuxer: str) -> InputContainer:
    # The open file is all that the library gets: formats that name other files cannot open them.
    limits = {"format_whitelist": demuxer, "protocol_whitelist": "none"}
    import av

    return av.open(file, "r", format=demuxer, container_options=limits, metadata_errors="ignore")


def _measure_streams(path: Path, sniffed: str) -> Measured:
    from av.error import FFmpegError

    try:
        with path.open("rb") as file, _open_streams(file, _DEMUXERS[sniffed]) as container:
            return _measure_container(path, sniffed, container)
    except (FFmpegError, EOFError) as error:
        raise Unreadable("it is a damaged film or sound") from error


def _measure_container(path: Path, sniffed: str, container: InputContainer) -> Measured:
    import av
    from av.stream import Disposition

    films = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    tracks = [*films, *container.streams.audio]
    if not tracks or (films and sniffed in _AUDIO_ONLY):
        raise Unreadable("it holds no film and no sound")
    begin, end = Fraction(10**9), Fraction(0)
    for packet in container.demux(*tracks):
        if packet.pts is not None and packet.size:
            begin = min(begin, packet.pts * packet.time_base)
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
    seconds = float(end - max(begin, Fraction(0)))
    if seconds <= 0:
        raise Unreadable("it holds no film and no sound")
    # The length that a header claims is worth nothing for MP3 and AAC, where it is a guess by the bit rate.
    claimed = (container.duration or 0) / av.time_base
    if sniffed not in ("mp3", "aac") and claimed > seconds * 1.05 + 1:
        raise Unreadable("it is cut short")
    width, height = (films[0].codec_context.width, films[0].codec_context.height) if films else (0, 0)
    extension = _extension(path, sniffed, film=bool(films))
    kind: Kind = "video" if films else "audio"
    size = path.stat().st_size
    return Measured(kind, CONTENT_TYPES[extension], extension, width, height, seconds, size)


def _extension(path: Path, sniffed: str, *, film: bool) -> str:
    with path.open("rb") as file:
        head = file.read(64)
    if sniffed == "mkv":
        return "webm" if b"webm" in head else "mkv"
    if sniffed != "mp4":
        return sniffed
    if not film:
        return "m4a"
    if head[4:8] != b"ftyp" or head[8:12] == b"qt  ":
        return "mov"
    return "m4v" if head[8:11] == b"M4V" else "mp4"


def _copy_sound(video: Path, into: Path) -> bool:
    import av
    from av.error import FFmpegError

    sniffed = _sniff(video)
    if sniffed not in _DEMUXERS:
        raise Unreadable("it is not a film")
    try:
        with video.open("rb") as file, _open_streams(file, _DEMUXERS[sniffed]) as source:
            track = next((one for one in source.streams.audio if one.codec_context.name == "aac"), None)
            if track is None:
                return False
            with av.open(into, "w", format="ipod", options={"movflags": "+faststart"}) as target:
                # Both calls take options that PyAV leaves without a type.
                copy = target.add_stream_from_template(track)  # pyright: ignore[reportUnknownMemberType]
                for packet in source.demux(track):
                    if packet.dts is not None:
                        packet.stream = copy
                        target.mux(packet)  # pyright: ignore[reportUnknownMemberType]
            return True
    except (FFmpegError, EOFError) as error:
        raise Unreadable("it is a damaged film") from error
