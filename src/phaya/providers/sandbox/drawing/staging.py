"""Figures as layers: on a hilltop, in the air, and the small coloured things of a festival."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

from PIL import Image, ImageDraw, ImageFilter

from phaya.providers.sandbox.drawing.figures import STANDING, Pencil, outline, smooth
from phaya.providers.sandbox.drawing.textures import Colour, cut, glow, gradient, mix, silhouette


def mound(
    rng: Random, names: Sequence[str], tone: Colour, lamp: Colour, width: int, height: int, unit: int
) -> Image.Image:
    """A hilltop (in the layer's lower part) with figures standing on it, side by side; lamps are lit."""
    crown = round(unit * 0.56)
    rough = [rng.uniform(-1, 1) for _ in range(9)]

    def ground(x: float) -> float:
        share = x / width
        bumps = sum(r * math.sin((index + 2) * share * 5) for index, r in enumerate(rough)) * unit * 0.003
        return crown + (height - crown) * (2 * abs(share - 0.5)) ** 2.2 + bumps

    def hill(pen: ImageDraw.ImageDraw, scale: float) -> None:
        line = [(x * scale, ground(x) * scale) for x in range(0, width + 6, 6)]
        pen.polygon([*line, (width * scale, height * scale), (0, height * scale)], fill=255)
        for _ in range(width // 3):
            x = rng.random() * width
            tall = unit * rng.uniform(0.004, 0.02)
            lean = rng.gauss(0, 0.4) * tall
            y = ground(x) + 2
            pen.polygon(
                [
                    ((x - 1.2) * scale, y * scale),
                    ((x + lean) * scale, (y - tall) * scale),
                    ((x + 1.2) * scale, y * scale),
                ],
                fill=255,
            )

    mask = silhouette(width, height, hill)
    lights: list[tuple[float, float, float, Colour]] = []
    for index, name in enumerate(names):
        draw, tall, ratio = STANDING[name]
        down, across = round(unit * tall), round(unit * tall * ratio)
        middle = width * (0.5 if len(names) == 1 else 0.36 + 0.28 * index / (len(names) - 1))
        foot = ground(middle) + unit * 0.006
        place = round(middle - across / 2), round(foot - down)
        body = outline(draw, across, down)
        mask.paste(255, place, body)
        if name == "house":
            lights += [(middle + across * shift, foot - down * 0.26, down * 0.16, lamp) for shift in (-0.18, 0.14)]
        if name == "lighthouse":
            lights.append((middle, foot - down * 0.875, down * 0.1, (255, 240, 200)))
    layer = cut(
        gradient(width, height, [(0, mix(tone, lamp, 0.05)), (crown / height, tone), (1, mix(tone, (0, 0, 0), 0.4))]),
        mask,
    )
    for x, y, size, shade in lights:
        pane = round(size / 2)
        pen = ImageDraw.Draw(layer)
        pen.rectangle(
            (x - pane, y - pane * 1.2, x + pane, y + pane * 1.2), fill=(*mix(shade, (255, 240, 200), 0.4), 255)
        )
        reach = round(size * 6)
        halo = cut((255, 205, 120), glow(reach, reach, 3, 0.6))
        layer.alpha_composite(halo, (max(0, round(x - reach / 2)), max(0, round(y - reach / 2))))
    return layer


def flier(draw: Callable[[Pencil], None], tone: Colour, across: int, down: int) -> Image.Image:
    """A figure by itself."""
    return cut(tone, outline(draw, across, down))


def balloon(rng: Random, size: int, tones: Sequence[Colour]) -> Image.Image:
    """A hot-air balloon with gores of colour, lit from the left."""
    down = round(size * 1.35)
    layer = Image.new("RGBA", (size, down), (0, 0, 0, 0))
    gores = Image.new("RGB", (size, size))
    pen = ImageDraw.Draw(gores)
    pair = rng.sample(list(tones), 2)
    # Gores are narrower ovals before wider ones.
    for index in range(4):
        reach = size / 2 * math.cos(math.pi * index / 7)
        pen.ellipse((size / 2 - reach, -4, size / 2 + reach, size + 4), fill=pair[index % 2])
    light = gradient(size, size, [(0, (150, 150, 150)), (1, (96, 96, 96))]).rotate(55)
    gores = Image.blend(gores, light, 0.22)

    def bag(pen: ImageDraw.ImageDraw, scale: float) -> None:
        s = size * scale
        pen.ellipse((0.02 * s, 0.02 * s, 0.98 * s, 0.92 * s), fill=255)
        pen.polygon([(0.1 * s, 0.68 * s), (0.9 * s, 0.68 * s), (0.6 * s, 1.02 * s), (0.4 * s, 1.02 * s)], fill=255)

    layer.paste(gores, (0, 0), silhouette(size, size, bag))
    pen = ImageDraw.Draw(layer)
    for x in (0.41, 0.59):
        pen.line(
            (size * x, size, size * (0.5 + (x - 0.5) * 0.7), size * 1.18),
            fill=(60, 44, 36, 200),
            width=max(1, size // 90),
        )
    pen.rectangle((size * 0.43, size * 1.17, size * 0.57, size * 1.3), fill=(70, 46, 32, 255))
    return layer


def lantern(size: int) -> Image.Image:
    """A sky lantern in its own glow."""
    layer = cut((255, 170, 80), glow(size * 4, size * 4, 2.6, 0.55))

    def paper(pen: ImageDraw.ImageDraw, scale: float) -> None:
        s = size * scale
        pen.polygon([(0.2 * s, 0.1 * s), (0.8 * s, 0.1 * s), (0.74 * s, 1.1 * s), (0.26 * s, 1.1 * s)], fill=255)
        pen.ellipse((0.2 * s, 0, 0.8 * s, 0.22 * s), fill=255)

    mask = silhouette(size, round(size * 1.15), paper).filter(ImageFilter.GaussianBlur(0.6))
    fill = gradient(size, mask.height, [(0, (240, 120, 50)), (0.75, (255, 205, 120)), (1, (255, 245, 205))])
    layer.paste(fill.convert("RGBA"), (round(size * 1.5), round(size * 1.4)), mask)
    return layer


def bird(size: int, lift: float, tone: Colour) -> Image.Image:
    """A gull; `lift` is how high its wings are, -1..1."""
    down = size

    def wings(p: Pencil) -> None:
        tip = 0.5 - 0.24 * lift
        for side in (-1, 1):
            edge = smooth([(0.5, 0.52), (0.5 + side * 0.2, 0.46 - 0.14 * lift), (0.5 + side * 0.48, tip)], 12)
            back = smooth([(0.5 + side * 0.48, tip), (0.5 + side * 0.2, 0.53 - 0.11 * lift), (0.5, 0.6)], 12)
            p.shape(*edge, *back)
        p.oval(0.47, 0.49, 0.53, 0.66)

    return cut(tone, outline(wings, size, down))
