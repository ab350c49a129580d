"""Composing: from the words of a request to the notes of a whole piece. Knows nothing of samples."""

from __future__ import annotations

from dataclasses import dataclass, field

from phaya.providers.sandbox.chance import chance
from phaya.providers.sandbox.music import patterns
from phaya.providers.sandbox.music.genres import MAJOR, MINOR, PROGRESSIONS, Style, scale_of, style_of
from phaya.providers.sandbox.music.patterns import LOUD, Tone

RING = 2.6
"""Seconds that the last chord may ring after the last full bar."""
# Where the notes of a bar of melody start, in beats; a tune is made of two of these.
RHYTHMS = (
    (0.0, 1.0, 1.5, 2.0, 3.0),
    (0.0, 0.5, 1.0, 2.0, 3.0, 3.5),
    (0.0, 1.5, 2.0, 3.5),
    (0.5, 1.0, 1.5, 2.0, 3.0),
    (0.0, 0.75, 1.5, 2.0, 2.75, 3.5),
    (0.0, 1.0, 2.0, 2.5, 3.0),
    (0.0, 2.0, 3.0),
    (0.0, 0.5, 1.5, 2.5, 3.0),
)
STEPS = (-2, -1, -1, 0, 1, 1, 2, 3)


@dataclass(frozen=True, slots=True)
class Note:
    """A tone of a voice, its start and length in seconds."""

    start: float
    length: float
    pitch: int
    strength: float
    voice: str
    place: float = 0.0
    echo: float = 0.0


