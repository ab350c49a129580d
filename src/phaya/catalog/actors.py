"""Somebody in particular: pictures that move like a film's actor, and characters that later films call up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from phaya.calls import KieTask
from phaya.catalog.answers import Character, Video, Words
from phaya.catalog.fields import MB, Address, Aliases, ImageUrls, Input, Multiline
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits, credits

NOISE = 0.001
"""Seconds by which measured lengths of equal films differ."""
MODES = {"std": "720p", "standard": "720p", "720": "720p", "pro": "1080p", "1080": "1080p"}


class KlingMotion(Generation):
    """Kling 2.6 motion control: whoever is in a picture moves like the person in a film.

    Seconds are started ones: KIE does not publish how it rounds, and rounding up is the most that it can charge.
    """

    path = "kling-motion-control"
    answer = Video
    words = Words.LOWER
    rates = {"started second at 720p": credits("1.21"), "started second at 1080p": credits("1.82")}
    example = {
        "prompt": "She dances on a rooftop at dusk",
        "input_urls": ["https://example.com/dancer.png"],
        "video_urls": ["https://example.com/dance.mp4"],
        "mode": "720p",
    }
    minutes = 60
    seconds = 240
    priced_by_length = True

    prompt: Annotated[str, Aliases(("text",)), Multiline(), Field(max_length=2500, description="The scene.")] = ""
    input_urls: Annotated[ImageUrls, Field(min_length=1, max_length=1, description="Who moves: one picture.")]
    video_urls: Annotated[
        list[Address],
        Aliases(("video_url",)),
        Input("video", 100 * MB, shortest=3, longest=30),
        Field(min_length=1, max_length=1, description="Whose movements: one film of 3 to 30 seconds."),
    ]
    character_orientation: Annotated[
        Literal["image", "video"],
        Field(description="Faces as in the picture (up to 10 seconds are made) or as in the film (up to 30)."),
    ] = "video"
    mode: Annotated[Literal["720p", "1080p"], Field(description="Lines of the film.")] = "720p"

    @classmethod
    def mend(cls, body: dict[str, Any]) -> Iterator[str]:
        """Clients name the mode by `resolution`, or by Kling's own words for it."""
        name = "resolution" if "resolution" in body and "mode" not in body else "mode"
        given = body.get(name)
        meant = MODES.get(str(given).lower(), given)
        if name == "resolution" or meant != given:
            del body[name]
            body["mode"] = meant
            yield f"'{name}': {given!r} was read as mode {meant!r}."

    def price(self, rates: Rates) -> Credits:
        """By started seconds of the driving film, as far as it is followed."""
        most = 10 if self.character_orientation == "image" else 30
        seconds = math.ceil(self.length_of("video_urls") - NOISE)
        return rates[f"started second at {self.mode}"] * min(seconds, most)

    def call(self) -> KieTask:
        """KIE documents the mode as 720p and 1080p for this version; later ones say std and pro."""
        sent: dict[str, JsonValue] = {
            "input_urls": list[JsonValue](self.input_urls),
            "video_urls": list[JsonValue](self.video_urls),
            "character_orientation": self.character_orientation,
            "mode": self.mode,
        }
        return KieTask("kling-2.6/motion-control", sent | ({"prompt": self.prompt} if self.prompt else {}))


class SoraCharacter(Generation):
    """Sora 2 character: somebody from a short clip, under an id that later films name in `character_id_list`."""

    path = "sora2-character"
    answer = Character
    words = Words.LOWER
    rates = {"character": credits("0.5")}
    example = {"character_file_url": "https://example.com/barista.mp4", "character_prompt": "A cheerful barista"}
    minutes = 30
    seconds = 60
    lasting = True

    character_file_url: Annotated[
        Address,
        Aliases(("video_url", "character_file_urls")),
        Input("video", 100 * MB, shortest=1, longest=4),
        Field(description="A clip of 1 to 4 seconds that shows the character."),
    ]
    character_prompt: Annotated[
        str, Aliases(("prompt",)), Multiline(), Field(max_length=5000, description="Who it is and how they act.")
    ] = ""
    safety_instruction: Annotated[
        str, Multiline(), Field(max_length=5000, description="What the character must never do.")
    ] = ""

    def price(self, rates: Rates) -> Credits:
        """One price for any clip."""
        return rates["character"]

    def call(self) -> KieTask:
        """KIE takes the address as a list of one."""
        sent: dict[str, JsonValue] = {"character_file_url": [self.character_file_url]}
        optional = {"character_prompt": self.character_prompt, "safety_instruction": self.safety_instruction}
        return KieTask("sora-2-characters", sent | {name: text for name, text in optional.items() if text})


ACTORS = (KlingMotion, SoraCharacter)
