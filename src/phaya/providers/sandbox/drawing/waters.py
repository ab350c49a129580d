"""Water and mist: mirrors, ripples, islands, banks of fog, and soft lights."""

from __future__ import annotations

import math
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter
from PIL.Image import Resampling

from phaya.providers.sandbox.drawing.moods import Mood
from phaya.providers.sandbox.drawing.textures import (
    Colour,
    cut,
    glow,
    levels,
    mix,
    noise,
    ramp,
)


def water(rng: Random, mood: Mood, mirrored: Image.Image, height: int, unit: int, light_x: int) -> Image.Image:
    """Water up to the horizon: what stands above it upside down, broken by ripples, and the path of light."""
    width = mirrored.width
    reflection = mirrored.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((width, height), Resampling.BILINEAR)
    reflection = reflection.filter(ImageFilter.BoxBlur((unit * 0.002, unit * 0.008)))
    deep = mix(mood.palette.top, mood.palette.near, 0.35)
    if mood.land == "sea" and mood.hour == "day":
        deep = mix(deep, (8, 92, 120), 0.6)
    reflection.paste(deep, mask=ramp(width, height, [(0, 0.12), (0.5, 0.42), (1, 0.8)]))
    ripples = waves(rng, width, height, unit)
    moved = ImageChops.offset(reflection, 0, round(unit * 0.03))
    moved.paste(reflection.crop((0, 0, width, round(unit * 0.03))), (0, 0))
    reflection.paste(moved, mask=levels(ripples, 0.45, 0.6))
    dark = ImageChops.multiply(levels(ripples, 0.5, 0.1, 0.4), ramp(width, height, [(0, 0.2), (1, 1)]))
    reflection.paste(mix(deep, (0, 0, 0), 0.3), mask=dark)
    path = _path_of_light(width, height, unit, light_x)
    sparkle = ImageChops.multiply(levels(ripples, 0.5, 0.74), path)
    reflection.paste(mood.palette.light, mask=sparkle)
    return reflection


def _path_of_light(width: int, height: int, unit: int, centre: int) -> Image.Image:
    cone = Image.new("L", (width, height))
    pen = ImageDraw.Draw(cone)
    pen.polygon(
        [
            (centre - unit * 0.03, 0),
            (centre + unit * 0.03, 0),
            (centre + unit * 0.16, height),
            (centre - unit * 0.16, height),
        ],
        fill=235,
    )
    cone = cone.filter(ImageFilter.BoxBlur((unit * 0.055, 1)))
    return ImageChops.multiply(cone, ramp(width, height, [(0, 1), (0.7, 0.75), (1, 0.25)]))


def waves(rng: Random, width: int, height: int, unit: int) -> Image.Image:
    """Noise that lies flat: finer and finer towards the horizon at its top."""
    sheet_height = height * 3
    sheet = noise(rng, width, sheet_height, unit * 0.05, 4, stretch=4.5)
    return _flatten(sheet, width, height)


def _flatten(sheet: Image.Image, width: int, height: int) -> Image.Image:
    bands = 10
    flat = Image.new("L", (width, height))
    for band in range(bands):
        top, bottom = (round(height * edge / bands) for edge in (band, band + 1))
        start, end = (sheet.height * (edge / bands) ** 0.5 for edge in (band, band + 1))
        if bottom > top:
            flat.paste(sheet.resize((width, bottom - top), Resampling.BOX, (0, start, width, end)), (0, top))
    return flat


def shimmer(rng: Random, mood: Mood, width: int, height: int, unit: int) -> Image.Image:
    """Thin streaks of light on water, which drift in a film."""
    streaks = levels(waves(rng, width, height, unit), 0.6, 0.8, 0.34)
    streaks = ImageChops.multiply(streaks, ramp(width, height, [(0, 0.5), (0.3, 1), (1, 0.6)]))
    return cut(mix(mood.palette.horizon, (255, 255, 255), 0.35), streaks)


def fog(rng: Random, mood: Mood, width: int, height: int, unit: int, most: float) -> Image.Image:
    """A bank of mist that drifts between two ranges."""
    sheet = noise(rng, width, height, unit * 0.3, 4, stretch=3.5)
    body = ImageChops.multiply(levels(sheet, 0.15, 0.95, most), ramp(width, height, [(0, 0), (0.55, 1), (1, 0)]))
    return cut(mix(mood.palette.haze, mood.palette.horizon, 0.5), body)


def lamp(tone: Colour, size: int, most: float) -> Image.Image:
    """A soft round light."""
    return cut(tone, glow(size, size, 2.2, most))


def sink_between_islands(rng: Random, coast: Image.Image, unit: int) -> None:
    """Makes islands of a coast: parts of it sink below the water, on which the layer's lower edge lies."""
    width, height = coast.size
    reach = Image.new("L", coast.size)
    pen = ImageDraw.Draw(reach)
    x = -unit * rng.uniform(0, 0.5)
    while x < width:
        across = unit * rng.uniform(0.3, 0.9)
        line = [
            (x + across * step / 20, height * (1 - 1.15 * math.sin(math.pi * step / 20) ** 0.8)) for step in range(21)
        ]
        pen.polygon([*line, (x + across, height), (x, height)], fill=255)
        x += across * rng.uniform(0.9, 1.5)
    coast.putalpha(ImageChops.multiply(coast.getchannel("A"), reach.filter(ImageFilter.BoxBlur(1))))
