"""Raw material of drawing: colours, gradients, clouds of noise, glows and skylines of noise.

Everything is made by Pillow from a `random.Random`, so that equal seeds give equal pixels. (Pillow's own
`effect_noise` draws on the C library's generator, which cannot be seeded.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageOps
from PIL.Image import Resampling

Colour = tuple[int, int, int]
Point = tuple[float, float]


def colour(text: str) -> Colour:
    """Reads `"f7b2ad"`."""
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """A colour between two: `share` 0 gives the one, 1 the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def brightness(of: Colour) -> float:
    """0..1, as the eye weighs the channels."""
    return (0.299 * of[0] + 0.587 * of[1] + 0.114 * of[2]) / 255


def curve(image: Image.Image, function: Callable[[float], float]) -> Image.Image:
    """Maps a grey picture (0..1) through a function."""
    table = [max(0, min(255, round(255 * function(value / 255)))) for value in range(256)]
    return image.point(table)


def levels(image: Image.Image, low: float, high: float, most: float = 1.0) -> Image.Image:
    """A soft threshold: 0 below `low`, `most` above `high`, an S between."""

    def step(value: float) -> float:
        share = max(0.0, min(1.0, (value - low) / (high - low)))
        return most * share * share * (3 - 2 * share)

    return curve(image, step)


def ramp(width: int, height: int, stops: Sequence[tuple[float, float]]) -> Image.Image:
    """A grey picture whose brightness (0..1) runs from top to bottom through (place, value) stops."""
    column = Image.new("L", (1, 512))
    column.putdata([round(255 * _between(row / 511, stops)) for row in range(512)])
    return column.resize((width, height), Resampling.BILINEAR)


def gradient(width: int, height: int, stops: Sequence[tuple[float, Colour]]) -> Image.Image:
    """A picture whose colour runs from top to bottom through (place, colour) stops."""
    channels = [ramp(width, height, [(place, tone[channel] / 255) for place, tone in stops]) for channel in range(3)]
    return Image.merge("RGB", channels)


def _between(place: float, stops: Sequence[tuple[float, float]]) -> float:
    if place <= stops[0][0]:
        return stops[0][1]
    for (start, before), (end, after) in itertools.pairwise(stops):
        if place <= end:
            share = (place - start) / (end - start)
            return before + (after - before) * share * share * (3 - 2 * share)
    return stops[-1][1]


def noise(rng: Random, width: int, height: int, cell: float, octaves: int = 5, stretch: float = 1.0) -> Image.Image:
    """Fractal noise over the whole range of grey. `cell` is the size of the largest shapes in pixels,
    `stretch` makes them wider than high.
    """
    small = max(2, math.ceil(width / 2)), max(2, math.ceil(height / 2))
    sheet: Image.Image | None = None
    for octave in reversed(range(octaves)):
        across = min(small[0], max(2, round(width / cell / stretch * 2**octave)))
        down = min(small[1], max(2, round(height / cell * 2**octave)))
        dots = Image.frombytes("L", (across, down), rng.randbytes(across * down))
        dots = dots.resize(small, Resampling.BICUBIC)
        sheet = dots if sheet is None else Image.blend(dots, sheet, 0.47)
    assert sheet is not None
    return ImageOps.autocontrast(sheet, cutoff=0.5).resize((width, height), Resampling.BILINEAR)


def relief(sheet: Image.Image, across: int, down: int, strength: float) -> Image.Image:
    """Light falling sidewise over a sheet of noise: mid grey where it is flat."""
    lit = ImageChops.subtract(sheet, ImageChops.offset(sheet, across, down), scale=1 / strength, offset=128)
    # The shift brings the far edges in again; nothing is known there.
    lit.paste(128, (0, 0, max(0, across), sheet.height))
    lit.paste(128, (0, 0, sheet.width, max(0, down)))
    lit.paste(128, (0, sheet.height + min(0, down), sheet.width, sheet.height))
    return lit


def grain(rng: Random, width: int, height: int) -> Image.Image:
    """Fine film grain around mid grey, which also hides the steps of long gradients."""
    return Image.frombytes("L", (width, height), rng.randbytes(width * height))


@cache
def _round_ramp() -> Image.Image:
    return ImageOps.invert(Image.radial_gradient("L"))


def glow(width: int, height: int, power: float, most: float = 1.0) -> Image.Image:
    """A round light that fades to nothing at the edge; a larger power makes a smaller heart."""

    # Pillow's radial gradient reaches white at the middles of the sides already scaled by 1/sqrt(2).
    def fade(value: float) -> float:
        inside = max(0.0, (value - (1 - math.sqrt(0.5))) / math.sqrt(0.5))
        return most * inside**power

    return curve(_round_ramp(), fade).resize((max(1, width), max(1, height)), Resampling.BICUBIC)


def skyline(rng: Random, count: int, cells: float, roughness: float, octaves: int = 6) -> list[float]:
    """`count` heights (about 0..1) of fractal noise with `cells` large swings over the whole length."""
    heights = [0.0] * count
    size, total = 1.0, 0.0
    for octave in range(octaves):
        swings = cells * 2**octave
        knots = [rng.random() for _ in range(math.ceil(swings) + 3)]
        for index in range(count):
            place = index / count * swings
            left = int(place)
            share = place - left
            share = share * share * (3 - 2 * share)
            heights[index] += size * (knots[left] + (knots[left + 1] - knots[left]) * share)
        total += size
        size *= roughness
    return [height / total for height in heights]


def silhouette(width: int, height: int, draw: Callable[[ImageDraw.ImageDraw, float], None]) -> Image.Image:
    """A mask drawn at twice its size and reduced, for smooth edges; `draw` gets the pen and the scale (2)."""
    large = Image.new("L", (width * 2, height * 2))
    draw(ImageDraw.Draw(large), 2.0)
    return large.reduce(2)


def cut(fill: Image.Image | Colour, mask: Image.Image) -> Image.Image:
    """A layer: the fill, seen through the mask."""
    layer = Image.new("RGB", mask.size, fill) if isinstance(fill, tuple) else fill.copy()
    layer.putalpha(mask)
    return layer
