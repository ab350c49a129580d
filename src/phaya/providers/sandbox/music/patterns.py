"""Patterns: what the accompaniment, the bass and the drums play in one bar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from phaya.providers.sandbox.music.genres import Style

LOUD = ("chorus", "last")
QUIET = ("intro", "break")
LOWEST = 31
"""The lowest pitch of a bass."""


@dataclass(frozen=True, slots=True)
class Tone:
    """A note of a bar: where it starts and how long it is in beats, its MIDI pitch, strength (0..1), place
    (-1 left to 1 right) and how much of it echoes.
    """

    beat: float
    beats: float
    pitch: int
    strength: float
    place: float = 0.0
    echo: float = 0.0


@dataclass(frozen=True, slots=True)
class Stroke:
    """A stroke of a bar on a drum."""

    beat: float
    drum: str
    strength: float


def accompaniment(figure: str, bar: int, role: str, chord: Sequence[int], rng: Random) -> list[Tone]:
    """How the chord is broken up in this bar."""
    loud = 0.42 if role in LOUD else 0.32
    count = len(chord)
    match figure:
        case "held":
            return [
                Tone(beat, beats, pitch, loud * share, (index - 1.5) * 0.25)
                for beat, beats, share in ((0.0, 2.4, 1.0), (2.5, 1.4, 0.75))
                for index, pitch in enumerate(chord)
            ]
        case "comp":
            beats = (0.0, 1.5) if bar % 2 else (0.5, 2.5, 3.5)
            return [Tone(beat, 0.6, pitch, loud * 0.9, 0.25) for beat in beats for pitch in chord[1:]]
        case "eighths":
            power = ((chord[0] - 12, -0.6), (chord[0] - 5, 0.0), (chord[0], 0.6))
            beats = 0.95 if role in LOUD else 0.55
            return [
                Tone(half / 2, beats, pitch, loud * (0.62 if half % 2 else 0.8), place)
                for half in range(8)
                for pitch, place in power
            ]
        case "arpeggio":
            return [
                Tone(
                    step / 4,
                    0.3,
                    chord[(step * 3 + step // 4) % count] + (12 if step % 3 == 0 else 0),
                    loud * (0.8 if step % 4 else 1),
                    0.5 * (-1) ** step,
                    0.3,
                )
                for step in range(16)
            ]
        case "pulse":
            return [
                Tone(half / 2, 0.5, chord[index % count] - 12, loud * 0.7, -0.3)
                for half, index in enumerate((0, 2, 1, 2, 0, 2, 1, 2))
            ]
        case "broken":
            first = Tone(0.0, 1.6, chord[0] - 12, loud, -0.2)
            order = enumerate((2, 1, 2, 3, 2, 1, 2), start=1)
            return [
                first,
                *(
                    Tone(half / 2, 1.6, chord[index % count] + 12 * (index // count), loud * 0.7, -0.2)
                    for half, index in order
                ),
            ]
        case "sparse":
            return [
                Tone(beat, 3, rng.choice(chord) + 12, loud * 0.7, rng.uniform(-0.7, 0.7), 0.4)
                for beat in (0.0, 1.5, 3.0)
            ]
        case "strum":
            strokes = ((0.0, 1.0), (1.0, 0.7), (1.5, 0.55), (2.5, 0.75), (3.0, 0.7), (3.5, 0.5))
            return [
                Tone(beat + index * 0.03, 0.9, pitch, loud * share * 0.8, -0.35)
                for beat, share in strokes
                for index, pitch in enumerate(chord)
            ]
        case _:  # skipping quavers
            return [
                Tone(beat, 0.6, chord[step % count] + 12 * (step % 2), loud, 0.4 * (-1) ** step, 0.2)
                for step, beat in enumerate((0.0, 0.75, 1.5, 2.0, 2.75, 3.5))
            ]


def bass(style: Style, role: str, chord: Sequence[int], passing: int) -> list[Tone]:
    """The bass line under a root, its third and fifth; `passing` leads a walking bass to the next bar."""
    root, third, fifth = (_deep(pitch) for pitch in chord[:3])
    match style.walk:
        case "walk":
            line = (root, third, fifth, _deep(passing))
            return [Tone(beat, 0.9, pitch, 0.62) for beat, pitch in enumerate(line)]
        case "fifths":
            return [Tone(0, 1.7, root, 0.6), Tone(2, 1.7, fifth, 0.52)]
        case "offbeat":
            line = [Tone(beat + 0.5, 0.45, root, 0.62) for beat in range(4)]
            octaves = [Tone(beat + 0.75, 0.22, root + 12, 0.34) for beat in range(4)]
            return [*line, *octaves] if role in LOUD else line
        case _ if style.beat == "rock":
            return [Tone(half / 2, 0.48, root, 0.56) for half in range(8)]
        case _ if style.beat == "none":
            return [Tone(0, 3.8, root, 0.45)]
        case _:
            return [Tone(beat, beats, root, 0.58) for beat, beats in ((0.0, 1.4), (1.5, 0.9), (2.5, 1.3))]


def _deep(pitch: int) -> int:
    return (pitch - LOWEST) % 12 + LOWEST


def drums(beat: str, bar: int, role: str, closing: bool) -> list[Stroke]:
    """The drums of a bar; `closing` ends a section with a fill."""
    quiet = role in QUIET
    strokes = [*_always(beat, role), *(() if quiet else _groove(beat))]
    light = beat in ("none", "swing", "folk")
    if closing and not quiet and not light:
        fill = (Stroke(3 + step / 4, "tom" if step % 2 else "snare", 0.4 + step * 0.1) for step in range(4))
        strokes = [*(stroke for stroke in strokes if stroke.beat < 3), *fill]
    if role in LOUD and bar % 4 == 0 and not light and beat != "lofi":
        strokes.append(Stroke(0, "crash", 0.4))
    return strokes


def _on(drum: str, strength: float, beats: Iterable[float]) -> list[Stroke]:
    return [Stroke(beat, drum, strength) for beat in beats]


def _eighths(drum: str, strong: float, weak: float) -> list[Stroke]:
    return [Stroke(half / 2, drum, weak if half % 2 else strong) for half in range(8)]


def _always(beat: str, role: str) -> list[Stroke]:
    """What goes on in quiet parts too."""
    match beat:
        case "none":
            return []
        case "four":
            kicks = [] if role == "break" else _on("kick", 0.95, range(4))
            return [*kicks, *_on("open", 0.3, (0.5, 1.5, 2.5, 3.5))]
        case "rock":
            return _eighths("hat", 0.46, 0.36)
        case "lofi":
            return _eighths("hat", 0.3, 0.22)
        case "swing":
            return [*_on("ride", 0.32, (0, 1, 1.5, 2, 3, 3.5)), *_on("hat", 0.26, (1, 3))]
        case "epic":
            return _on("tom", 0.5 if role in QUIET else 0.9, (0,))
        case "folk":
            return _eighths("shaker", 0.2, 0.3)
        case _:
            return _eighths("hat", 0.34, 0.24)


def _groove(beat: str) -> list[Stroke]:
    """What only the full parts have."""
    match beat:
        case "none":
            return []
        case "four":
            return [*_on("clap", 0.6, (1, 3)), *_on("hat", 0.18, (step / 4 for step in range(16)))]
        case "rock":
            kicks = [*_on("kick", 0.95, (0,)), *_on("kick", 0.9, (2,)), *_on("kick", 0.75, (2.5,))]
            return [*kicks, *_on("snare", 0.85, (1, 3))]
        case "lofi":
            kicks = [*_on("kick", 0.8, (0,)), *_on("kick", 0.5, (1.75,)), *_on("kick", 0.7, (2.5,))]
            return [*kicks, *_on("snare", 0.5, (1, 3))]
        case "swing":
            return [*_on("kick", 0.35, (0,)), *_on("snare", 0.16, (3.5,))]
        case "epic":
            return [*_on("tom", 0.6, (2.5,)), *_on("tom", 0.75, (3,)), *_eighths("shaker", 0.16, 0.16)]
        case "folk":
            return [*_on("kick", 0.55, (0, 2)), *_on("tap", 0.4, (1, 3)), *_on("tap", 0.25, (3.5,))]
        case _:
            kicks = [*_on("kick", 0.9, (0,)), *_on("kick", 0.55, (1.5,)), *_on("kick", 0.8, (2,))]
            return [*kicks, *_on("clap", 0.55, (1, 3)), *_on("snare", 0.4, (1, 3))]
