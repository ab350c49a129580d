"""What a picture is, and pictures written anew. Runs in the child that loads Pillow, and nowhere else.

Each function works on files that are open already, takes what the format was sniffed as, and tells what it found as
plain numbers. All raise Unreadable where the picture is damaged, or too large to decode.
"""

from __future__ import annotations

import importlib
import io
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

from PIL import AvifImagePlugin, Image, ImageCms

from phaya.decoding.formats import PICTURES, PIXELS, Moving, Unreadable

LONGEST_SIDE = 8192
ANIMATED_PIXELS = 200_000_000
"""Pixels of all frames of an animation together."""

MOST_FRAMES = 3000
"""Frames of an animation."""

_LATE = ("copy", *(f"PIL.{form}ImagePlugin" for form in ("Avif", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP")))
"""What Pillow loads with the first file that needs it, when nothing can be loaded any more."""

for _name in _LATE:
    importlib.import_module(_name)
AvifImagePlugin.DEFAULT_MAX_THREADS = 4  # each reserves address space, which is bounded

# Pillow's own limit only warns at first. Ours is checked as soon as the header is read, before any pixel.
Image.MAX_IMAGE_PIXELS = None
Image.preinit()
warnings.simplefilter("ignore")  # what is odd in a file is nobody's to read

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

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


def _open_picture(file: BinaryIO, sniffed: str) -> Image.Image:
    """The picture, decoded."""
    try:
        image = Image.open(file, formats=[PICTURES[sniffed]])
    except MemoryError:
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


def measure(file: BinaryIO, sniffed: str) -> dict[str, int]:
    """Decodes the picture; answers its size as it is seen: a camera's turned picture has its sides exchanged."""
    with _open_picture(file, sniffed) as image:
        turned = _orientation(image) in (5, 6, 7, 8)
        width, height = (image.height, image.width) if turned else image.size
    return _size(width, height)


def _size(width: int, height: int) -> dict[str, int]:
    return {"width": width, "height": height}


def _orientation(image: Image.Image) -> int:
    """How a camera was held, 1 to 8 as in Exif; 1 where nothing sensible is said."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001 - what is no Exif raises nearly anything, and the picture may be good
        return 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def clean(file: BinaryIO, into: BinaryIO, sniffed: str) -> dict[str, int]:
    """Writes the picture anew, as a plain PNG: upright, first frame, white behind transparency, sRGB.

    No side is longer than 8192 pixels. Nothing but its pixels is left of the original.
    """
    with _open_picture(file, sniffed) as image:
        profile = image.info.get("icc_profile")
        upright = _upright(image)
    plain = _in_srgb(upright, profile)
    plain.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    # Run lengths alone: for photographs a quarter faster than the fastest search for repetitions, and no larger.
    plain.save(into, "PNG", compress_level=1, compress_type=zlib.Z_RLE, icc_profile=None)
    return _size(*plain.size)


def clean_frames(file: BinaryIO, into: BinaryIO, sniffed: str) -> dict[str, int]:
    """Writes the picture anew, as a PNG that moves where it moved (APNG), transparency kept."""
    return _anew(file, into, sniffed, "PNG")


def renew(file: BinaryIO, into: BinaryIO, sniffed: str) -> dict[str, int]:
    """Writes the picture anew in its own format: upright, in sRGB, transparency kept, and nothing but its pixels.

    Raises Moving where it moves.
    """
    with _open_picture(file, sniffed) as image:
        if _moves(image):
            raise Moving
        profile = image.info.get("icc_profile")
        plain = _kept_clear(_upright(image), profile)
    plain.info.clear()  # Pillow writes the comment that it finds there
    plain.save(into, PICTURES[sniffed], **_BEST.get(sniffed, {}))
    return _size(*plain.size)


def renew_frames(file: BinaryIO, into: BinaryIO, sniffed: str) -> dict[str, int]:
    """Writes a moving picture anew in its own format: nothing but its frames and their times."""
    return _anew(file, into, sniffed, PICTURES[sniffed])


def _anew(file: BinaryIO, into: BinaryIO, sniffed: str, form: str) -> dict[str, int]:
    with _open_picture(file, sniffed) as image:
        pictures, times = _frames(image)
    _save_frames(pictures, times, into, form)
    return _size(*pictures[0].size)


def _moves(image: Image.Image) -> bool:
    """Whether there is a second frame; counting them all would read a file of a million to its end.

    A JPEG shows one, though phones put others behind it.
    """
    if image.format in ("JPEG", "MPO"):
        return False
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


def _save_frames(pictures: list[Image.Image], times: list[float], into: BinaryIO, form: str) -> None:
    first, *others = pictures
    options: dict[str, Any] = {"compress_level": 1} if form == "PNG" else {}
    if others:
        options |= {"save_all": True, "append_images": others, "duration": [round(one) for one in times], "loop": 0}
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


READING: dict[str, Callable[[BinaryIO, str], dict[str, int]]] = {"measure": measure}
WRITING: dict[str, Callable[[BinaryIO, BinaryIO, str], dict[str, int]]] = {
    "clean": clean,
    "clean_frames": clean_frames,
    "renew": renew,
    "renew_frames": renew_frames,
}
"""What the server may ask for."""
