"""How a job is told to a client: the words of its state and the fields of its result, per route."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from pydantic import JsonValue

Media = Literal["image", "video", "audio", "text"]


class Words(Enum):
    """The four vocabularies that clients of the API expect; some give up on any other word.

    Each says queued, processing, completed, failed, cancelled, in this order, in its nearest word.
    """

    UPPER = ("QUEUED", "PROCESSING", "COMPLETED", "FAILED", "FAILED")
    UPPER_PENDING = ("PENDING", "PROCESSING", "COMPLETED", "FAILED", "FAILED")
    LOWER = ("processing", "processing", "completed", "failed", "cancelled")
    LOWER_UNCANCELLED = ("processing", "processing", "completed", "failed", "failed")

    def spell(self, state: str) -> str:
        """The word for one of the five states."""
        return self.value[STATES.index(state)]

    def states(self, word: str) -> tuple[str, ...]:
        """The states that a word of this or the common vocabulary may mean; none for a strange word."""
        if word.lower() in STATES and word.upper() not in self.value:
            return (word.lower(),)
        return tuple(state for state in STATES if self.spell(state).lower() == word.lower())


STATES = ("queued", "processing", "completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished job's results: links to our files and each one's kind, a sound track apart, and what is no file."""

    links: Sequence[str] = ()
    sound: str | None = None
    facts: Mapping[str, JsonValue] | None = None
    kinds: Sequence[str] = ()


Pick = Callable[[Kept], JsonValue]


def first(kept: Kept) -> JsonValue:
    """The first file's link."""
    return kept.links[0] if kept.links else None


def every(kept: Kept) -> JsonValue:
    """All files' links, in the provider's order."""
    return list(kept.links)


def first_of(kind: Media) -> Pick:
    """The first file's link, where it is of this kind."""
    return lambda kept: first(kept) if kept.kinds[:1] == [kind] else None


def sound(kept: Kept) -> JsonValue:
    """The link of the separate sound track, where one was asked for."""
    return kept.sound


def fact(name: str) -> Pick:
    """A value that the provider gave beside or instead of files."""
    return lambda kept: (kept.facts or {}).get(name)


def origin(kept: Kept) -> JsonValue:
    """The link of the film before it was cropped, where the provider gave one."""
    place = (kept.facts or {}).get("origin")
    return kept.links[place] if isinstance(place, int) and 0 <= place < len(kept.links) else None


@dataclass(frozen=True)
class Answer:
    """The result fields of a route. All are null until the job is completed."""

    media: Media
    fields: Mapping[str, Pick]
    otherwise: Media | None = None  # a second kind that a result may be of

    def admits(self, kind: str) -> bool:
        """Whether a result may be of this kind."""
        return kind in (self.media, self.otherwise)

    def spell(self, kept: Kept | None) -> dict[str, JsonValue]:
        """The fields with their values."""
        return {name: None if kept is None else pick(kept) for name, pick in self.fields.items()}


Image = Answer("image", {"image_url": first})
Images = Answer("image", {"image_url": first, "image_urls": every})
Video = Answer("video", {"video_url": first})
VideoAndSound = Answer("video", {"video_url": first, "audio_url": sound})
VideoAndOrigin = Answer("video", {"video_url": first, "origin_url": origin, "resolution": fact("resolution")})
Character = Answer("text", {"character_id": fact("character_id")})
Sound = Answer("audio", {"audio_url": first})
Songs = Answer("audio", {"audio_url": first, "audio_urls": every})
Downloaded = Answer(
    "video",
    {"download_url": first, "video_url": first_of("video"), "audio_url": first_of("audio")},
    otherwise="audio",
)
