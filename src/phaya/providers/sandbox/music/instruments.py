"""Instruments: tones as samples at 44.1 kHz. Imported by child processes only, for it loads numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
TABLE = 4096
Samples = NDArray[np.float32]
Signal = NDArray[np.float32] | NDArray[np.float64]


def times(seconds: float) -> Samples:
    """The moments of all samples of a sound, in seconds."""
    return np.arange(max(1, int(seconds * RATE)), dtype=np.float32) / np.float32(RATE)


def _table(weights: Sequence[float]) -> Samples:
    """One period of a tone with these harmonics."""
    spectrum = np.zeros(TABLE // 2 + 1, dtype=np.complex64)
    for number, weight in enumerate(weights[: TABLE // 2 - 1], start=1):
        # Scattered phases keep the peaks low.
        spectrum[number] = weight * np.exp(1j * (number * number * 0.7))
    wave = np.fft.irfft(spectrum).astype(np.float32)
    return wave / np.float32(np.max(np.abs(wave)))


@cache
def _saw(count: int, fall: float) -> Samples:
    return _table([number**-fall for number in range(1, count + 1)])


@cache
def _reed(count: int) -> Samples:
    return _table([(1.0 if number % 2 else 0.45) * number**-0.75 for number in range(1, count + 1)])


# The first formants of sung vowels: hertz and weight.
VOWELS = {
    "a": ((730, 1.0), (1090, 0.55), (2440, 0.22), (3400, 0.1)),
    "o": ((500, 1.0), (880, 0.4), (2540, 0.1), (3300, 0.06)),
    "u": ((330, 1.0), (800, 0.22), (2240, 0.06), (3200, 0.04)),
    "e": ((480, 1.0), (1840, 0.36), (2500, 0.28), (3500, 0.12)),
}


@cache
def _vowel(name: str, hertz: int) -> Samples:
    def weight(number: int) -> float:
        at = number * hertz
        peaks = sum(size * math.exp(-(((at - middle) / (90 + middle * 0.07)) ** 2)) for middle, size in VOWELS[name])
        return (peaks + 0.02) / number**0.35

    return _table([weight(number) for number in range(1, min(40, int(9000 / hertz)) + 1)])


def _harmonics(hertz: float, most: int) -> int:
    return max(1, min(most, int(11_000 / hertz)))


def _read(table: Samples, hertz: float, time: Samples, wobble: Samples | float = 0.0, start: float = 0.0) -> Samples:
    """The table played at a pitch; `wobble` shifts the phase, in periods."""
    phase = time * np.float32(hertz) + np.float32(start) + wobble
    places = (phase * np.float32(TABLE)).astype(np.int64) & (TABLE - 1)
    return table[places]


def _vibrato(hertz: float, time: Samples, depth: float, delay: float = 0.25, rate: float = 5.3) -> Samples:
    swell = np.clip((time - np.float32(delay)) * np.float32(2.5), 0, 1)
    return swell * np.sin(time * np.float32(math.tau * rate)) * np.float32(depth * hertz / rate / math.tau)


def faded(samples: Signal, attack: float, release: float) -> Samples:
    """The samples with a soft start and end, whose lengths are in seconds."""
    rise = min(len(samples), max(1, int(attack * RATE)))
    fall = min(len(samples), max(1, int(release * RATE)))
    samples[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    samples[-fall:] *= np.linspace(1, 0, fall, dtype=np.float32) ** 2
    return samples.astype(np.float32, copy=False)


def _struck(hertz: float, seconds: float, bright: int, dark: int, quick: float, slow: float, tail: float) -> Samples:
    """A string that is struck or plucked: the high harmonics die first."""
    time = times(seconds + tail)
    clear = _read(_saw(_harmonics(hertz, bright), 0.85), hertz, time) * np.exp(-time * np.float32(quick))
    full = _read(_saw(_harmonics(hertz, dark), 1.5), hertz * 1.0007, time) * np.exp(-time * np.float32(slow))
    return faded(clear * np.float32(0.55) + full * np.float32(0.75), 0.003, min(tail, 0.25))


def _piano(hertz: float, seconds: float) -> Samples:
    return _struck(hertz, seconds, 12, 5, 5.5, 1.3, 0.5)


def _guitar(hertz: float, seconds: float) -> Samples:
    return _struck(hertz, seconds, 22, 7, 9, 2.6, 0.4)


def _phin(hertz: float, seconds: float) -> Samples:
    tone = _struck(hertz, seconds, 30, 12, 8, 4.2, 0.3)
    doubled = tone + np.roll(tone, RATE // 900) * np.float32(0.35)
    return doubled.astype(np.float32, copy=False)


def _pluck(hertz: float, seconds: float) -> Samples:
    return _struck(hertz, seconds, 18, 4, 13, 5.5, 0.3)


def _electric(hertz: float, seconds: float) -> Samples:
    time = times(seconds + 0.4)
    turn = time * np.float32(math.tau * hertz)
    tine = np.sin(turn * np.float32(14)) * np.exp(-time * np.float32(28)) * np.float32(0.12)
    tone = np.sin(turn + np.sin(turn) * (np.float32(1.3) * np.exp(-time * np.float32(3.2)) + np.float32(0.15)))
    tremolo = 1 - np.float32(0.12) * (1 + np.sin(time * np.float32(math.tau * 4.6)))
    return faded((tone * np.exp(-time * np.float32(1.1)) + tine) * tremolo * np.float32(0.75), 0.004, 0.3)


def _bell(hertz: float, seconds: float) -> Samples:
    time = times(seconds + 1.6)
    tone = np.zeros_like(time)
    for ratio, size, fall in ((1, 0.6, 1.2), (2.0, 0.3, 2.0), (2.76, 0.22, 2.8), (5.4, 0.1, 5.0)):
        tone += (
            np.sin(time * np.float32(math.tau * hertz * ratio)) * np.exp(-time * np.float32(fall)) * np.float32(size)
        )
    return faded(tone, 0.004, 0.4)


def _round(hertz: float, seconds: float) -> Samples:
    time = times(seconds + 0.06)
    body = np.sin(time * np.float32(math.tau * hertz)) * np.float32(0.75)
    edge = _read(_saw(_harmonics(hertz, 9), 1.2), hertz, time) * np.exp(-time * np.float32(5)) * np.float32(0.4)
    return faded((body + edge) * np.exp(-time * np.float32(0.7)), 0.006, 0.06)


def _growl(hertz: float, seconds: float) -> Samples:
    time = times(seconds + 0.04)
    saw = _read(_saw(_harmonics(hertz, 16), 1.05), hertz, time) * (
        np.float32(0.35) + np.exp(-time * np.float32(7)) * np.float32(0.4)
    )
    return faded(
        np.tanh((saw + np.sin(time * np.float32(math.tau * hertz)) * np.float32(0.6)) * np.float32(1.4))
        * np.float32(0.8),
        0.004,
        0.04,
    )


def _driven(hertz: float, seconds: float) -> Samples:
    time = times(seconds + 0.05)
    raw = _read(_saw(_harmonics(hertz, 24), 0.8), hertz, time) + _read(
        _saw(_harmonics(hertz, 24), 0.8), hertz * 1.004, time, start=0.3
    )
    return faded(np.tanh(raw * np.float32(2.2)) * np.exp(-time * np.float32(0.9)) * np.float32(0.5), 0.004, 0.05)


def _lead(hertz: float, seconds: float) -> Samples:
    time = times(seconds + 0.12)
    wobble = _vibrato(hertz, time, 0.006)
    table = _saw(_harmonics(hertz, 14), 1.25)
    return faded(
        (_read(table, hertz, time, wobble) + _read(table, hertz * 1.005, time, wobble, 0.4)) * np.float32(0.42),
        0.02,
        0.12,
    )


def _flute(hertz: float, seconds: float) -> Samples:
    time = times(seconds + 0.12)
    wobble = _vibrato(hertz, time, 0.004)
    breath = np.random.default_rng(5).standard_normal(len(time), dtype=np.float32) * np.float32(0.012)
    return faded(_read(_table((1, 0.32, 0.14, 0.05)), hertz, time, wobble) * np.float32(0.8) + breath, 0.05, 0.12)


def _khaen(hertz: float, seconds: float) -> Samples:
    time = times(seconds + 0.1)
    puff = 1 - np.float32(0.16) * (1 + np.sin(time * np.float32(math.tau * 6.1)))
    return faded(_read(_reed(_harmonics(hertz, 18)), hertz, time) * puff * np.float32(0.55), 0.06, 0.1)


def _ensemble(
    hertz: float, seconds: float, harmonics: int, fall: float, attack: float, release: float, spread: float
) -> Samples:
    time = times(seconds + release)
    table = _saw(_harmonics(hertz, harmonics), fall)
    tone = np.zeros_like(time)
    for index, cents in enumerate((-spread, 0.0, spread)):
        tone += _read(table, hertz * 2 ** (cents / 1200), time, start=index * 0.37)
    return faded(tone * np.float32(0.34), min(attack, seconds / 2), release)


def _warm(hertz: float, seconds: float) -> Samples:
    return _ensemble(hertz, seconds, 7, 1.7, 0.35, 0.7, 6)


def _strings(hertz: float, seconds: float) -> Samples:
    return _ensemble(hertz, seconds, 16, 1.15, 0.09 if seconds < 0.8 else 0.22, 0.35, 8)


def _super(hertz: float, seconds: float) -> Samples:
    return _ensemble(hertz, seconds, 22, 0.95, 0.03, 0.2, 14)


def _voice(hertz: float, seconds: float) -> Samples:
    """A sung vowel that opens into another, with vibrato and a little breath."""
    time = times(seconds + 0.16)
    slide = -np.float32(0.03 * hertz / 18) * np.exp(-time * np.float32(18))
    wobble = _vibrato(hertz, time, 0.009, 0.18) + slide
    vowels = "aoeuao"
    choice = int(hertz * 7 + seconds * 100) % 5
    share = np.clip(time / np.float32(max(0.2, seconds)) * np.float32(1.4) - np.float32(0.2), 0, 1)
    one = _read(_vowel(vowels[choice], round(hertz)), hertz, time, wobble)
    other = _read(_vowel(vowels[choice + 1], round(hertz)), hertz, time, wobble)
    breath = (
        np.random.default_rng(choice).standard_normal(len(time), dtype=np.float32)
        * np.exp(-time * np.float32(14))
        * np.float32(0.05)
    )
    return faded((one + (other - one) * share) * np.float32(0.85) + breath, 0.045, 0.16)


VOICES: Mapping[str, Callable[[float, float], Samples]] = {
    "piano": _piano,
    "guitar": _guitar,
    "phin": _phin,
    "pluck": _pluck,
    "electric": _electric,
    "bell": _bell,
    "round": _round,
    "growl": _growl,
    "driven": _driven,
    "lead": _lead,
    "flute": _flute,
    "khaen": _khaen,
    "warm": _warm,
    "strings": _strings,
    "super": _super,
    "voice": _voice,
}


# How loud each is in the mix, and how much of it goes to the room.
BALANCE: Mapping[str, tuple[float, float]] = {
    "piano": (0.6, 0.8),
    "guitar": (0.66, 0.6),
    "phin": (0.6, 0.6),
    "pluck": (0.64, 0.8),
    "electric": (0.58, 0.7),
    "bell": (0.5, 1.2),
    "round": (0.56, 0.1),
    "growl": (0.55, 0.1),
    "driven": (0.5, 0.4),
    "lead": (0.44, 0.9),
    "flute": (0.55, 1.0),
    "khaen": (0.3, 0.6),
    "warm": (0.45, 1.0),
    "strings": (0.42, 1.0),
    "super": (0.38, 0.7),
    "voice": (0.4, 0.9),
}


@cache
def tone(voice: str, pitch: int, milliseconds: int) -> Samples:
    """A note of a voice; equal ones are made once."""
    return VOICES[voice](440 * 2 ** ((pitch - 69) / 12), milliseconds / 1000)
