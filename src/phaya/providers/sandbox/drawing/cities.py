"""Cities: rows of buildings, with lit windows when the light goes."""

from __future__ import annotations

from random import Random

from PIL import Image, ImageDraw

from phaya.providers.sandbox.drawing.moods import Mood
from phaya.providers.sandbox.drawing.textures import (
    cut,
    gradient,
    mix,
    silhouette,
    skyline,
)


def city(rng: Random, mood: Mood, width: int, height: int, unit: int, depth: float) -> Image.Image:
    """A row of buildings, with lit windows when the light goes."""
    blocks: list[tuple[int, int, int]] = []
    swell = skyline(rng, 200, 3 * width / unit, 0.6, 4)
    x = -unit * 0.03
    while x < width:
        broad = unit * rng.uniform(0.035, 0.085) * (0.75 + 0.5 * depth)
        tall = height * min(0.97, 0.18 + 0.75 * swell[max(0, min(199, int(x / width * 199)))] * rng.uniform(0.45, 1.25))
        blocks.append((round(x), round(broad), round(tall)))
        x += broad * rng.uniform(0.85, 1.25)

    def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for left, broad, tall in blocks:
            top = height - tall
            pen.rectangle((left * scale, top * scale, (left + broad) * scale, height * scale), fill=255)
            style = (left * 7 + broad * 13) % 5
            middle = left + broad / 2
            if style == 0:
                pen.line((middle * scale, top * scale, middle * scale, (top - tall * 0.16) * scale), fill=255, width=3)
            elif style == 1:
                pen.rectangle(
                    (
                        (left + broad * 0.2) * scale,
                        (top - broad * 0.3) * scale,
                        (left + broad * 0.8) * scale,
                        top * scale,
                    ),
                    fill=255,
                )
            elif style == 2:
                pen.polygon(
                    [
                        (left * scale, top * scale),
                        (middle * scale, (top - broad * 0.5) * scale),
                        ((left + broad) * scale, top * scale),
                    ],
                    fill=255,
                )

    mask = silhouette(width, height, draw)
    tone = mood.ground(depth)
    fill = gradient(width, height, [(0, tone), (1, mix(tone, mood.palette.haze, 0.4))])
    pen = ImageDraw.Draw(fill)
    lit = {"night": 0.34, "dusk": 0.22, "dawn": 0.12, "day": 0.0}[mood.hour] + (0.12 if mood.weather == "rain" else 0)
    pane = max(2.0, unit * (0.0035 + 0.003 * depth))
    for left, broad, tall in blocks:
        side = mix(tone, mood.palette.light if mood.hour != "night" else mood.palette.horizon, 0.14)
        pen.rectangle((left, height - tall, left + max(1, broad // 7), height), fill=side)
        for row in range(int((tall - pane * 2) / (pane * 2.4))):
            for column in range(int((broad - pane * 2) / (pane * 2))):
                if rng.random() > (lit or 0.5):
                    continue
                warm = rng.choice(((255, 214, 140), (255, 236, 190), (255, 190, 110), (190, 225, 255)))
                glass = (
                    mix(tone, warm, rng.uniform(0.45, 0.95) * (0.55 + 0.45 * depth))
                    if lit
                    else mix(tone, mood.palette.high, 0.2)
                )
                place = left + pane * (1.2 + 2 * column), height - tall + pane * (1.5 + 2.4 * row)
                pen.rectangle((*place, place[0] + pane * 0.9, place[1] + pane * 1.2), fill=glass)
    return cut(fill, mask)
