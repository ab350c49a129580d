"""What falls from the sky: sheets of rain and snow that repeat seamlessly from top to bottom."""

from __future__ import annotations

from random import Random
from typing import Literal

from PIL import Image, ImageDraw, ImageFilter

from phaya.providers.sandbox.drawing.textures import cut


def falling(
    rng: Random, kind: Literal["rain", "snow"], width: int, height: int, unit: int, depth: float
) -> Image.Image:
    """A sheet twice as high as the frame whose halves are alike; a larger `depth` is nearer to the eye."""
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    area = width * height / unit**2
    if kind == "rain":
        for _ in range(round(area * 260)):
            x, y = rng.random() * width * 1.1, rng.random() * height
            long = unit * rng.uniform(0.03, 0.075) * (0.4 + 0.6 * depth)
            for lap in (0, -height):
                pen.line(
                    (x, y + lap, x - long * 0.12, y + lap + long),
                    fill=rng.randrange(50, 130),
                    width=max(1, round(unit * 0.0016 * depth)),
                )
    else:
        for _ in range(round(area * 170 * (1.5 - depth))):
            x, y = rng.random() * width, rng.random() * height
            size = unit * rng.uniform(0.0012, 0.0036) * (0.3 + depth)
            bright = rng.randrange(110, 245)
            for lap in (0, -height, height):
                pen.ellipse((x - size, y + lap - size, x + size, y + lap + size), fill=bright)
        mask = mask.filter(ImageFilter.GaussianBlur(unit * 0.0011 * depth))
    sheet = Image.new("L", (width, height * 2))
    sheet.paste(mask, (0, 0))
    sheet.paste(mask, (0, height))
    return cut((236, 242, 250), sheet)
