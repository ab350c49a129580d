"""Films from words and pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from phaya.calls import KieTask
from phaya.catalog.answers import Video, VideoAndSound, Words
from phaya.catalog.fields import RATIO, ImageUrls, Prompt
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits, credits

Characters = Annotated[
    list[str],
    Field(max_length=5, description="Ids of Sora characters that the prompt names."),
]
SORA = {"film": credits("8")}


class SoraText(Generation):
    """Sora 2 text to video: a film with sound from a prompt."""

    path = "sora2-text-to-video"
    answer = Video
    words = Words.LOWER
    rates = SORA
    example = {"prompt": "A dragon flies over a snowy valley at sunrise", "n_frames": "10"}
    minutes = 45
    seconds = 180

    prompt: Annotated[Prompt, Field(max_length=2000)]
    aspect_ratio: Annotated[Literal["landscape", "portrait"], RATIO] = "landscape"
    n_frames: Annotated[Literal["10", "15"], Field(description="Seconds of film.")] = "10"
    remove_watermark: Annotated[bool, Field(description="Ask the model for a film without its mark.")] = True
    character_id_list: Characters = []

    def price(self, rates: Rates) -> Credits:
        """One price for any length."""
        return rates["film"]

    def call(self) -> KieTask:
        """`n_frames` is a text that holds seconds, despite its name."""
        return KieTask("sora-2-text-to-video", _sora(self))


class SoraImage(Generation):
    """Sora 2 image to video: a film that sets a picture in motion."""

    path = "sora2-video"
    answer = Video
    words = Words.LOWER
    rates = SORA
    example = {"prompt": "The waves begin to move", "image_urls": ["https://example.com/sea.png"]}
    minutes = 45
    seconds = 180

    prompt: Annotated[Prompt, Field(max_length=2000)]
    image_urls: Annotated[ImageUrls, Field(min_length=1, max_length=5, description="The picture to animate.")]
    aspect_ratio: Annotated[Literal["landscape", "portrait", "square"], RATIO] = "landscape"
    n_frames: Annotated[Literal["5", "10", "15", "20"], Field(description="Seconds of film.")] = "10"
    remove_watermark: Annotated[bool, Field(description="Ask the model for a film without its mark.")] = True
    character_id_list: Characters = []

    def price(self, rates: Rates) -> Credits:
        """One price for any length."""
        return rates["film"]

    def notes(self) -> list[str]:
        """KIE takes one picture for this model, although the field is a list."""
        return ["Only the first of 'image_urls' is animated by this model."] if len(self.image_urls) > 1 else []

    def call(self) -> KieTask:
        """KIE allows one picture here."""
        return KieTask("sora-2-image-to-video", {"image_urls": list[JsonValue](self.image_urls[:1]), **_sora(self)})


def _sora(request: SoraText | SoraImage) -> dict[str, JsonValue]:
    sent: dict[str, JsonValue] = {
        "prompt": request.prompt,
        "aspect_ratio": request.aspect_ratio,
        "n_frames": request.n_frames,
        "remove_watermark": request.remove_watermark,
    }
    if request.character_id_list:
        sent["character_id_list"] = list[JsonValue](request.character_id_list)
    return sent


class Seedance(Generation):
    """Seedance 1.5 Pro: a clip from a prompt and up to two stills."""

    path = "seedance-video"
    answer = VideoAndSound
    words = Words.LOWER
    # resolution-seconds, and the same with sound
    rates = {
        "480p-4": credits("2"), "480p-4-sound": credits("3"),
        "480p-8": credits("3"), "480p-8-sound": credits("6"),
        "480p-12": credits("4"), "480p-12-sound": credits("8"),
        "720p-4": credits("3"), "720p-4-sound": credits("6"),
        "720p-8": credits("6"), "720p-8-sound": credits("12"),
        "720p-12": credits("9"), "720p-12-sound": credits("18"),
        "1080p-4": credits("6"), "1080p-4-sound": credits("12"),
        "1080p-8": credits("12"), "1080p-8-sound": credits("23"),
        "1080p-12": credits("18"), "1080p-12-sound": credits("35"),
    }  # fmt: skip
    example = {"prompt": "A long-tail boat crosses a turquoise bay", "resolution": "480p", "duration": "4"}
    minutes = 30
    seconds = 110

    prompt: Annotated[Prompt, Field(min_length=3, max_length=2500)]
    input_urls: Annotated[
        ImageUrls,
        Field(max_length=2, description="None: from words. One: is animated. Two: first and last frame."),
    ] = []
    aspect_ratio: Annotated[Literal["1:1", "21:9", "4:3", "3:4", "16:9", "9:16"], RATIO] = "16:9"
    resolution: Annotated[Literal["480p", "720p", "1080p"], Field(description="Lines of the film.")] = "720p"
    duration: Annotated[Literal["4", "8", "12"], Field(description="Seconds of film.")] = "8"
    fixed_lens: Annotated[bool, Field(description="Keep the camera still.")] = False
    generate_audio: Annotated[bool, Field(description="With sound, also as a file of its own.")] = False

    def price(self, rates: Rates) -> Credits:
        """By resolution, length and sound."""
        sound = "-sound" if self.generate_audio else ""
        return rates[f"{self.resolution}-{self.duration}{sound}"]

    def wants_sound_track(self) -> bool:
        """`audio_url` is filled where sound was asked for."""
        return self.generate_audio

    def call(self) -> KieTask:
        """KIE wants `duration` as a number since mid-2026; a text before."""
        return KieTask(
            "bytedance/seedance-1.5-pro",
            {
                "prompt": self.prompt,
                "input_urls": list[JsonValue](self.input_urls),
                "aspect_ratio": self.aspect_ratio,
                "resolution": self.resolution,
                "duration": int(self.duration),
                "fixed_lens": self.fixed_lens,
                "generate_audio": self.generate_audio,
            },
        )


VIDEOS = (SoraText, SoraImage, Seedance)
