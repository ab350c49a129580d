"""Words on pictures: the prompt as a caption, a small mark, and the lines they break into (Thai included)."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from phaya.providers.sandbox.drawing.textures import Colour, cut, mix, ramp

MARK = "Phaya sandbox"
_WEIGHTS = {"medium": "Prompt-Medium.ttf", "light": "Prompt-Light.ttf"}
# Thai vowels that are written before their consonant begin a syllable; those written after it, and the
# signs of repetition and abbreviation, never begin a line.
_LEADING = "เแโใไ"
_TRAILING = "ะาำๅๆฯ"


@cache
def font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    """One of the two shipped weights, shaped by HarfBuzz, so that Thai marks stand where they belong."""
    path = files("phaya") / "fonts" / _WEIGHTS[weight]
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.RAQM)


@cache
def _drawable(char: str) -> bool:
    """Whether the fonts have the sign: one that they lack looks like one that nobody has."""
    return char == " " or _drawn(char) != _drawn("\U0010fffe")


def _drawn(char: str) -> bytes:
    image = Image.new("L", (64, 64))
    ImageDraw.Draw(image).text((8, 8), char, font=font("medium", 24), fill=255)
    return image.tobytes()


def printable(text: str) -> str:
    """The text in one line, without the signs that the fonts do not have (emoji, other scripts)."""
    one_line = " ".join(unicodedata.normalize("NFC", text).split())
    kept = "".join(char if char.isprintable() and _drawable(char) else " " for char in one_line)
    return " ".join(kept.split())


def clusters(word: str) -> list[str]:
    """The word in pieces that a line may end after: marks stay on their letter, Thai vowels at theirs."""
    pieces: list[str] = []
    for char in word:
        stays = unicodedata.category(char) in ("Mn", "Mc") or char in _TRAILING
        if pieces and (stays or pieces[-1] in _LEADING):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def lines_of(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Breaks the text at spaces; a word wider than the line (Thai has no spaces) between its clusters."""
    lines: list[str] = []
    line = ""
    for word in re.split(r"( )", text):
        if word == " ":
            line += word if line else ""
            continue
        if face.getlength(line + word) <= width:
            line += word
            continue
        thai = any("\u0e00" <= char <= "\u0e7f" for char in word)
        if line and (not thai or face.getlength(word) <= width * 0.6):
            lines.append(line.rstrip())
            line = ""
        for piece in clusters(word):
            if line and face.getlength(line + piece) > width:
                head, line = _at_syllable(line)
                lines.append(head.rstrip())
            line += piece
    return [*lines, line.rstrip()] if line.strip() else lines


def _at_syllable(line: str) -> tuple[str, str]:
    """Moves the break back to a leading vowel or a space where one stands near the line's end."""
    for place in range(len(line) - 1, max(1, round(len(line) * 0.72)), -1):
        if line[place] in _LEADING or line[place - 1] == " ":
            return line[:place], line[place:]
    return line, ""


def _set(
    text: str, width: float, height: float, largest: int, smallest: int
) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """The largest size at which the text fits, its lines evened out; what never fits ends in an ellipsis."""
    size = largest
    while True:
        face = font("medium", size)
        lines = lines_of(text, face, width)
        most = max(1, int(height / (size * 1.42)))
        if len(lines) <= min(most, 4 if size > smallest else most):
            return face, lines_of(text, face, _evened(text, face, width, len(lines)))
        if size <= smallest:
            kept = lines[:most]
            while kept[-1] and face.getlength(kept[-1] + "…") > width:
                kept[-1] = "".join(clusters(kept[-1])[:-1])
            kept[-1] = kept[-1].rstrip() + "…"
            return face, kept
        size = max(smallest, round(size * 0.9))


def _evened(text: str, face: ImageFont.FreeTypeFont, width: float, count: int) -> float:
    """The narrowest width that needs no more lines."""
    low, high = width / 2, width
    for _ in range(7):
        middle = (low + high) / 2
        if len(lines_of(text, face, middle)) <= count:
            high = middle
        else:
            low = middle
    return high


