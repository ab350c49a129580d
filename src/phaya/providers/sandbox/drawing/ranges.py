"""Ranges: mountains under snow, hills, wooded ridges and dunes, hazier the farther they stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from phaya.providers.sandbox.drawing.greenery import STEP, bushes, pines
from phaya.providers.sandbox.drawing.moods import Mood
from phaya.providers.sandbox.drawing.textures import (
    Colour,
    Point,
    brightness,
    curve,
    cut,
    gradient,
    levels,
    mix,
    noise,
    ramp,
    relief,
    silhouette,
    skyline,
)


def _profile(rng: Random, width: int, unit: int, land: str, depth: float) -> list[float]:
    """Heights (0..1) of a ridge, one for each STEP pixels."""
    count = width // STEP + 2
    swells = width / unit
    if land in ("mountain", "snow"):
        return _peaks(rng, count, swells * (1.25 + 1.6 * depth))
    if land == "desert":
        heights = skyline(rng, count, swells * 1.1, 0.22, 3)
        return [1 - abs(math.sin(height * 5.2)) ** 0.8 for height in heights]
    return skyline(rng, count, swells * (1.3 + 0.6 * depth), 0.33, 4)


def _peaks(rng: Random, count: int, swells: float) -> list[float]:
    """Sharp summits with rough flanks: the highest of many tents, bitten by noise."""
    rough = skyline(rng, count, swells * 5, 0.55, 5)
    broad = count / max(1.0, swells)
    tents = [
        (
            place * broad * 0.55 + rng.uniform(-0.25, 0.25) * broad,
            rng.uniform(0.4, 1.0),
            broad * rng.uniform(0.5, 0.85),
            broad * rng.uniform(0.5, 0.85),
        )
        for place in range(-1, math.ceil(swells / 0.55) + 2)
    ]
    heights: list[float] = []
    for index in range(count):
        tallest = 0.0
        for middle, top, left, right in tents:
            away = (middle - index) / left if index < middle else (index - middle) / right
            tallest = max(tallest, top - 0.62 * away**0.85 if away < 1.4 else 0.0)
        heights.append(max(0.0, 0.88 * tallest + 0.2 * (rough[index] - 0.4)))
    return heights


def trees_over(mood: Mood, unit: int, depth: float) -> int:
    """How far the trees of a range stand out above its highest crest, in pixels."""
    return round(unit * (0.02 + 0.085 * depth) * 1.6) if mood.land in ("forest", "snow") and depth > 0.25 else 0


def ridge(rng: Random, mood: Mood, width: int, height: int, unit: int, depth: float) -> Image.Image:
    """A range, hazier towards its foot. Its crest lies below room for the trees that stand on it."""
    land = mood.land
    head = trees_over(mood, unit, depth)
    rise = min(
        height - head,
        round(unit * {"mountain": 0.36, "snow": 0.28, "desert": 0.16}.get(land, 0.2) * (1 - 0.35 * depth)),
    )
    heights = _profile(rng, width, unit, land, depth)
    outline = [(index * STEP, head + rise * (1 - value)) for index, value in enumerate(heights)]
    rise += head

    def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
        pen.polygon(
            [
                *((x * scale, y * scale) for x, y in outline),
                (width * scale + 9, height * scale + 9),
                (-9, height * scale + 9),
            ],
            fill=255,
        )
        if head:
            pines(rng, pen, outline, scale, unit * (0.02 + 0.085 * depth))
        elif land in ("hills", "field") and depth > 0.3:
            bushes(rng, pen, outline, scale, unit * (0.006 + 0.016 * depth))

    mask = silhouette(width, height, draw)
    tone = mood.ground(depth)
    foot = mix(tone, mood.palette.haze, 0.55 if mood.weather == "mist" else 0.34)
    fill = gradient(width, height, [(0, tone), (min(1.0, rise / height), mix(tone, foot, 0.45)), (1, foot)])
    sheet = noise(rng, width, height, unit * (0.1 if land in ("mountain", "snow") else 0.2), 6)
    strength = {"mountain": 0.8, "snow": 0.6, "desert": 0.35}.get(land, 0.5) * (0.35 + 0.65 * depth)
    shade = relief(sheet, round(unit * 0.008) + 1, round(unit * 0.006) + 1, strength)
    fill = ImageChops.soft_light(fill, Image.merge("RGB", [shade] * 3))
    if land in ("mountain", "snow") and depth < 0.75:
        _faces(rng, fill, outline, rise, unit, tone, mood)
    if land == "desert":
        _slip_faces(fill, outline, height, tone, mood)
    # The light grazes the crest.
    rim = ImageChops.subtract(mask, ImageChops.offset(mask, 0, max(1, round(unit * 0.0035))))
    fill.paste(
        mix(tone, mood.palette.light, 0.45),
        mask=levels(rim, 0, 1, (0.25 if mood.hour == "night" else 0.5) * (1 - depth * 0.6)),
    )
    return cut(fill, mask)


def _faces(
    rng: Random, fill: Image.Image, crest: Sequence[Point], rise: int, unit: int, tone: Colour, mood: Mood
) -> None:
    """Snow under the summits, ragged at its lower edge, and the side of each summit that the light misses."""
    width, height = fill.size
    ragged = skyline(rng, len(crest), width / unit * 26, 0.6, 4)
    line = rise * (0.95 if mood.land == "snow" else 0.62)
    edge = [(x, y + max(0.0, line - y) * (0.25 + 1.15 * rag)) for (x, y), rag in zip(crest, ragged, strict=True)]

    def snow(pen: ImageDraw.ImageDraw, scale: float) -> None:
        pen.polygon([(x * scale, y * scale) for x, y in (*crest, *reversed(edge))], fill=255)

    def shadow(pen: ImageDraw.ImageDraw, scale: float) -> None:
        reach = max(4, round(unit * 0.02 / STEP))
        for index in range(reach, len(crest) - reach):
            x, y = crest[index]
            if y > min(place[1] for place in crest[index - reach : index + reach + 1]):
                continue
            right = index
            lowest = y
            while right + 1 < len(crest) and crest[right + 1][1] >= lowest - unit * 0.006:
                right += 1
                lowest = max(lowest, crest[right][1])
            fall = (rise * 1.5 - y) * 0.8
            spine = [
                (x + (rng.uniform(-0.4, 0.7) + step * 0.18) * unit * 0.012 * (step > 0), y + fall * step / 9)
                for step in range(10)
            ]
            if crest[right][0] - x > unit * 0.04:
                face = (*crest[index : right + 1], *reversed(spine))
                pen.polygon([(a * scale, b * scale) for a, b in face], fill=255)

    night = mood.hour == "night"
    white = mix(mood.palette.horizon, (255, 255, 255), 0.1 if night else 0.65)
    veil = 1 - min(0.7, brightness(tone))
    fill.paste(mix(white, tone, 0.25), mask=curve(silhouette(width, height, snow), lambda v: v * (0.35 + 0.6 * veil)))
    shade = ImageChops.multiply(
        silhouette(width, height, shadow).filter(ImageFilter.GaussianBlur(unit * 0.0012)),
        ramp(width, height, [(0, 1), (rise / height * 0.5, 0.9), (min(1.0, rise / height * 1.3), 0)]),
    )
    fill.paste(mix(mix(tone, mood.palette.near, 0.55), mood.palette.high, 0.25), mask=curve(shade, lambda v: v * 0.55))


def _slip_faces(fill: Image.Image, crest: Sequence[Point], height: int, tone: Colour, mood: Mood) -> None:
    """The shadowed lee side of dunes: from every peak down along a bent edge."""
    width = fill.width
    shadow = Image.new("L", (width, height))
    pen = ImageDraw.Draw(shadow)
    reach = 14
    for index in range(reach, len(crest) - reach):
        x, y = crest[index]
        if y > min(place[1] for place in crest[index - reach : index + reach + 1]):
            continue
        right = index
        while right + 1 < len(crest) and crest[right + 1][1] >= crest[right][1]:
            right += 1
        foot = crest[right]
        span = foot[0] - x
        bend = [
            (x + span * (0.28 * math.sin(share * 3.0) + 0.35 * share * share), y + (height - y) * share)
            for share in (step / 14 for step in range(15))
        ]
        pen.polygon([*crest[index : right + 1], *reversed(bend)], fill=150)
    shadow = ImageChops.multiply(
        shadow.filter(ImageFilter.GaussianBlur(1.2)), ramp(width, height, [(0, 1), (0.9, 0.1)])
    )
    fill.paste(mix(tone, mood.palette.near, 0.7), mask=shadow)
