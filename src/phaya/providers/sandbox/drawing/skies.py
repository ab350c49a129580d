"""Skies: light from top to horizon, sun or moon, clouds, stars and northern lights."""

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
    gradient,
    grain,
    levels,
    mix,
    noise,
    ramp,
    relief,
    silhouette,
)


def sky(rng: Random, mood: Mood, width: int, height: int, horizon: int, sun: tuple[int, int]) -> Image.Image:
    """The backdrop of a scene, with the light that the sun or moon throws into it."""
    tones = mood.palette
    end = horizon / height
    image = gradient(
        width,
        height,
        [(0, tones.top), (end * 0.45, tones.high), (end * 0.82, tones.low), (end, tones.horizon)],
    )
    if mood.hour == "night" and mood.weather != "rain":
        _milky_way(rng, image, horizon, tones.light)
        _stars(rng, image, horizon)
    reach = max(width, height)
    _shine(image, sun, reach * 2, mix(tones.horizon, tones.light, 0.35), 2.4, 0.3 if mood.hour == "night" else 0.75)
    _shine(image, sun, round(reach * 0.8), tones.light, 3.2, 0.35 if mood.hour == "night" else 0.7)
    # A little grain, without which long gradients show steps.
    dither = levels(grain(rng, width, height), -5, 6)
    return ImageChops.soft_light(image, Image.merge("RGB", [dither] * 3))


