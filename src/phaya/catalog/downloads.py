"""Films and sounds brought from other sites with yt-dlp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, cast

from pydantic import Field, JsonValue

from phaya.calls import Download
from phaya.catalog.answers import Downloaded, Words
from phaya.catalog.fields import MB, PageUrl
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits, credits

STEP = 10 * MB
"""Bytes that one rate pays for; a megabyte is a million bytes."""
ASSUMED = 100 * MB
"""Bytes that are held for where the site does not say how large the film is."""


class VideoDownload(Generation):
    """Video download: a film, or its sound, from a page of another site."""

    path = "video-download"
    answer = Downloaded
    words = Words.LOWER_UNCANCELLED
    rates = {"each started 10 MB of the file": credits("0.5")}
    example = {"url": "https://www.youtube.com/watch?v=BaW_jenozKc", "format": "mp4", "quality": "720p"}
    minutes = 20
    seconds = 30
    local = True
    priced_by_length = True

    url: Annotated[PageUrl, Field(description="The film's page. `GET video-download/supported-platforms` lists sites.")]
    format: Annotated[
        Literal["mp4", "mp3", "best"],
        Field(description="`mp3` is the sound alone; `best` leaves the site's own container."),
    ] = "mp4"
    quality: Annotated[
        Literal["best", "720p", "480p", "360p", "audio"],
        Field(description="The largest picture, or the sound alone (as MP3 unless `format` is `best`)."),
    ] = "best"

    def price(self, rates: Rates) -> Credits:
        """Held for what the site says of the size, or for 100 MB; what the file does not cost is given back."""
        return self._of(ASSUMED if self.size is None else self.size, rates)

    def cost(self, rates: Rates, facts: Mapping[str, JsonValue]) -> Credits:
        """Each started 10 MB of the file that came."""
        return self._of(cast("int", facts["bytes"]), rates)

    def call(self) -> Download:
        """The download stops where the file would cost more than was held."""
        size = ASSUMED if self.size is None else self.size
        return Download(self.url, self.format, self.quality, steps(size) * STEP)

    @staticmethod
    def _of(size: int, rates: Rates) -> Credits:
        (rate,) = rates.values()
        return rate * steps(size)


def steps(size: int) -> int:
    """How many times 10 MB are started by so many bytes."""
    return max(1, -(-size // STEP))


DOWNLOADS = (VideoDownload,)
