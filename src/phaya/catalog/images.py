"""Pictures from words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from phaya.calls import KieTask
from phaya.catalog.answers import Image, Words
from phaya.catalog.fields import RATIO, Prompt
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits, credits


class TextToImage(Generation):
    """Z-Image: a picture from a prompt, quick and cheap."""

    path = "text-to-image"
    verb = "generate"
    answer = Image
    words = Words.UPPER
    rates = {"picture": credits("1")}
    example = {"prompt": "A lighthouse above a calm sea at dawn", "aspect_ratio": "16:9"}
    minutes = 15
    seconds = 30

    prompt: Annotated[Prompt, Field(max_length=1000)]
    aspect_ratio: Annotated[Literal["1:1", "4:3", "3:4", "16:9", "9:16"], RATIO] = "1:1"

    def price(self, rates: Rates) -> Credits:
        """One price for any ratio."""
        return rates["picture"]

    def call(self) -> KieTask:
        """KIE documents both inputs as required."""
        return KieTask("z-image", {"prompt": self.prompt, "aspect_ratio": self.aspect_ratio})


IMAGES = (TextToImage,)
