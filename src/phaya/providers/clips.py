"""The size in which films are edited."""

from __future__ import annotations

from phaya.decoding.findings import Clip

LONG_SIDE, SHORT_SIDE = 1920, 1080
SMALLEST_SIDE = 16


def frame_of(clip: Clip) -> tuple[int, int]:
    """The size in which a film is edited: its own within 1920x1080 or 1080x1920, both sides even."""
    width, height = max(1, clip.width), max(1, clip.height)
    factor = min(LONG_SIDE / max(width, height), SHORT_SIDE / min(width, height), 1.0)
    return _even(width * factor), _even(height * factor)


def _even(side: float) -> int:
    return max(SMALLEST_SIDE, round(side / 2) * 2)
