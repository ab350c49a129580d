"""The models of KIE's jobs API that the sandbox knows: one row each, as documented or seen in 2026.

A row says which fields are taken, what KIE charges in its own credits, how long the sandbox takes at pace 1,
and what is made. A model without a row is answered as KIE answers an unknown one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from phaya.providers.sandbox.endings import unmarked
from phaya.providers.sandbox.fields import Asked, Choice, Field, Flag, Input, Number, Refusal, Text, Texts, links
from phaya.providers.sandbox.products import Character, Film, Picture
from phaya.providers.sandbox.sizes import film_size, picture_size

PICTURE, FILM, CHARACTER = 2.0, 6.0, 3.0


@dataclass(frozen=True)
class Model:
    """One row: `seconds` is how long a task takes, `price` is in KIE's credits."""

    name: str
    fields: Mapping[str, Field]
    seconds: float
    price: Callable[[Asked], Decimal]
    product: Callable[[Asked], Picture | Film | Character]

    def asked(self, given: Input) -> Asked:
        """The checked input. Raises Refusal."""
        return Asked(self.fields, given)


def _flat(credits: str) -> Callable[[Asked], Decimal]:
    return lambda asked: Decimal(credits)


def _by(name: str, credits: Mapping[str, str]) -> Callable[[Asked], Decimal]:
    return lambda asked: Decimal(credits[asked.text(name)])


def _picture(stills: str = "", grades: Mapping[str, str] | None = None) -> Callable[[Asked], Picture]:
    """A picture by `aspect_ratio`; `stills` names the field of input pictures, `grades` what a quality means."""

    def product(asked: Asked) -> Picture:
        resolution = grades[asked.text("quality")] if grades else asked.text("resolution")
        width, height = picture_size(asked.text("aspect_ratio"), resolution)
        suffix: Literal["png", "jpg"] = "jpg" if asked.text("output_format") in ("jpg", "jpeg") else "png"
        return Picture(unmarked(asked.text("prompt")), width, height, suffix, asked.texts(stills))

    return product


# --- pictures ---

RATIOS_5 = ("1:1", "4:3", "3:4", "16:9", "9:16")
RATIOS_8 = (*RATIOS_5, "2:3", "3:2", "21:9")
RATIOS_11 = ("auto", *RATIOS_8, "5:4", "4:5")
RATIOS_15 = (*RATIOS_11, "1:4", "1:8", "4:1", "8:1")
RESOLUTIONS = ("1K", "2K", "4K")

SEEDREAM: dict[str, Field] = {
    "prompt": Text(3000, 3, required=True),
    "aspect_ratio": Choice(RATIOS_8, "1:1", required=True),
    "quality": Choice(("basic", "high", "ultra"), "basic", required=True),  # ultra since Aug 2026
    "output_format": Choice(("png", "jpeg"), "png"),  # since Aug 2026
    "nsfw_checker": Flag(),
}
SEEDREAM_GRADES = {"basic": "2K", "high": "3K", "ultra": "4K"}
# KIE's page names only the prompt (and the pictures) as required; ratios and sizes as clients send them.
GPT_IMAGE: dict[str, Field] = {
    "prompt": Text(20000, required=True),
    "aspect_ratio": Choice(RATIOS_11, "auto"),
    "resolution": Choice(RESOLUTIONS, "1K"),
}
GPT_IMAGE_PRICE = {"1K": "6", "2K": "10", "4K": "16"}

# --- films ---

SORA: dict[str, Field] = {
    "prompt": Text(10000, required=True),
    "aspect_ratio": Choice(("portrait", "landscape"), "landscape"),
    "n_frames": Choice(("10", "15"), "10"),  # a text that holds seconds, despite its name
    "remove_watermark": Flag(default=True),
    "upload_method": Choice(("s3", "oss"), "s3"),
    "character_id_list": Texts(5),
}
SORA_SIZES = {"landscape": (1280, 720), "portrait": (720, 1280), "square": (960, 960)}
# 30 credits for 10 s were published until the pause of June 2026, the others were not.
SORA_PRICE = {"5": "30", "10": "30", "15": "35", "20": "60"}
SEEDANCE_PRICE = {"480p": "1.75", "720p": "3.5", "1080p": "7.5"}  # a second, silent; twice with sound
KLING_PRICE = {"720p": "11", "1080p": "18"}  # a second
# The length follows the driving film on KIE; the sandbox does not open it and takes this length instead.
KLING_SECONDS = 5


def _sora(asked: Asked) -> Film:
    width, height = SORA_SIZES[asked.text("aspect_ratio")]
    seconds = float(asked.text("n_frames"))
    return Film(unmarked(asked.text("prompt")), width, height, seconds, stills=asked.texts("image_urls"))


