"""Pictures from words and pictures."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from phaya.calls import KieTask
from phaya.catalog.answers import Image, Images, Words
from phaya.catalog.fields import RATIO, ImageUrls, Prompt
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


class Seedream(Generation):
    """Seedream 5: a picture from a prompt, or another picture changed by one."""

    path = "seedream"
    answer = Image
    words = Words.LOWER_UNCANCELLED
    rates = {"picture": credits("1.5")}
    example = {"prompt": "A red kite over rice fields", "aspect_ratio": "16:9", "quality": "basic"}
    minutes = 15
    seconds = 60

    prompt: Annotated[Prompt, Field(min_length=3, max_length=2995)]
    image_urls: Annotated[ImageUrls, Field(max_length=1, description="A picture to change.")] = []
    aspect_ratio: Annotated[Literal["1:1", "4:3", "3:4", "16:9", "9:16", "2:3", "3:2", "21:9"], RATIO] = "1:1"
    quality: Annotated[Literal["basic", "high"], Field(description="2K or 3K.")] = "basic"

    def price(self, rates: Rates) -> Credits:
        """One price for any size."""
        return rates["picture"]

    def call(self) -> KieTask:
        """With a picture it is another model of KIE's."""
        sent: dict[str, JsonValue] = {
            "prompt": self.prompt,
            "aspect_ratio": self.aspect_ratio,
            "quality": self.quality,
        }
        if self.image_urls:
            return KieTask("seedream/5-lite-image-to-image", sent | {"image_urls": list[JsonValue](self.image_urls)})
        return KieTask("seedream/5-lite-text-to-image", sent)


class NanoBanana(Generation):
    """Nano Banana 2: a picture from a prompt and up to fourteen pictures."""

    path = "nano-banana"
    answer = Images
    words = Words.LOWER_UNCANCELLED
    rates = {"1K": credits("2"), "2K": credits("3"), "4K": credits("4")}
    example = {"prompt": "A banana-shaped airship over Bangkok", "aspect_ratio": "16:9", "resolution": "1K"}
    minutes = 15
    seconds = 45

    prompt: Annotated[Prompt, Field(max_length=20000)]
    image_input: Annotated[ImageUrls, Field(max_length=14, description="Pictures to work from.")] = []
    aspect_ratio: Annotated[
        Literal[
            "1:1", "1:4", "1:8", "2:3", "3:2", "3:4", "4:1", "4:3", "4:5", "5:4", "8:1", "9:16", "16:9", "21:9", "auto"
        ],
        RATIO,
    ] = "1:1"
    google_search: Annotated[bool, Field(description="Look facts up first.")] = False
    resolution: Annotated[Literal["1K", "2K", "4K"], Field(description="Size of the picture.")] = "1K"
    output_format: Annotated[Literal["jpg", "png"], Field(description="Kind of file.")] = "jpg"

    def price(self, rates: Rates) -> Credits:
        """By size."""
        return rates[self.resolution]

    def call(self) -> KieTask:
        """`google_search` left KIE's page in mid-2026, so it is only sent where it is wanted."""
        sent: dict[str, JsonValue] = {
            "prompt": self.prompt,
            "image_input": list[JsonValue](self.image_input),
            "aspect_ratio": self.aspect_ratio,
            "resolution": self.resolution,
            "output_format": self.output_format,
        }
        return KieTask("nano-banana-2", sent | ({"google_search": True} if self.google_search else {}))


GptRatio = Literal["auto", "1:1", "5:4", "9:16", "21:9", "16:9", "4:3", "3:2", "4:5", "3:4", "2:3"]
GPT_RATIOS: dict[str, GptRatio] = {"1K": "auto", "2K": "1:1", "4K": "16:9"}
"""What an unset ratio means: the model's own choice, which it has at 1K only, then the squarest that is offered."""


class GptImage(Generation):
    """What both services of GPT Image 2 share."""

    answer = Image
    words = Words.LOWER_UNCANCELLED
    rates = {"1K": credits("1"), "2K": credits("2"), "4K": credits("3")}
    minutes = 20
    seconds = 60

    prompt: Annotated[Prompt, Field(max_length=20000)]
    aspect_ratio: Annotated[
        GptRatio | None,
        Field(
            description="Width to height; `auto` only at 1K, 1:1 not at 4K. Unset: auto at 1K, 1:1 at 2K, 16:9 at 4K."
        ),
    ] = None
    resolution: Annotated[Literal["1K", "2K", "4K"], Field(description="Size of the picture.")] = "1K"

    @model_validator(mode="after")
    def ratio_is_offered_at_this_size(self) -> Self:
        """Raises ValueError for the pairs that the model does not make."""
        if self.aspect_ratio == "auto" and self.resolution != "1K":
            raise ValueError(f"aspect_ratio auto is offered at resolution 1K only, not at {self.resolution}")
        if self.aspect_ratio == "1:1" and self.resolution == "4K":
            raise ValueError("aspect_ratio 1:1 is offered at resolution 1K and 2K, not at 4K")
        return self

    def price(self, rates: Rates) -> Credits:
        """By size."""
        return rates[self.resolution]

    def sent(self) -> dict[str, JsonValue]:
        """KIE's inputs for both models."""
        ratio = self.aspect_ratio or GPT_RATIOS[self.resolution]
        return {"prompt": self.prompt, "aspect_ratio": ratio, "resolution": self.resolution}


class GptImageFromText(GptImage):
    """GPT Image 2 text to image: a picture from a long and exact prompt."""

    path = "gpt-image-2-text-to-image"
    example = {"prompt": "A poster that says RAINY SEASON, two colours", "aspect_ratio": "3:4", "resolution": "1K"}

    def call(self) -> KieTask:
        """The model is named like the service."""
        return KieTask("gpt-image-2-text-to-image", self.sent())


class GptImageFromImages(GptImage):
    """GPT Image 2 image to image: up to five pictures, put together or changed as a prompt says."""

    path = "gpt-image-2-image-to-image"
    example = {"prompt": "Make it night", "input_urls": ["https://example.com/sea.png"], "resolution": "1K"}

    input_urls: Annotated[ImageUrls, Field(min_length=1, max_length=5, description="Pictures to work from.")]

    def call(self) -> KieTask:
        """The model is named like the service."""
        inputs = {"input_urls": list[JsonValue](self.input_urls)}
        return KieTask("gpt-image-2-image-to-image", self.sent() | inputs)


IMAGES = (TextToImage, Seedream, NanoBanana, GptImageFromText, GptImageFromImages)