@dataclass(frozen=True, slots=True)
class Hit:
    """A stroke on a drum, its start in seconds."""

    start: float
    drum: str
    strength: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A note of a tune: where and how long in beats, and how many degrees above the last one."""

    beat: float
    beats: float
    step: int


@dataclass(slots=True)
class Piece:
    """A whole song. `beat` is the length of a beat in seconds."""

    seconds: float
    beat: float
    style: Style
    notes: list[Note] = field(default_factory=list[Note])
    hits: list[Hit] = field(default_factory=list[Hit])


class Composer:
    """Writes one piece, bar by bar."""

    def __init__(self, text: str, style_text: str, seconds: float, seed: str, instrumental: bool) -> None:
        self.rng = chance(seed, text, style_text)
        words = f"{style_text} {text}"
        self.style = style_of(words, self.rng)
        self.scale = scale_of(words, self.rng)
        self.key = self.rng.randrange(48, 60)
        family = "jazz" if self.style.walk == "walk" else "minor" if self.scale is MINOR else "major"
        self.verse, self.chorus = self.rng.sample(PROGRESSIONS[family], 2)
        self.lead = self.style.lead if instrumental else "voice"
        # The tempo gives way, so that whole bars fill the asked time.
        ring = min(RING, seconds * 0.25)
        wished = 240 / self.rng.uniform(*self.style.tempo)
        self.bars = max(1, round((seconds - ring) / wished))
        if self.bars > 6:
            self.bars -= self.bars % 2
        self.bar = (seconds - ring) / self.bars
        self.beat = self.bar / 4
        self.piece = Piece(seconds, self.beat, self.style)
        self.tunes = {role: self._tune() for role in ("verse", "chorus")}

    def compose(self) -> Piece:
        """Intro, verses and choruses with a pause between, and an end on the home chord."""
        roles = self._roles()
        for bar, role in enumerate(roles):
            progression = self.chorus if role in LOUD else self.verse
            closing = bar + 1 == len(roles) or roles[bar + 1] != role
            self._bar(bar, role, progression[bar % 4], closing)
        self._ending(len(roles))
        return self.piece

    def pitch(self, degree: int, octave: int = 0) -> int:
        """The MIDI pitch of a degree of the scale, counted from the key's own tone."""
        return self.key + 12 * (octave + degree // 7) + self.scale[degree % 7]

    def _roles(self) -> list[str]:
        """What each bar is part of. Sections have four bars, or eight where there is time."""
        sections = self.bars // 4
        if sections < 3:
            head = 1 if self.bars > 3 else 0
            return ["intro"] * head + ["chorus"] * (self.bars - head)
        course = ("verse", "chorus", "verse", "chorus", "break", "chorus")
        times = 2 if sections > 5 else 1
        middle = [course[index // times % len(course)] for index in range(sections - 2)]
        roles = [role for role in ("intro", *middle) for _ in range(4)]
        return roles + ["last"] * (self.bars - len(roles))

    def _chord(self, root: int) -> list[int]:
        """The chord's pitches, laid so that neighbouring chords lie close together."""
        tones = [self.pitch(root + 2 * index) for index in range(self.style.notes)]
        return sorted((tone - 53) % 12 + 53 for tone in tones)

    def _seconds(self, bar: int, beat: float) -> float:
        """When a beat is; with swing, every second quaver comes late."""
        late = self.style.swing * 0.5 if abs(beat % 1 - 0.5) < 0.01 else 0.0
        return bar * self.bar + (beat + late) * self.beat

    def _play(self, voice: str, bar: int, tone: Tone) -> None:
        strength = tone.strength * self.rng.uniform(0.92, 1.06)
        start, length = self._seconds(bar, tone.beat), tone.beats * self.beat
        self.piece.notes.append(Note(start, length, tone.pitch, strength, voice, tone.place, tone.echo))

    def _bar(self, bar: int, role: str, root: int, closing: bool) -> None:
        style, rng = self.style, self.rng
        chord = self._chord(root)
        if style.pad:
            for index, pitch in enumerate(chord):
                self._play(style.pad, bar, Tone(0, 4, pitch, 0.3 if role in LOUD else 0.24, (index - 1) * 0.5))
        for tone in patterns.accompaniment(style.figure, bar, role, chord, rng):
            self._play(style.chords, bar, tone)
        if role != "intro":
            triad = [self.pitch(root + 2 * index) for index in range(3)]
            passing = self.pitch(root + rng.choice((1, 3, 5)))
            for tone in patterns.bass(style, role, triad, passing):
                self._play(style.bass, bar, tone)
        if role not in patterns.QUIET:
            self._sing(bar, role, root)
        for stroke in patterns.drums(style.beat, bar, role, closing):
            start = self._seconds(bar, stroke.beat)
            self.piece.hits.append(Hit(start, stroke.drum, stroke.strength * rng.uniform(0.9, 1.05)))

    def _tune(self) -> list[list[Turn]]:
        """Four bars of a melody: the third takes up the first, the last one comes to rest."""
        first, second = self.rng.sample(RHYTHMS, 2)
        opening, answer, rest = (self._turns(r) for r in (first, second, first[: max(2, len(first) - 2)]))
        return [opening, answer, opening, rest]

    def _turns(self, starts: tuple[float, ...]) -> list[Turn]:
        ends = (*starts[1:], 4.0)
        return [Turn(start, end - start, self.rng.choice(STEPS)) for start, end in zip(starts, ends, strict=True)]

    def _sing(self, bar: int, role: str, root: int) -> None:
        full = role in LOUD
        degree = root % 7 + (2 if full else 0)
        low, high = (2, 10) if full else (0, 8)
        octave = 1 if self.key + 12 < 67 else 0
        for turn in self.tunes["chorus" if full else "verse"][bar % 4]:
            degree = self._within(degree + turn.step, low, high)
            if turn.beat in (0.0, 2.0):
                degree = self._on_chord(degree, root)
            elif self.style.gapped and degree % 7 in ((3, 6) if self.scale is MAJOR else (1, 5)):
                degree += 1 if turn.step >= 0 else -1
            long = turn.beats * 0.94
            self._play(self.lead, bar, Tone(turn.beat, long, self.pitch(degree, octave), 0.6, 0.0, 0.28))
            if full and (self.lead == "voice" or self.style.beat in ("four", "epic", "rock")):
                third = self.pitch(degree - 2, octave)
                self._play(self.lead, bar, Tone(turn.beat, long, third, 0.27, 0.45, 0.2))

    def _within(self, degree: int, low: int, high: int) -> int:
        """Turns a melody back at the edges of its range."""
        if degree > high:
            return 2 * high - degree
        if degree < low:
            return 2 * low - degree
        return degree

    def _on_chord(self, degree: int, root: int) -> int:
        """The nearest tone of the chord: strong beats belong to it."""
        tones = (root + tone + 7 * lap for lap in (-1, 0, 1) for tone in (0, 2, 4))
        return min(tones, key=lambda tone: abs(tone - degree))

    def _ending(self, bar: int) -> None:
        """The home chord, spread and left to ring."""
        left = (self.piece.seconds - bar * self.bar) / self.beat
        style = self.style
        for index, pitch in enumerate(self._chord(0)):
            for voice in dict.fromkeys((style.chords, style.pad or style.chords)):
                self._play(voice, bar, Tone(index * 0.06, left * 0.75, pitch, 0.34, (index - 1) * 0.4))
        self._play(style.bass, bar, Tone(0, left * 0.6, max(patterns.LOWEST, self.key - 24), 0.5))
        self._play(self.lead, bar, Tone(0, left * 0.5, self.pitch(7), 0.5, 0.0, 0.3))
        if style.beat not in ("none", "swing", "folk"):
            start = bar * self.bar
            self.piece.hits += [Hit(start, "kick", 0.7), Hit(start, "crash", 0.4)]


def compose(text: str, style: str, seconds: float, seed: str, instrumental: bool) -> Piece:
    """The piece that the words and the seed give."""
    return Composer(text, style, seconds, seed, instrumental).compose()
