"""What grows: conifers and bushes on a crest, grass and great trees before our feet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from PIL import Image, ImageDraw

from phaya.providers.sandbox.drawing.moods import Mood
from phaya.providers.sandbox.drawing.textures import (
    Point,
    cut,
    gradient,
    mix,
    silhouette,
    skyline,
)

STEP = 3
"""The pixels between two heights of a crest."""


def pines(rng: Random, pen: ImageDraw.ImageDraw, crest: Sequence[Point], scale: float, size: float) -> None:
    """Conifers of about one size along a crest."""
    x = -size
    while x < crest[-1][0] + size:
        tall = size * rng.uniform(0.4, 1.2) * (1.35 if rng.random() < 0.1 else 1)
        foot = crest[max(0, min(len(crest) - 1, int(x / STEP)))][1] + tall * 0.12
        pine(pen, x * scale, foot * scale, tall * scale)
        x += size * rng.uniform(0.08, 0.42)


def pine(pen: ImageDraw.ImageDraw, x: float, foot: float, tall: float) -> None:
    """A conifer of tiers, widest at the bottom."""
    points: list[Point] = [(x, foot - tall)]
    left: list[Point] = []
    tiers = 6
    for tier in range(1, tiers + 1):
        y = foot - tall + tall * 0.92 * tier / tiers
        broad = tall * 0.2 * (tier / tiers) ** 0.85
        points += [(x + broad, y), (x + broad * 0.45, y - tall * 0.03)]
        left += [(x - broad, y), (x - broad * 0.45, y - tall * 0.03)]
    pen.polygon([*points, (x, foot - tall * 0.08), *reversed(left)], fill=255)
    pen.rectangle((x - tall * 0.016, foot - tall * 0.12, x + tall * 0.016, foot + tall * 0.1), fill=255)


def bushes(rng: Random, pen: ImageDraw.ImageDraw, crest: Sequence[Point], scale: float, size: float) -> None:
    """Clumps of bushes here and there on a crest."""
    x = 0.0
    while x < crest[-1][0]:
        if rng.random() < 0.3:
            for _ in range(rng.randrange(2, 7)):
                place = x + rng.gauss(0, size * 1.4)
                y = crest[max(0, min(len(crest) - 1, int(place / STEP)))][1]
                broad = size * rng.uniform(0.5, 1.1)
                box = (place - broad, y - broad * 1.25, place + broad, y + broad)
                pen.ellipse(tuple(side * scale for side in box), fill=255)
        x += size * rng.uniform(2, 9)


def meadow(rng: Random, mood: Mood, width: int, height: int, unit: int, tall: float) -> Image.Image:
    """Blades of grass before our feet, with flowers where it is a field."""
    ground = skyline(rng, width // STEP + 2, 2 * width / unit, 0.4, 4)
    blades: list[tuple[float, float, float, float]] = []
    for _ in range(round(width / unit * 420)):
        x = rng.random() * width
        long = unit * tall * rng.uniform(0.35, 1.0) * (0.55 + 0.9 * ground[int(x / STEP)])
        blades.append((x, long, rng.gauss(0.12, 0.25) * long, unit * rng.uniform(0.0016, 0.004)))

    def base(x: float) -> float:
        return height * (0.62 - 0.3 * ground[max(0, min(len(ground) - 1, int(x / STEP)))])

    def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
        floor = [(index * STEP * scale, base(index * STEP) * scale) for index in range(len(ground))]
        pen.polygon([*floor, (width * scale + 9, height * scale + 9), (-9, height * scale + 9)], fill=255)
        for x, long, lean, thick in blades:
            y = base(x) + long * 0.1
            bend = [
                (x - thick, y),
                (x + lean * 0.3, y - long * 0.6),
                (x + lean, y - long),
                (x + lean * 0.3 + thick * 1.4, y - long * 0.55),
                (x + thick, y),
            ]
            pen.polygon([(a * scale, b * scale) for a, b in bend], fill=255)

    mask = silhouette(width, height, draw)
    tone = mood.ground(1.0)
    layer = cut(
        gradient(width, height, [(0, mix(tone, mood.palette.low, 0.16)), (0.6, tone), (1, mix(tone, (0, 0, 0), 0.35))]),
        mask,
    )
    if mood.land == "field":
        petals = [mix(mood.palette.light, shade, 0.65) for shade in ((240, 110, 120), (250, 200, 90), (235, 235, 255))]
        pen = ImageDraw.Draw(layer)
        for x, long, lean, _ in blades[::7]:
            size = unit * rng.uniform(0.003, 0.0075)
            place = x + lean, base(x) + long * 0.1 - long
            pen.ellipse(
                (place[0] - size, place[1] - size * 0.8, place[0] + size, place[1] + size * 0.8),
                fill=(*mix(rng.choice(petals), tone, 0.25), 255),
            )
    return layer


def grove(rng: Random, mood: Mood, width: int, height: int, unit: int) -> Image.Image:
    """Great pines that frame the view: many at the sides of each stretch, few in its middle."""

    def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
        x = -0.05 * unit
        while x < width:
            aside = abs(math.cos(math.pi * x / unit / 1.3))
            tall = height * rng.uniform(0.3, 0.5) + height * 0.5 * aside**3 * rng.uniform(0.6, 1)
            if aside > 0.55 or rng.random() < 0.35:
                pine(pen, x * scale, height * scale, (tall if aside > 0.55 else tall * 0.45) * scale)
            x += unit * rng.uniform(0.02, 0.075)

    mask = silhouette(width, height, draw)
    tone = mood.ground(1.0)
    return cut(gradient(width, height, [(0, mix(tone, mood.palette.haze, 0.12)), (1, mix(tone, (0, 0, 0), 0.3))]), mask)