def _seedance(asked: Asked) -> Film:
    width, height = film_size(asked.text("aspect_ratio"), asked.text("resolution"))
    return Film(
        unmarked(asked.text("prompt")),
        width,
        height,
        asked.number("duration"),
        asked.flag("generate_audio"),
        asked.texts("input_urls"),
    )


def _seedance_price(asked: Asked) -> Decimal:
    second = Decimal(SEEDANCE_PRICE[asked.text("resolution")])
    return second * Decimal(str(asked.number("duration"))) * (2 if asked.flag("generate_audio") else 1)


def _kling(asked: Asked) -> Film:
    width, height = film_size("9:16", asked.text("mode"))
    return Film(unmarked(asked.text("prompt")), width, height, KLING_SECONDS, stills=asked.texts("input_urls"))


_ROWS = (
    Model(
        "z-image",
        {
            "prompt": Text(1000, required=True),
            "aspect_ratio": Choice(RATIOS_5, "1:1", required=True),
            "nsfw_checker": Flag(),
        },
        PICTURE,
        _flat("0.8"),
        _picture(),
    ),
    Model("seedream/5-lite-text-to-image", SEEDREAM, PICTURE, _flat("5.5"), _picture(grades=SEEDREAM_GRADES)),
    Model(
        "seedream/5-lite-image-to-image",
        SEEDREAM | {"image_urls": links(14, 1)},
        PICTURE,
        _flat("5.5"),
        _picture("image_urls", SEEDREAM_GRADES),
    ),
    Model(
        "nano-banana-2",
        {
            "prompt": Text(20000, required=True),
            "image_input": links(14),
            "aspect_ratio": Choice(RATIOS_15, "auto"),
            "resolution": Choice(RESOLUTIONS, "1K"),
            "output_format": Choice(("jpg", "png"), "jpg"),
            "google_search": Flag(),  # on the page of March 2026, gone by August
        },
        PICTURE,
        _by("resolution", {"1K": "8", "2K": "12", "4K": "18"}),
        _picture("image_input"),
    ),
    Model("gpt-image-2-text-to-image", GPT_IMAGE, PICTURE, _by("resolution", GPT_IMAGE_PRICE), _picture()),
    Model(
        "gpt-image-2-image-to-image",
        GPT_IMAGE | {"input_urls": links(16, 1)},
        PICTURE,
        _by("resolution", GPT_IMAGE_PRICE),
        _picture("input_urls"),
    ),
    Model("sora-2-text-to-video", SORA, FILM, _by("n_frames", SORA_PRICE), _sora),
    Model(
        "sora-2-image-to-video",
        # Documented were portrait and landscape, "10" and "15"; clients were seen to send "5", "20" and square.
        SORA
        | {
            "image_urls": links(1, 1),
            "aspect_ratio": Choice(tuple(SORA_SIZES), "landscape"),
            "n_frames": Choice(tuple(SORA_PRICE), "10"),
        },
        FILM,
        _by("n_frames", SORA_PRICE),
        _sora,
    ),
    Model(
        "sora-2-characters",
        {
            "character_file_url": links(1, 1),
            "character_prompt": Text(5000),
            "safety_instruction": Text(5000),
        },
        CHARACTER,
        _flat("1"),  # never published
        lambda asked: Character(),
    ),
    Model(
        "bytedance/seedance-1.5-pro",
        {
            "prompt": Text(20000, 3, required=True),
            "aspect_ratio": Choice(("1:1", "4:3", "3:4", "16:9", "9:16", "21:9"), "1:1", required=True),
            "duration": Number(4, 12, 8, required=True),  # a text until mid-2026
            "resolution": Choice(tuple(SEEDANCE_PRICE), "720p"),
            "input_urls": links(2),
            "fixed_lens": Flag(),
            "generate_audio": Flag(),
            "nsfw_checker": Flag(),
        },
        FILM,
        _seedance_price,
        _seedance,
    ),
    Model(
        "kling-2.6/motion-control",
        {
            "prompt": Text(2500),
            "input_urls": links(1, 1),
            "video_urls": links(1, 1),
            "character_orientation": Choice(("image", "video"), "video", required=True),
            "mode": Choice(tuple(KLING_PRICE), "720p", required=True),
        },
        FILM,
        lambda asked: Decimal(KLING_PRICE[asked.text("mode")]) * KLING_SECONDS,
        _kling,
    ),
)

MODELS: Mapping[str, Model] = {row.name: row for row in _ROWS}


def model_named(name: object) -> Model:
    """The model's row. Raises Refusal with KIE's text for an unknown one."""
    model = MODELS.get(name) if isinstance(name, str) else None
    if model is None:
        raise Refusal(
            422,
            "The model name you specified is not supported. Please verify your input and use one of the "
            "supported models provided by KIE.",
        )
    return model
