"""Models that came to KIE.ai after the API's own list. None of them needed more than its class.

Their prices: KIE's credits (of September 2026) at 0.005 dollars and 35 baht, rounded up to a quarter of a credit.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from phaya.calls import KieTask
from phaya.catalog.answers import Image, Images, Sound, Words
from phaya.catalog.fields import IMAGE_NAMES, MB, RATIO, Address, Aliases, ImageUrls, Input, Prompt
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits, credits


class Flux2(Generation):
    """Flux 2 Pro: a picture from a prompt, or from up to eight pictures and a prompt.

    KIE takes 5 credits at 1K and 7 at 2K: 0.875 and 1.225.
    """

    path = "flux-2"
    answer = Image
    words = Words.LOWER_UNCANCELLED
    rates = {"1K": credits("1"), "2K": credits("1.25")}
    example = {"prompt": "A ceramic teapot on a linen cloth, studio light", "resolution": "1K"}
    minutes = 15
    seconds = 40

    prompt: Annotated[Prompt, Field(min_length=3, max_length=5000)]
    input_urls: Annotated[ImageUrls, Field(max_length=8, description="Pictures to work from.")] = []
    aspect_ratio: Annotated[Literal["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3"], RATIO] = "1:1"
    resolution: Annotated[Literal["1K", "2K"], Field(description="Size of the picture.")] = "1K"

    def price(self, rates: Rates) -> Credits:
        """By size."""
        return rates[self.resolution]

    def call(self) -> KieTask:
        """With pictures it is another model of KIE's."""
        sent: dict[str, JsonValue] = {
            "prompt": self.prompt,
            "aspect_ratio": self.aspect_ratio,
            "resolution": self.resolution,
        }
        if self.input_urls:
            return KieTask("flux-2/pro-image-to-image", sent | {"input_urls": list[JsonValue](self.input_urls)})
        return KieTask("flux-2/pro-text-to-image", sent)


class GrokImagine(Generation):
    """Grok Imagine: several pictures from one prompt.

    KIE takes 4 credits for the set: 0.7.
    """

    path = "grok-imagine"
    answer = Images
    words = Words.LOWER_UNCANCELLED
    rates = {"pictures": credits("0.75")}
    example = {"prompt": "A fox made of autumn leaves", "aspect_ratio": "1:1"}
    minutes = 15
    seconds = 20

    prompt: Annotated[Prompt, Field(max_length=5000)]
    aspect_ratio: Annotated[Literal["2:3", "3:2", "1:1", "16:9", "9:16"], RATIO] = "1:1"

    def price(self, rates: Rates) -> Credits:
        """One price for the set."""
        return rates["pictures"]

    def call(self) -> KieTask:
        """KIE documents both inputs as required."""
        return KieTask("grok-imagine/text-to-image", {"prompt": self.prompt, "aspect_ratio": self.aspect_ratio})


class Seedream45(Generation):
    """Seedream 4.5: a picture from a prompt, or pictures edited by one, up to 4K.

    KIE takes 6.5 credits: 1.1375.
    """

    path = "seedream-4-5"
    answer = Image
    words = Words.LOWER_UNCANCELLED
    rates = {"picture": credits("1.25")}
    example = {"prompt": "A terraced rice field under monsoon clouds", "aspect_ratio": "16:9", "quality": "basic"}
    minutes = 15
    seconds = 60

    prompt: Annotated[Prompt, Field(max_length=3000)]
    image_urls: Annotated[ImageUrls, Field(max_length=14, description="Pictures to edit.")] = []
    aspect_ratio: Annotated[Literal["1:1", "4:3", "3:4", "16:9", "9:16", "2:3", "3:2", "21:9"], RATIO] = "1:1"
    quality: Annotated[Literal["basic", "high"], Field(description="2K or 4K.")] = "basic"

    def price(self, rates: Rates) -> Credits:
        """One price for any size."""
        return rates["picture"]

    def call(self) -> KieTask:
        """With pictures it is KIE's editing model."""
        sent: dict[str, JsonValue] = {
            "prompt": self.prompt,
            "aspect_ratio": self.aspect_ratio,
            "quality": self.quality,
        }
        if self.image_urls:
            return KieTask("seedream/4.5-edit", sent | {"image_urls": list[JsonValue](self.image_urls)})
        return KieTask("seedream/4.5-text-to-image", sent)


class RemoveBackground(Generation):
    """Recraft remove background: what a picture shows, cut out, on transparent ground.

    KIE takes 1 credit: 0.175.
    """

    path = "remove-background"
    answer = Image
    words = Words.LOWER_UNCANCELLED
    rates = {"picture": credits("0.25")}
    example = {"image_url": "https://example.com/cup.png"}
    minutes = 15
    seconds = 15

    image_url: Annotated[
        Address, IMAGE_NAMES, Aliases(("image",)), Input("image", 5 * MB), Field(description="The picture.")
    ]

    def price(self, rates: Rates) -> Credits:
        """One price for any picture."""
        return rates["picture"]

    def call(self) -> KieTask:
        """The address is called `image` here, and nowhere else."""
        return KieTask("recraft/remove-background", {"image": self.image_url})


class TurboSpeech(Generation):
    """ElevenLabs Turbo 2.5: a text read aloud.

    KIE takes 6 credits for 1000 characters: 1.05. Hundreds of characters are started ones: KIE does not publish
    how it rounds.
    """

    path = "elevenlabs-speech"
    answer = Sound
    words = Words.LOWER_UNCANCELLED
    rates = {"100 started characters": credits("0.125")}
    example = {"prompt": "Welcome aboard. The next stop is the harbour.", "voice": "Rachel"}
    minutes = 15
    seconds = 15

    prompt: Annotated[Prompt, Field(max_length=5000, description="What is said.")]
    voice: Annotated[
        str, Aliases(("voice_id",)), Field(min_length=1, max_length=100, description="A voice's name or id.")
    ] = "Rachel"

    def price(self, rates: Rates) -> Credits:
        """By started hundreds of characters."""
        return rates["100 started characters"] * -(-len(self.prompt) // 100)

    def call(self) -> KieTask:
        """The voice is always named: KIE refuses some requests without one."""
        return KieTask("elevenlabs/text-to-speech-turbo-2-5", {"text": self.prompt, "voice": self.voice})


NEWCOMERS = (Flux2, GrokImagine, Seedream45, RemoveBackground, TurboSpeech)
