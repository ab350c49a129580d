"""Widths and heights: what a ratio and a resolution mean in pixels."""

from __future__ import annotations

import math

# A picture of about a million pixels, as the models that name only a ratio give.
PICTURES = {
    "1:1": (1024, 1024),
    "4:3": (1152, 864),
    "3:4": (864, 1152),
    "16:9": (1280, 720),
    "9:16": (720, 1280),
    "3:2": (1248, 832),
    "2:3": (832, 1248),
    "5:4": (1120, 896),
    "4:5": (896, 1120),
    "21:9": (1512, 648),
    "4:1": (2048, 512),
    "1:4": (512, 2048),
    "8:1": (2816, 352),
    "1:8": (352, 2816),
    "auto": (1024, 1024),
}
LONG_SIDES = {"2K": 2048, "3K": 3072, "4K": 4096}
FILM_AREAS = {"480p": 864 * 480, "720p": 1280 * 720, "1080p": 1920 * 1080}


def picture_size(ratio: str, resolution: str = "1K") -> tuple[int, int]:
    """Pixels of a picture: about a million for 1K, else by the long side."""
    width, height = PICTURES[ratio]
    factor = max(1.0, LONG_SIDES.get(resolution, 0) / max(width, height))
    return _even(width * factor, 2), _even(height * factor, 2)


def film_size(ratio: str, resolution: str) -> tuple[int, int]:
    """Pixels of a film: every ratio has the area that the resolution has at 16:9. Both sides are even."""
    across, down = (int(part) for part in ratio.split(":"))
    width = math.sqrt(FILM_AREAS[resolution] * across / down)
    return _even(width, 8), _even(width * down / across, 8)


def _even(length: float, step: int) -> int:
    return max(step, round(length / step) * step)
