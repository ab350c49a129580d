"""Films from words and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from phaya.calls import KieTask, KieVeo
from phaya.catalog.answers import Video, VideoAndOrigin, VideoAndSound, Words
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


VEO_TIERS = {"fast": "veo3_fast", "quality": "veo3"}
VeoKind = Literal["TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO"]


class Veo(Generation):
    """Veo 3.1: a film of eight seconds with sound, from words, from one or two frames, or like some pictures."""

    path = "veo31-video"
    answer = VideoAndOrigin
    words = Words.LOWER
    rates = {"veo3_fast": credits("15"), "veo3": credits("50")}
    example = {"prompt": "A night market in the rain, lanterns swaying", "model": "veo3_fast", "aspect_ratio": "16:9"}
    minutes = 45
    seconds = 150

    prompt: Annotated[Prompt, Field(max_length=2000)]
    model: Annotated[Literal["veo3_fast", "veo3"], Field(description="Fast, or of the highest quality.")] = "veo3_fast"
    image_urls: Annotated[
        ImageUrls,
        Field(max_length=3, description="One: is animated. Two: first and last frame. Three: references of the look."),
    ] = []
    generation_type: Annotated[VeoKind | None, Field(description="What the pictures are. Unset: by their number.")] = (
        None
    )
    aspect_ratio: Annotated[Literal["16:9", "9:16", "Auto"], RATIO] = "16:9"
    seeds: Annotated[int | None, Field(ge=10000, le=99999, description="The same seed gives similar films.")] = None
    enable_translation: Annotated[bool, Field(description="Translate the prompt to English first.")] = True
    watermark: Annotated[str, Field(max_length=50, description="Text shown in the film.")] = ""

    @classmethod
    def mend(cls, body: dict[str, Any]) -> Iterator[str]:
        """Clients name the tier by `quality`, or without its family's name."""
        name = "quality" if "quality" in body and "model" not in body else "model"
        given = body.get(name)
        if isinstance(given, str) and (meant := VEO_TIERS.get(given.lower())):
            del body[name]
            body["model"] = meant
            yield f"'{name}': '{given}' was read as model '{meant}'."

    @model_validator(mode="after")
    def kind_fits_pictures_and_tier(self) -> Self:
        """Raises ValueError where the kind of film cannot be made with these pictures or this tier."""
        count = len(self.image_urls)
        match self.kind():
            case "FIRST_AND_LAST_FRAMES_2_VIDEO" if count not in (1, 2):
                raise ValueError(f"generation_type FIRST_AND_LAST_FRAMES_2_VIDEO takes 1 or 2 image_urls, not {count}")
            case "REFERENCE_2_VIDEO" if not count:
                raise ValueError("generation_type REFERENCE_2_VIDEO takes 1 to 3 image_urls, not 0")
            case "REFERENCE_2_VIDEO" if self.model != "veo3_fast":
                raise ValueError("reference pictures (REFERENCE_2_VIDEO, or 3 image_urls) are taken by veo3_fast only")
            case _:
                return self

    def kind(self) -> VeoKind:
        """What is asked for, by name or by the number of pictures; KIE would conclude the same."""
        frames: VeoKind = "FIRST_AND_LAST_FRAMES_2_VIDEO"
        by_number: tuple[VeoKind, ...] = ("TEXT_2_VIDEO", frames, frames, "REFERENCE_2_VIDEO")
        return self.generation_type or by_number[len(self.image_urls)]

    def notes(self) -> list[str]:
        """Pictures beside a type that has none."""
        if self.generation_type == "TEXT_2_VIDEO" and self.image_urls:
            return ["'image_urls' is not used with generation_type TEXT_2_VIDEO."]
        return []

    def price(self, rates: Rates) -> Credits:
        """By tier; every film is as long and as large."""
        return rates[self.model]

    def call(self) -> KieVeo:
        """Resolution and duration are KIE's defaults, and named because the price is theirs. KIE's English pages
        spell `aspect_ratio`, older ones `aspectRatio`; the first was seen to work in August 2026."""
        sent: dict[str, JsonValue] = {
            "prompt": self.prompt,
            "model": self.model,
            "generationType": self.kind(),
            "aspect_ratio": self.aspect_ratio,
            "resolution": "720p",
            "duration": 8,
            "enableTranslation": self.enable_translation,
        }
        if self.image_urls and self.kind() != "TEXT_2_VIDEO":
            sent["imageUrls"] = list[JsonValue](self.image_urls)
        if self.seeds is not None:
            sent["seeds"] = self.seeds
        if self.watermark:
            sent["watermark"] = self.watermark
        return KieVeo(sent)


VIDEOS = (SoraText, SoraImage, Seedance, Veo)
