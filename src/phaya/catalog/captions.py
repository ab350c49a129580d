"""What is said in films: as text, and as captions in the film."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from phaya.calls import LocalCall, Subtitle, Transcribe
from phaya.catalog.answers import Answer, Video, Words, fact
from phaya.catalog.editing import Edit
from phaya.catalog.fields import MB, Address, Aliases, Input, Multiline
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits, credits

RATES = {"minute": credits("0.17"), "at least": credits("0.07")}
_ROUNDING = 0.1
"""Seconds that are not charged: containers last a frame or a block of sound longer than what was cut."""
LONGEST = 3600


def by_length(rates: Rates, seconds: float) -> Credits:
    """A sixtieth of the price of a minute for each second begun (60 s cost what a minute costs), and the least
    price at least. A part of a unit counts as a whole one."""
    begun = max(1, math.ceil(seconds - _ROUNDING))
    return max(rates["at least"], Credits(-(-rates["minute"].units * begun // 60)))


def _not_blank(script: str) -> str:
    if not script.replace("|", " ").strip():
        raise ValueError("must hold a text; leave it out to have the speech transcribed")
    return script


class TranscribeMedia(Edit):
    """Transcribe: what is said in a film or sound, with times."""

    path = "media/transcribe"
    answer = Answer("text", {"text": fact("text"), "segments": fact("segments")})
    rates = RATES
    example = {"media_url": "https://example.com/talk.mp4", "language": "th"}
    seconds = 30
    priced_by_length = True

    media_url: Annotated[
        Address,
        Aliases(("video_url", "audio_url", "url")),
        Input("video", 200 * MB, longest=LONGEST, otherwise="audio"),
        Field(description="The film or sound."),
    ]
    language: Annotated[
        str | None,
        Field(pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,4})?$", description="Its language, such as th; unset: as heard."),
    ] = None

    def price(self, rates: Rates) -> Credits:
        """By the length of what is heard."""
        return by_length(rates, self.length_of("media_url"))

    def call(self) -> LocalCall:
        """The address is a key in our storage by now. Transcribers know no countries."""
        return Transcribe(self.media_url, self.language.partition("-")[0] if self.language else None)


class ThaiSubtitle(Generation):
    """Thai subtitles: captions burnt into a film, from its speech or from a script, broken between Thai words."""

    path = "thai-subtitle"
    verb = "generate"
    answer = Video
    words = Words.UPPER_PENDING
    rates = RATES
    example = {"media_url": "https://example.com/talk.mp4", "script": "สวัสดีครับทุกคน\\nวันนี้เราจะไป|เที่ยวทะเล"}
    minutes = 45
    seconds = 40
    priced_by_length = True
    local = True

    media_url: Annotated[
        Address,
        Aliases(("video_url", "url")),
        Input("video", 200 * MB, longest=LONGEST),
        Field(description="The film: MP4, MOV or WebM."),
    ]
    script: Annotated[
        Annotated[str, AfterValidator(_not_blank)] | None,
        Field(
            max_length=10000,
            description="What is said; a newline begins the next caption, a | a new line. Unset: transcribed.",
        ),
        Multiline(),
    ] = None
    animation: Annotated[
        Literal["none", "word_pop_fade"], Field(description="Whether the words pop up one by one.")
    ] = "none"
    timing_offset_ms: Annotated[
        int, Field(ge=-300, le=300, description="Milliseconds by which captions come later, or sooner.")
    ] = 0

    @classmethod
    def mend(cls, body: dict[str, Any]) -> Iterator[str]:
        """An empty script means none."""
        if body.get("script") == "":
            del body["script"]
        yield from ()

    def price(self, rates: Rates) -> Credits:
        """By the film's length."""
        return by_length(rates, self.length_of("media_url"))

    def call(self) -> LocalCall:
        """The address is a key in our storage by now."""
        return Subtitle(self.media_url, self.script, self.animation, self.timing_offset_ms / 1000)


CAPTIONS = (TranscribeMedia, ThaiSubtitle)