def _shine(image: Image.Image, centre: tuple[int, int], size: int, tone: Colour, power: float, most: float) -> None:
    image.paste(tone, (centre[0] - size // 2, centre[1] - size // 2), glow(size, size, power, most))


def _stars(rng: Random, image: Image.Image, horizon: int) -> None:
    width = image.width
    unit = min(image.size)
    pen = ImageDraw.Draw(image, "RGBA")
    for _ in range(round(width * horizon / unit**2 * 420)):
        x, y = rng.random() * width, rng.random() ** 1.4 * horizon
        dim = 1 - 0.8 * y / horizon
        size = unit * (0.0004 + 0.0011 * rng.random() ** 6)
        tone = rng.choice(((255, 255, 255), (255, 236, 214), (208, 224, 255)))
        alpha = round(255 * dim * (0.3 + 0.7 * rng.random() ** 2))
        pen.ellipse((x - size, y - size, x + size, y + size), fill=(*tone, alpha))


def _milky_way(rng: Random, image: Image.Image, horizon: int, tone: Colour) -> None:
    width = image.width
    long = round(math.hypot(width, horizon) * 1.3)
    broad = round(min(image.size) * 0.75)
    band = ImageChops.multiply(
        levels(noise(rng, long, broad, broad * 0.5), 0.2, 1.1),
        ramp(long, broad, [(0, 0), (0.5, 0.5), (1, 0)]),
    )
    pen = ImageDraw.Draw(band)
    for _ in range(round(long * broad / min(image.size) ** 2 * 900)):
        place = rng.random() * long, broad * (0.5 + rng.gauss(0, 0.16))
        pen.point(place, fill=rng.randrange(70, 220))
    band = band.rotate(rng.uniform(20, 50) * rng.choice((1, -1)), Resampling.BILINEAR, expand=True)
    image.paste(tone, ((width - band.width) // 2, (horizon - band.height) // 2 - horizon // 6), band)


def twinkles(rng: Random, width: int, horizon: int, unit: int, count: int) -> Image.Image:
    """A layer of a few large stars with rays, of which a film shows several in turn."""
    layer = Image.new("RGBA", (width, max(1, horizon)), (255, 255, 255, 0))
    for _ in range(count):
        size = max(9, round(unit * rng.uniform(0.012, 0.024)))
        x, y = rng.randrange(width), int(rng.random() ** 1.5 * horizon * 0.75)
        star = glow(size, size, 5, 0.9)
        rays = glow(size, max(3, size // 9), 2.5, 0.8)
        star.paste(rays, (0, (size - rays.height) // 2), rays)
        upright = rays.transpose(Image.Transpose.ROTATE_90)
        star.paste(upright, ((size - upright.width) // 2, 0), upright)
        layer.paste((255, 255, 255, 255), (x - size // 2, y - size // 2), star)
    return layer


def sun_or_moon(rng: Random, mood: Mood, unit: int) -> Image.Image:
    """A square layer with the disc and its bloom; the disc has a fifth of its width."""
    night = mood.hour == "night"
    size = round(unit * (0.6 if night else 0.75))
    disc = size // (5 if night else 6)
    tone = mood.palette.light
    layer = cut(tone, glow(size, size, 3.0, 0.5 if night else 0.85))
    place = (size - disc) // 2
    round_mask = silhouette(
        disc, disc, lambda pen, scale: pen.ellipse((2, 2, disc * scale - 3, disc * scale - 3), fill=255)
    )
    if night:
        face = noise(rng, disc, disc, disc * 0.45, 4)
        craters = levels(face, 0.15, 0.95)
        surface = Image.composite(
            Image.new("RGB", (disc, disc), tone),
            Image.new("RGB", (disc, disc), mix(tone, mood.palette.high, 0.35)),
            craters,
        )
        if rng.random() < 0.45:
            bite = silhouette(
                disc,
                disc,
                lambda pen, scale: pen.ellipse((-disc * 0.62, -disc * 0.3, disc * 1.38, disc * 1.7), fill=255),
            ).filter(ImageFilter.GaussianBlur(disc * 0.02))
            round_mask = ImageChops.subtract(round_mask, bite)
    else:
        surface = Image.new("RGB", (disc, disc), mix(tone, (255, 255, 255), 0.5))
        round_mask = round_mask.filter(ImageFilter.GaussianBlur(disc * 0.015))
    layer.paste(surface.convert("RGBA"), (place, place), round_mask)
    return layer


def clouds(rng: Random, mood: Mood, width: int, height: int, unit: int) -> Image.Image:
    """A wide layer of clouds, lit from below towards the horizon."""
    rain = mood.weather == "rain"
    sheet = noise(rng, width, height, unit * 0.42, 6, stretch=2.6)
    low = 0.32 if rain else rng.uniform(0.5, 0.62)
    body = levels(sheet, low, low + 0.42, 0.9 if rain else 0.72)
    body = ImageChops.multiply(body, ramp(width, height, [(0, 0.15), (0.35, 0.9), (0.75, 1), (1, 0)]))
    tones = mood.palette
    if rain:
        fill = gradient(width, height, [(0, mix(tones.top, (0, 0, 0), 0.25)), (1, mix(tones.low, tones.high, 0.4))])
    elif mood.hour == "day":
        fill = gradient(width, height, [(0, (255, 255, 255)), (1, mix(tones.horizon, (255, 255, 255), 0.6))])
    elif mood.hour == "night":
        fill = gradient(width, height, [(0, mix(tones.high, tones.low, 0.5)), (1, mix(tones.low, tones.horizon, 0.7))])
    else:
        warm = mix(tones.horizon, tones.light, 0.4)
        fill = gradient(
            width, height, [(0, mix(tones.high, tones.low, 0.55)), (0.6, mix(tones.low, warm, 0.6)), (1, warm)]
        )
    shade = relief(sheet.filter(ImageFilter.GaussianBlur(unit * 0.004)), 0, -max(1, round(unit * 0.022)), 1.5)
    return cut(ImageChops.soft_light(fill, Image.merge("RGB", [shade] * 3)), body)


def aurora(rng: Random, width: int, height: int, unit: int) -> Image.Image:
    """Curtains of green and violet light."""
    rays = noise(rng, width, 8, unit * 0.05, 4).resize((width, height), Resampling.BILINEAR)
    body = Image.new("L", (width, height))
    bands = Image.new("L", (width, height))
    pen = ImageDraw.Draw(bands)
    for _ in range(3):
        base, swing, phase, waves = (
            rng.uniform(0.5, 0.85),
            rng.uniform(0.05, 0.13),
            rng.random() * 7,
            rng.uniform(1, 2.2),
        )
        path = [
            (
                x,
                height
                * (base + swing * math.sin(phase + x / width * waves * math.tau) + 0.02 * math.sin(x / unit * 9)),
            )
            for x in range(0, width + 8, 8)
        ]
        pen.line(path, fill=210, width=max(2, round(unit * 0.012)), joint="curve")
    # A curtain is its hem, smeared upwards.
    for step in range(12):
        shifted = ImageChops.offset(bands, 0, -round(height * 0.036 * step))
        body = ImageChops.add(body, levels(shifted, 0, 1, 0.5 * (1 - step / 12) ** 1.5))
    body = body.filter(ImageFilter.BoxBlur(unit * 0.018))
    body = ImageChops.multiply(body, levels(rays, -0.3, 0.9))
    body = ImageChops.multiply(body, ramp(width, height, [(0, 0), (0.2, 0.8), (1, 1)]))
    return cut(gradient(width, height, [(0, (150, 90, 230)), (0.5, (70, 230, 170)), (1, (150, 255, 190))]), body)
