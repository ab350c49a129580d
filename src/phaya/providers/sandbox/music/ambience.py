"""How a place sounds: wind, waves, rain, crickets, birds, the hum of a city, and a slow chord over it."""

from __future__ import annotations

import math

import numpy as np

from phaya.providers.sandbox.music.composition import Composer
from phaya.providers.sandbox.music.instruments import RATE, Samples, tone


def soundscape(land: str, hour: str, weather: str, water: bool, seconds: float, seed: str) -> Samples:
    """Stereo samples of shape (2, n)."""
    count = int(seconds * RATE)
    rng = np.random.default_rng(list(seed.encode()))
    time = np.arange(count, dtype=np.float32) / np.float32(RATE)
    sound = np.zeros((2, count), dtype=np.float32)
    for side in range(2):
        if weather == "rain":
            sound[side] += _coloured(rng, count, 600, 9000, 0.1) * np.float32(0.2)
        if land == "sea":
            swell = 0.35 + 0.65 * np.sin(math.pi * ((time / 6.5 + 0.1 * side) % 1)) ** 3
            sound[side] += _coloured(rng, count, 60, 2500, 0.6) * swell.astype(np.float32) * np.float32(0.3)
        elif water:
            sound[side] += _coloured(rng, count, 300, 1800, 0.5) * np.float32(0.06)
        gusts = 0.5 + 0.3 * np.sin(time * 0.9 + side) + 0.2 * np.sin(time * 2.3 + 2 * side)
        strength = {"mountain": 0.22, "snow": 0.24, "desert": 0.26, "city": 0.1}.get(land, 0.12)
        sound[side] += _coloured(rng, count, 90, 700, 0.9) * gusts.astype(np.float32) * np.float32(strength)
        if land == "city":
            sound[side] += _coloured(rng, count, 30, 220, 0.8) * np.float32(0.3)
    if hour == "night" and land not in ("snow", "city", "sea", "desert") and weather != "rain":
        _crickets(rng, sound, time)
    if hour in ("dawn", "day") and land in ("forest", "field", "hills", "mountain") and weather != "rain":
        _birds(rng, sound, seconds)
    _chords(sound, f"{land} {hour}", seconds, seed)
    edge = min(count, int(RATE * 0.5))
    sound[:, :edge] *= np.linspace(0, 1, edge, dtype=np.float32)
    return sound


def _coloured(rng: np.random.Generator, count: int, low: float, high: float, tilt: float) -> Samples:
    """Noise between two pitches; a larger tilt takes more of the height. Its power is 1."""
    # A length whose factors are small makes the transform quick.
    size = 1 << max(1, count - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(size, dtype=np.float32))
    hertz = np.fft.rfftfreq(size, 1 / RATE) + 1
    gain = (hertz / low) ** -tilt / (1 + (low / hertz) ** 4) / (1 + (hertz / high) ** 4)
    noise = np.fft.irfft(spectrum * gain, size)[:count]
    return (noise / (np.std(noise) or 1)).astype(np.float32)


def _crickets(rng: np.random.Generator, sound: Samples, time: Samples) -> None:
    for _ in range(4):
        pitch, rate, phase, place = rng.uniform(3800, 5200), rng.uniform(1.4, 2.4), rng.random(), rng.random()
        chirp = np.clip(np.sin(math.tau * (time * rate + phase)), 0, 1) * np.clip(np.sin(math.tau * time * 31), 0, 1)
        voice = (np.sin(math.tau * pitch * time) * chirp).astype(np.float32)
        sound[0] += voice * np.float32(0.035 * (1 - place))
        sound[1] += voice * np.float32(0.035 * place)


def _birds(rng: np.random.Generator, sound: Samples, seconds: float) -> None:
    for _ in range(max(1, round(seconds * 0.8))):
        start, place, base = rng.uniform(0, seconds), rng.random(), rng.uniform(2300, 4200)
        for call in range(int(rng.integers(2, 6))):
            long = rng.uniform(0.05, 0.13)
            time = np.arange(int(long * RATE), dtype=np.float32) / np.float32(RATE)
            bend = base * (time + rng.uniform(-2.2, 2.2) * time**2)
            voice = np.sin(math.tau * bend) * np.sin(math.pi * time / long) ** 2 * 0.07
            first = int((start + call * 0.16) * RATE)
            room = max(0, sound.shape[1] - first)
            sound[0, first : first + len(voice)] += (voice * (1 - place))[:room].astype(np.float32)
            sound[1, first : first + len(voice)] += (voice * place)[:room].astype(np.float32)


def _chords(sound: Samples, words: str, seconds: float, seed: str) -> None:
    """Slow chords, with a bell now and then."""
    composer = Composer(words, "ambient", max(4.0, seconds), seed, True)
    long = seconds / max(1, round(seconds / 5))
    for index in range(max(1, round(seconds / 5))):
        root = composer.verse[index % 4]
        for number, degree in enumerate((root - 7, root, root + 2, root + 4)):
            pitch = composer.pitch(degree)
            _mix(sound, tone("warm", pitch, round(long * 1000)), index * long, 0.11, (number + 1) / 5)
        for beat in range(3):
            degree = root + composer.rng.choice((0, 2, 4, 7))
            _mix(
                sound,
                tone("bell", composer.pitch(degree, 1), 900),
                index * long + beat * long / 3 + 0.3,
                0.07,
                composer.rng.random(),
            )


def _mix(sound: Samples, voice: Samples, start: float, level: float, place: float) -> None:
    first = int(start * RATE)
    part = voice[: max(0, sound.shape[1] - first)]
    sound[0, first : first + len(part)] += part * np.float32(level * (1 - place))
    sound[1, first : first + len(part)] += part * np.float32(level * place)
