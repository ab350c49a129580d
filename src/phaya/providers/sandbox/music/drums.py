"""Drums: strokes as samples. Imported by child processes only, for it loads numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np

from phaya.providers.sandbox.music.instruments import RATE, Samples, faded, times

STROKES: Mapping[str, float] = {
    "kick": 0.6,
    "tom": 0.5,
    "snare": 0.75,
    "clap": 0.85,
    "crash": 0.25,
    "tap": 1.1,
    "shaker": 0.85,
    "ride": 0.6,
    "open": 0.4,
    "hat": 0.55,
}


@cache
def stroke(drum: str) -> Samples:
    """One stroke of a drum."""
    noise = np.random.default_rng(11).standard_normal(RATE, dtype=np.float32)
    high = np.diff(noise, prepend=np.float32(0)) * np.float32(0.5)
    time = times(1.0)

    def fades(rate: float) -> Samples:
        return np.exp(-time * np.float32(rate))

    def sweep(start: float, end: float, rate: float) -> Samples:
        return np.sin(
            np.float32(math.tau) * (np.float32(end) * time + np.float32((start - end) / rate) * (1 - fades(rate)))
        )

    match drum:
        case "kick":
            samples = sweep(160, 46, 28) * fades(7.5) + high * fades(220) * np.float32(0.3)
        case "snare":
            samples = sweep(250, 180, 40) * fades(22) * np.float32(0.6) + high * fades(17) * np.float32(0.8)
        case "clap":
            bursts = sum(
                (
                    np.where(time > wait, np.exp(-(time - np.float32(wait)) * np.float32(rate)), 0)
                    for wait, rate in ((0.0, 180), (0.011, 180), (0.023, 19))
                ),
                np.zeros_like(time),
            )
            samples = (high * np.float32(0.7) + noise * np.float32(0.15)) * bursts.astype(np.float32) * np.float32(0.6)
        case "open":
            samples = np.diff(high, prepend=np.float32(0)) * fades(11)
        case "ride":
            ring = sum(
                (np.sin(time * np.float32(math.tau * hertz)) for hertz in (3170, 4210, 5640, 7230)), np.zeros_like(time)
            )
            samples = (ring * np.float32(0.1) + np.diff(high, prepend=np.float32(0)) * np.float32(0.35)) * fades(7)
        case "crash":
            samples = np.diff(high, prepend=np.float32(0)) * fades(3.2) * np.float32(0.8)
        case "shaker":
            samples = np.diff(high, prepend=np.float32(0)) * fades(38) * np.clip(time * np.float32(60), 0, 1)
        case "tom":
            samples = sweep(130, 72, 12) * fades(6) + noise * fades(60) * np.float32(0.12)
        case "tap":
            samples = sweep(520, 380, 60) * fades(55) * np.float32(0.8) + high * fades(90) * np.float32(0.3)
        case _:
            samples = np.diff(high, prepend=np.float32(0)) * fades(60)
    return faded(samples.astype(np.float32), 0.0005, 0.1)
