"""The narrator: a child process that reads a text (JSON on stdin) in a made-up voice, as samples in a file.

Vowels are harmonics under the formants of the letter, other consonants noise or hum; the pitch falls towards a
sentence's end. It is no language, but it has a voice, words, pauses and the length that a reading would have.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

RATE = 24_000
LOUDEST = 0.8
HARMONICS = 28
# Formants in hertz, by the vowels' usual places in the mouth.
VOWELS = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
    (500, 1500, 2500),
)
BY_LETTER = dict(zip("aeiou", range(5), strict=True)) | dict(zip("ะเิโุ", range(5), strict=True))
BREATHS, HUMS = "fhsxzcktpqซสศษฉชถขคผฝพทธ", "lmnrwyjvงนมณญยรลว"


class Specification(TypedDict):
    """What is asked for: where to write, the text, in whose voice, and how many seconds."""

    path: str
    text: str
    voice: str
    seconds: float


def chance(*words: str) -> float:
    """A number 0..1 that the words always give."""
    return int.from_bytes(sha256("\0".join(words).encode()).digest()[:4]) / 2**32


def narrate(text: str, voice: str, seconds: float) -> Samples:
    """The whole reading."""
    count = round(seconds * RATE)
    signs = list(text) or [" "]
    edges = np.linspace(0, count, len(signs) + 1).astype(int)
    pitch = 95 + 125 * chance(voice, "pitch")
    size = 0.88 + 0.26 * chance(voice, "size")  # a smaller head has higher formants
    rng = np.random.default_rng(int(chance(voice, text) * 2**31))
    out = np.zeros(count)
    phase = 0.0
    for index, sign in enumerate(signs):
        length = int(edges[index + 1] - edges[index])
        if length <= 0:
            continue
        time = np.arange(length) / RATE
        till = next(
            (ahead for ahead in range(index, min(index + 24, len(signs))) if signs[ahead] in ".!?\n"), index + 24
        )
        hertz = pitch * (0.82 + 0.012 * (till - index) + 0.1 * chance(sign, str(index // 4)))
        wave = spoken(sign.lower(), hertz, phase, size, time, rng)
        phase = (phase + hertz * length / RATE) % 1.0
        edge = min(length // 3, 200)
        if edge:
            ramp = np.linspace(0.15, 1, edge)
            wave[:edge] *= ramp
            wave[-edge:] *= ramp[::-1]
        out[edges[index] : edges[index + 1]] = wave
    peak = float(np.max(np.abs(out))) if count else 0.0
    return out * (LOUDEST / peak) if peak else out


def spoken(sign: str, hertz: float, phase: float, size: float, time: Samples, rng: np.random.Generator) -> Samples:
    """One sign of the text."""
    if not sign.isalnum() and sign not in BY_LETTER:
        return np.zeros(len(time))
    if sign in BREATHS:
        return 0.12 * np.diff(rng.standard_normal(len(time) + 1))
    humming = sign in HUMS
    formants = VOWELS[BY_LETTER.get(sign, int(6 * chance(sign, "vowel")))]
    numbers = np.arange(1, HARMONICS + 1)
    tones = numbers * hertz
    weights = np.zeros(HARMONICS)
    for formant, share, width in zip(formants, (1.0, 0.5, 0.25), (90, 130, 200), strict=True):
        weights += share * np.exp(-(((tones - formant * size) / (1.6 * width)) ** 2))
    weights = (weights + 0.03) / numbers**0.4 * (tones < RATE / 2.2)
    if humming:
        weights *= np.exp(-tones / 700)
    turns = phase + hertz * (time + 0.0008 * np.sin(2 * np.pi * 5 * time))
    return np.sin(2 * np.pi * numbers[:, None] * turns[None, :]).T @ weights * (0.5 if humming else 1.0)


def main() -> None:
    """Reads the specification and writes the samples: 16 bits, little-endian, 24 kHz, mono."""
    asked: Specification = json.load(sys.stdin)
    sound = narrate(asked["text"], asked["voice"], asked["seconds"])
    Path(asked["path"]).write_bytes((sound * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
