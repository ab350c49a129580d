"""When which caption is seen: from a script or from what was heard, timed over the film."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from phaya.providers.transcription import Heard, Span
from phaya.providers.words import cut

LONGEST_CAPTION = 42
"""Signs of a caption that is made from what was heard: two lines of a narrow film."""
LONGEST_SECONDS = 5.0
PAUSE = 0.7
"""Seconds of silence that end a caption."""
SHORTEST = 0.4
"""Seconds for which a caption is seen at least."""


@dataclass(frozen=True)
class Caption:
    """One caption: its lines, each of words, and from when to when it is seen, in seconds."""

    lines: tuple[tuple[str, ...], ...]
    start: float
    end: float

    def word_starts(self) -> Iterator[float]:
        """When each word appears: by the letters before it, done a little before the caption ends."""
        words = [word for line in self.lines for word in line]
        total, before = sum(map(_weight, words)), 0
        for word in words:
            yield self.start + 0.85 * (self.end - self.start) * before / max(1, total)
            before += _weight(word)


def from_script(script: str, heard: Heard | None, seconds: float) -> list[Caption]:
    """Captions of a script: a newline begins the next, a pipe a new line.

    With speech the script runs along it, letter for letter; without, it is spread over the film by its letters.
    """
    texts = [text for line in script.splitlines() if (text := line.replace("|", " ").strip())]
    shown = [line for line in script.splitlines() if line.replace("|", " ").strip()]
    weights = [_weight(text) for text in texts]
    course = _Course(heard, seconds)
    total, before = max(1, sum(weights)), 0
    captions: list[Caption] = []
    for line, weight in zip(shown, weights, strict=True):
        lines = tuple(tuple(cut(part.strip())) for part in line.split("|") if part.strip())
        captions.append(Caption(lines, course.starts(before / total), course.ends((before + weight) / total)))
        before += weight
    return _apart(captions, seconds)


def from_speech(heard: Heard, seconds: float) -> list[Caption]:
    """Captions of what was heard, short enough to be read."""
    groups = _by_words(heard.words) if heard.words else [part for one in heard.segments for part in _pieces(one)]
    return _apart([Caption((tuple(cut(span.text)),), span.start, span.end) for span in groups], seconds)


def shifted(captions: Sequence[Caption], offset: float, seconds: float) -> list[Caption]:
    """The captions `offset` seconds later (or earlier), within the film."""
    found = [
        Caption(one.lines, max(0.0, one.start + offset), min(seconds, max(0.0, one.end + offset))) for one in captions
    ]
    return [one for one in found if one.end - one.start > 0.01]


class _Course:
    """Where in time a part of the text is, between its beginning (0) and its end (1)."""

    def __init__(self, heard: Heard | None, seconds: float) -> None:
        spans = (heard.words or heard.segments) if heard else ()
        self._spans: Sequence[Span] = spans or (Span("-", 0.0, seconds),)
        weights = [_weight(span.text) for span in self._spans]
        total, before = sum(weights), 0
        self._begins: list[float] = []
        for weight in weights:
            self._begins.append(before / total)
            before += weight

    def starts(self, part: float) -> float:
        """When what begins at this part is said; at a border between two words, with the later one."""
        return self._at(part, max(0, bisect_right(self._begins, part + 1e-9) - 1))

    def ends(self, part: float) -> float:
        """When what ends at this part is said; at a border, with the earlier word."""
        return self._at(part, max(0, bisect_right(self._begins, part - 1e-9) - 1))

    def _at(self, part: float, number: int) -> float:
        span, begin = self._spans[number], self._begins[number]
        end = self._begins[number + 1] if number + 1 < len(self._begins) else 1.0
        return span.start + (span.end - span.start) * min(1.0, (part - begin) / max(1e-9, end - begin))


def _by_words(words: Sequence[Span]) -> list[Span]:
    """Neighbouring words as captions; they end at a pause, or where they would become too long."""
    groups: list[Span] = []
    for word in words:
        last = groups[-1] if groups else None
        if last is not None:
            text = last.text + _between(last.text, word.text) + word.text
            near = word.start - last.end < PAUSE and word.end - last.start <= LONGEST_SECONDS
            if near and len(text) <= LONGEST_CAPTION and last.text[-1] not in ".!?…":
                groups[-1] = Span(text, last.start, word.end)
                continue
        groups.append(word)
    return groups


def _between(before: str, after: str) -> str:
    """Transcribers give words without the spaces around them; between two Thai words there is none."""
    return "" if _is_thai(before[-1]) and _is_thai(after[0]) else " "


def _is_thai(sign: str) -> bool:
    return "\u0e00" <= sign <= "\u0e7f"


def _pieces(segment: Span) -> Iterator[Span]:
    """A segment in captions short enough to be read, each with its share of the time."""
    texts = [""]
    for word in cut(segment.text):
        if texts[-1] and len(texts[-1]) + len(word.rstrip()) > LONGEST_CAPTION:
            texts.append("")
        texts[-1] += word
    total, before, length = sum(map(_weight, texts)), 0, segment.end - segment.start
    for text in texts:
        start = segment.start + length * before / total
        before += _weight(text)
        yield Span(text.strip(), start, segment.start + length * before / total)


def _weight(text: str) -> int:
    return max(1, sum(1 for sign in text if not sign.isspace()))


def _apart(captions: Sequence[Caption], seconds: float) -> list[Caption]:
    """Each caption is seen long enough to be noticed, and gone when the next one comes."""
    found: list[Caption] = []
    for number, one in enumerate(captions):
        latest = captions[number + 1].start if number + 1 < len(captions) else seconds
        end = min(max(one.end, one.start + SHORTEST), max(latest, one.start + 0.05))
        found.append(Caption(one.lines, one.start, end))
    return found