def caption(prompt: str, width: int, height: int, shade: Colour, accent: Colour) -> Image.Image:
    """A layer of the frame's size: the prompt at the lower left on a soft shadow, the mark above it."""
    unit = min(width, height)
    margin = round(unit * 0.065)
    text = printable(prompt)
    room = min(width - 2 * margin, round(unit * 1.45))
    largest, smallest = max(12, round(unit * 0.064)), max(9, round(unit * 0.031))
    face, lines = (
        _set(text, room, min(height * 0.36, unit * 0.42), largest, smallest) if text else (font("medium", largest), [])
    )
    leading = round(face.size * 1.42)
    block = leading * len(lines)
    small = font("light", max(9, round(unit * 0.024)))
    rule = round(unit * 0.022)

    layer = Image.new("RGBA", (width, height), (*mix(shade, (0, 0, 0), 0.35), 0))
    reach = min(height, round((block + unit * 0.14) * 1.75 + margin))
    layer.paste(
        cut(mix(shade, (0, 0, 0), 0.35), ramp(width, reach, [(0, 0), (0.45, 0.42), (1, 0.82)])), (0, height - reach)
    )
    letters = Image.new("L", (width, height))
    pen = ImageDraw.Draw(letters)
    bottom = height - margin
    for index, line in enumerate(lines):
        pen.text((margin, bottom - block + leading * index + leading * 0.78), line, font=face, fill=255, anchor="ls")
    top = bottom - block - round(unit * 0.03)
    shadow = letters.filter(ImageFilter.GaussianBlur(max(1.0, unit * 0.005))).point(
        [min(255, round(v * 0.75)) for v in range(256)]
    )
    layer = _over(layer, (0, 0, 0), shadow)
    layer = _over(layer, (255, 255, 255), letters)
    sign = Image.new("L", (width, height))
    pen = ImageDraw.Draw(sign)
    pen.rounded_rectangle(
        (margin, top - rule * 0.55, margin + rule * 2.2, top - rule * 0.55 + max(2, unit * 0.004)), 2, fill=255
    )
    x = margin + rule * 3.2
    for char in MARK.upper():
        pen.text((x, top), char, font=small, fill=225, anchor="ls")
        x += small.getlength(char) + unit * 0.0045
    return _over(layer, mix(accent, (255, 255, 255), 0.35), sign)


def _over(layer: Image.Image, tone: Colour, mask: Image.Image) -> Image.Image:
    return Image.alpha_composite(layer, cut(tone, mask))


def plate(title: str, width: int, shade: Colour, accent: Colour) -> Image.Image:
    """The words of a record's cover: the title large in the upper part, the mark below."""
    margin = round(width * 0.085)
    text = printable(title) or "Untitled"
    face, lines = _set(text, width - 2 * margin, width * 0.44, round(width * 0.115), round(width * 0.045))
    leading = round(face.size * 1.32)
    layer = Image.new("RGBA", (width, width), (0, 0, 0, 0))
    layer.paste(
        cut(mix(shade, (0, 0, 0), 0.3), ramp(width, width, [(0, 0.62), (0.6, 0.05), (0.8, 0), (1, 0.45)])), (0, 0)
    )
    letters = Image.new("L", (width, width))
    pen = ImageDraw.Draw(letters)
    for index, line in enumerate(lines):
        pen.text((margin, margin + leading * index + leading * 0.8), line, font=face, fill=255, anchor="ls")
    shadow = letters.filter(ImageFilter.GaussianBlur(width * 0.006)).point(
        [min(255, round(v * 0.6)) for v in range(256)]
    )
    layer = _over(_over(layer, (0, 0, 0), shadow), (255, 255, 255), letters)
    sign = Image.new("L", (width, width))
    pen = ImageDraw.Draw(sign)
    small = font("light", round(width * 0.025))
    pen.rounded_rectangle((margin, margin * 0.72, margin + width * 0.06, margin * 0.72 + width * 0.006), 2, fill=255)
    x = float(margin)
    for char in MARK.upper():
        pen.text((x, width - margin * 0.8), char, font=small, fill=230, anchor="ls")
        x += small.getlength(char) + width * 0.005
    return _over(layer, mix(accent, (255, 255, 255), 0.4), sign)
