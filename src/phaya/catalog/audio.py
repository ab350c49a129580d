"""Songs and voices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from phaya.calls import KieSuno
from phaya.catalog.answers import Songs, Words
from phaya.catalog.fields import Multiline, Prompt
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits, credits

Weight = Annotated[float, Field(ge=0, le=1)]

# KIE's limits for the dedicated Suno route; ours are wider, so that longer texts are cut with a warning.
TITLE, NEGATIVE = 80, 200
# What KIE knows of the models that clients name; V3 left KIE before 2025.
KIE_MODELS = {"V3": "V4", "V3_5": "V4", "V4": "V4", "V5": "V5"}


class TextToMusic(Generation):
    """Suno: two songs from a description, or from lyrics in a given style."""

    path = "text-to-music"
    verb = "generate"
    answer = Songs
    words = Words.UPPER
    rates = {"two songs": credits("3")}
    example = {"prompt": "A gentle song about rain on tin roofs", "style": "acoustic pop", "title": "Rain"}
    minutes = 30
    seconds = 120

    prompt: Annotated[
        Prompt,
        Field(max_length=2000, description="What the song is about; with 'style' and vocals, its lyrics."),
    ]
    style: Annotated[str, Field(max_length=100, description="Genre, mood, instruments.")] = ""
    title: Annotated[str, Field(max_length=200, description="The song's name.")] = ""
    instrumental: Annotated[bool, Field(description="Without a voice.")] = False
    model: Annotated[Literal["V3", "V3_5", "V4", "V5"], Field(description="Suno's version.")] = "V4"
    negative_tags: Annotated[str, Field(max_length=500, description="What to keep out of the music."), Multiline()] = ""
    vocal_gender: Annotated[Literal["m", "f"] | None, Field(description="The voice, male or female.")] = None
    style_weight: Annotated[Weight | None, Field(description="How closely to follow the style.")] = None
    weirdness_constraint: Annotated[Weight | None, Field(description="How much surprise to allow.")] = None
    audio_weight: Annotated[Weight | None, Field(description="How much the sound counts.")] = None

    def price(self, rates: Rates) -> Credits:
        """Both songs together."""
        return rates["two songs"]

    def notes(self) -> list[str]:
        """Where the provider's limits are narrower than the API's."""
        found: list[str] = []
        if KIE_MODELS[self.model] != self.model:
            found.append(f"'model': {self.model} is no longer offered; a newer one is used.")
        if self.title and not self.style:
            found.append("'title' is used only together with 'style'.")
        if len(self.title) > TITLE:
            found.append(f"'title' was cut to {TITLE} characters.")
        if len(self.negative_tags) > NEGATIVE:
            found.append(f"'negative_tags' was cut to {NEGATIVE} characters.")
        return found

    def call(self) -> KieSuno:
        """With a style the request is KIE's custom mode, which demands a title too; without, a description."""
        body: dict[str, JsonValue] = {
            "customMode": bool(self.style),
            "instrumental": self.instrumental,
            "model": KIE_MODELS[self.model],
            "prompt": self.prompt,
        }
        if self.style:
            body["style"] = self.style
            body["title"] = (self.title or self.prompt)[:TITLE]
        optional: dict[str, JsonValue] = {
            "negativeTags": self.negative_tags[:NEGATIVE] or None,
            "vocalGender": None if self.instrumental else self.vocal_gender,
            "styleWeight": _two_places(self.style_weight),
            "weirdnessConstraint": _two_places(self.weirdness_constraint),
            "audioWeight": _two_places(self.audio_weight),
        }
        return KieSuno(body | {name: value for name, value in optional.items() if value is not None})


def _two_places(weight: float | None) -> float | None:
    return None if weight is None else round(weight, 2)


AUDIO = (TextToMusic,)
