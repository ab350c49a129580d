"""Pictures: a scene with its caption, a given picture restyled, and covers of songs."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter, ImageOps
from PIL.Image import Resampling

from phaya.providers.sandbox.chance import chance
from phaya.providers.sandbox.drawing import lettering, waters
from phaya.providers.sandbox.drawing.moods import Mood, mood_of
from phaya.providers.sandbox.drawing.scenery import paint
from phaya.providers.sandbox.drawing.textures import grain, levels, mix, ramp
from phaya.providers.sandbox.drawing.weather import falling

# Scenes are painted with at most this many pixels and enlarged from there; the words are set at full size.
PAINTED = 2_400_000
# Below this shorter side neither words nor figures have room: such pictures are made larger and reduced.
SMALLEST = 128


def view(prompt: str, width: int, height: int, seed: str) -> Image.Image:
    """The captioned scene that a prompt and a seed give."""
    if min(width, height) < SMALLEST:
        return view(prompt, *_enlarged(width, height), seed).resize((width, height), Resampling.BICUBIC)
    factor = min(1.0, math.sqrt(PAINTED / (width * height)))
    scene = paint(prompt, max(16, round(width * factor)), max(16, round(height * factor)), seed)
    image = scene.still()
    if image.size != (width, height):
        image = image.resize((width, height), Resampling.BICUBIC)
    return _finished(image, prompt, scene.mood, seed)


def restyled(still: Path, prompt: str, width: int, height: int, seed: str) -> Image.Image:
    """The given picture, painted over in the colours and the weather of the prompt."""
    if min(width, height) < SMALLEST:
        large = restyled(still, prompt, *_enlarged(width, height), seed)
        return large.resize((width, height), Resampling.BICUBIC)
    rng = chance(seed, prompt)
    mood = mood_of(prompt, rng)
    tones = mood.palette
    factor = min(1.0, math.sqrt(PAINTED / (width * height)))
    across, down = max(16, round(width * factor)), max(16, round(height * factor))
    unit = min(across, down)
    image = calmed(opened(still, across, down))
    # Brush strokes: the median of a smaller picture, with its edges brought back.
    brushed = image.reduce(2).filter(ImageFilter.MedianFilter(5)).resize((across, down), Resampling.BICUBIC)
    brushed = brushed.filter(ImageFilter.UnsharpMask(max(2.0, unit * 0.006), 90, 2))
    toned = ImageOps.colorize(
        ImageOps.autocontrast(brushed.convert("L"), 1), tones.near, tones.light, mix(tones.high, tones.low, 0.5)
    )
    image = Image.blend(brushed, toned, 0.6)
    lamp = Image.new("RGB", image.size)
    glow = waters.lamp(tones.light, round(max(across, down) * 1.3), 0.5 if mood.hour != "night" else 0.25)
    corner = round(across * rng.choice((0.08, 0.92)))
    lamp.paste(glow, (corner - glow.width // 2, -glow.height // 2), glow)
    image = ImageChops.screen(image, lamp)
    veil = ramp(across, down, [(0, 0), (0.55, 0.05), (1, 0.5)])
    image.paste(tones.haze, mask=veil)
    if mood.weather in ("rain", "snow"):
        sheet = falling(rng, mood.weather, across, down, unit, 0.8)
        image.paste(sheet, (0, 0), sheet)
    if image.size != (width, height):
        image = image.resize((width, height), Resampling.BICUBIC)
    return _finished(image, prompt, mood, seed)


def _enlarged(width: int, height: int) -> tuple[int, int]:
    factor = SMALLEST / max(1, min(width, height))
    return math.ceil(width * factor), math.ceil(height * factor)


def _finished(image: Image.Image, prompt: str, mood: Mood, seed: str) -> Image.Image:
    width, height = image.size
    if width * height <= PAINTED:
        fine = levels(grain(chance(seed), width, height), -9, 10)
        image = ImageChops.soft_light(image, Image.merge("RGB", [fine] * 3))
    words = lettering.caption(prompt, width, height, mood.palette.near, mood.palette.light)
    image.paste(words, (0, 0), words)
    return image


def sleeve(title: str, seed: str, size: int = 1024) -> Image.Image:
    """A song's cover: a scene out of its title, framed by the title itself."""
    scene = paint(title, size, size, seed)
    image = scene.still()
    words = lettering.plate(title, size, scene.mood.palette.top, scene.mood.palette.light)
    image.paste(words, (0, 0), words)
    return image


def calmed(image: Image.Image) -> Image.Image:
    """The picture, blurred towards its foot: words of its own would show through ours."""
    width, height = image.size
    unit = min(width, height)
    reach = min(height, round(unit * 0.42))
    foot = image.crop((0, height - reach, width, height))
    image.paste(
        foot.filter(ImageFilter.GaussianBlur(unit * 0.03)), (0, height - reach), ramp(width, reach, [(0, 0), (0.5, 1)])
    )
    return image


def opened(still: Path, width: int, height: int) -> Image.Image:
    """The picture in the file, upright, cut to the middle of the asked ratio. Raises OSError for no picture."""
    with Image.open(still) as picture:
        picture.draft("RGB", (width, height))
        upright = ImageOps.exif_transpose(picture)
        if upright.has_transparency_data:
            ground = Image.new("RGBA", upright.size, (255, 255, 255, 255))
            upright = Image.alpha_composite(ground, upright.convert("RGBA"))
        return ImageOps.fit(upright.convert("RGB"), (width, height), Resampling.BICUBIC)
