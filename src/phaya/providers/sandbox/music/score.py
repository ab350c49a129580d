"""The orchestra: a child process that turns a specification (JSON on stdin) into a WAV file.

It is a process of its own so that the server never loads numpy, and so that it can be stopped at any time.
"""

from __future__ import annotations

import json
import sys
import wave
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from phaya.providers.sandbox.music.ambience import soundscape
from phaya.providers.sandbox.music.composition import Piece, compose
from phaya.providers.sandbox.music.drums import STROKES, stroke
from phaya.providers.sandbox.music.instruments import BALANCE, RATE, Samples, tone

Stereo = NDArray[np.float32]
"""Samples of shape (2, n)."""
LOUDEST = 0.89


class Specification(TypedDict):
    """What is asked for: a song, or the sounds of a place (`land`, `hour`, `weather`) where `kind` is ambience."""

    kind: str
    path: str
    seconds: float
    seed: str
    text: str
    style: str
    instrumental: bool
    land: str
    hour: str
    weather: str
    water: bool


def play(piece: Piece) -> Stereo:
    """The piece, mixed: instruments and drums in one room, with a soft limit."""
    count = int(piece.seconds * RATE)
    music = np.zeros((2, count), dtype=np.float32)
    send = np.zeros((2, count // 2 + 1), dtype=np.float32)
    for note in piece.notes:
        samples = tone(note.voice, note.pitch, round(note.length * 1000))
        loud, room = BALANCE[note.voice]
        level = note.strength * loud
        sides = np.sqrt(np.array([[(1 - note.place) / 2], [(1 + note.place) / 2]], dtype=np.float32))
        for lap, share in enumerate((1.0, note.echo, note.echo**2) if note.echo else (1.0,)):
            start = note.start + lap * piece.beat * 0.75
            _add(music, samples, start, level * share, sides if lap != 1 else sides[::-1])
            if lap == 0:
                _add(send, samples[::2], start / 2, level * room, sides)
    if piece.style.pump:
        _pump(music, piece)
    middle = np.full((2, 1), np.float32(0.72))
    for hit in piece.hits:
        samples = stroke(hit.drum)
        level = hit.strength * STROKES[hit.drum]
        _add(music, samples, hit.start, level, middle)
        if hit.drum not in ("kick", "hat", "open", "shaker"):
            _add(send, samples[::2], hit.start / 2, level * 0.35, middle)
    music += reverberated(send, count) * np.float32(piece.style.room)
    return limited(music)


def _add(bus: Stereo, samples: Samples, start: float, level: float, sides: Stereo) -> None:
    first = int(start * RATE)
    part = samples[: max(0, bus.shape[1] - first)]
    if len(part):
        bus[:, first : first + len(part)] += part * (sides * np.float32(level))


def _pump(music: Stereo, piece: Piece) -> None:
    """Ducks the music under every kick, as dance music does."""
    fall = 1 - np.float32(piece.style.pump) * np.exp(
        -np.arange(int(piece.beat * RATE), dtype=np.float32) / np.float32(piece.beat * RATE * 0.22)
    )
    for hit in piece.hits:
        if hit.drum == "kick":
            first = int(hit.start * RATE)
            part = music[:, first : first + len(fall)]
            part *= fall[: part.shape[1]]


def reverberated(send: Stereo, count: int) -> Stereo:
    """The room's answer to what was sent at half the rate: noise that dies away, different on each side."""
    rng = np.random.default_rng(3)
    long = int(RATE / 2 * 2.4)
    time = np.arange(long, dtype=np.float32) / np.float32(RATE / 2)
    block = 1 << 17
    size = block * 2
    out = np.zeros((2, send.shape[1] + size), dtype=np.float32)
    for side in range(2):
        answer = (
            rng.standard_normal(long, dtype=np.float32) * np.exp(-time * np.float32(2.6)) * np.clip(time * 60, 0, 1)
        )
        answer = np.convolve(answer, np.ones(3, dtype=np.float32) / 3, mode="same")
        answer /= np.float32(np.sqrt(np.sum(answer**2)))
        spectrum = np.fft.rfft(answer.astype(np.float32), size)
        for first in range(0, send.shape[1], block):
            wet = np.fft.irfft(np.fft.rfft(send[side, first : first + block], size) * spectrum, size)
            out[side, first : first + size] += wet.astype(np.float32)
    full = np.empty((2, count + 2), dtype=np.float32)
    half = (count + 2) // 2
    full[:, : half * 2 : 2] = out[:, :half]
    full[:, 1 : half * 2 : 2] = (out[:, :half] + out[:, 1 : half + 1]) / 2
    if full.shape[1] > half * 2:
        full[:, half * 2 :] = 0
    return full[:, :count]


def limited(music: Stereo) -> Stereo:
    """Brings the loud passages to one level and rounds off what still stands out; the end fades to silence."""
    loud = float(np.quantile(np.abs(music[:, ::37]), 0.995)) or 1.0
    music *= np.float32(0.6 / loud)
    np.tanh(music, out=music)
    peak = float(np.max(np.abs(music))) or 1.0
    music *= np.float32(LOUDEST / peak)
    fade = min(music.shape[1], int(RATE * 0.9))
    music[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32) ** 1.5
    return music


def main() -> None:
    """Reads the specification and writes the file it names."""
    asked: Specification = json.load(sys.stdin)
    if asked["kind"] == "ambience":
        sound = limited(
            soundscape(asked["land"], asked["hour"], asked["weather"], asked["water"], asked["seconds"], asked["seed"])
        )
    else:
        sound = play(compose(asked["text"], asked["style"], asked["seconds"], asked["seed"], asked["instrumental"]))
    with wave.open(asked["path"], "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound.T * np.float32(32767)).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
