"""Models that make pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from phaya.providers.sandbox.endings import unmarked
from phaya.providers.sandbox.fields import Asked, Choice, Field, Flag, Text, links
from phaya.providers.sandbox.products import Picture
from phaya.providers.sandbox.sizes import picture_size
from phaya.providers.sandbox.tariffs import Model, by, flat

PICTURE = 2.0


def _picture(stills: str = "", grades: Mapping[str, str] | None = None) -> Callable[[Asked], Picture]:
    """A picture by `aspect_ratio`; `stills` names the field of input pictures, `grades` what a quality means."""

    def product(asked: Asked) -> Picture:
        resolution = grades[asked.text("quality")] if grades else asked.text("resolution")
        width, height = picture_size(asked.text("aspect_ratio"), resolution)
        suffix: Literal["png", "jpg"] = "jpg" if asked.text("output_format") in ("jpg", "jpeg") else "png"
        return Picture(unmarked(asked.text("prompt")), width, height, suffix, asked.texts(stills))

    return product


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

FLUX: dict[str, Field] = {
    "prompt": Text(5000, 3, required=True),
    "aspect_ratio": Choice((*RATIOS_5, "3:2", "2:3", "auto"), "1:1", required=True),
    "resolution": Choice(("1K", "2K"), "1K", required=True),
}
FLUX_PRICE = {"1K": "5", "2K": "7"}
SEEDREAM_45: dict[str, Field] = {
    "prompt": Text(3000, required=True),
    "aspect_ratio": Choice(RATIOS_8, "1:1", required=True),
    "quality": Choice(("basic", "high"), "basic", required=True),
    "nsfw_checker": Flag(),
}
SEEDREAM_45_GRADES = {"basic": "2K", "high": "4K"}


def _cut_out(asked: Asked) -> Picture:
    return Picture("Cut out", 1024, 1024, "png", (asked.text("image"),))


PICTURES = (
    Model(
        "z-image",
        {
            "prompt": Text(1000, required=True),
            "aspect_ratio": Choice(RATIOS_5, "1:1", required=True),
            "nsfw_checker": Flag(),
        },
        PICTURE,
        flat("0.8"),
        _picture(),
    ),
    Model("seedream/5-lite-text-to-image", SEEDREAM, PICTURE, flat("5.5"), _picture(grades=SEEDREAM_GRADES)),
    Model(
        "seedream/5-lite-image-to-image",
        SEEDREAM | {"image_urls": links(14, 1)},
        PICTURE,
        flat("5.5"),
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
        by("resolution", {"1K": "8", "2K": "12", "4K": "18"}),
        _picture("image_input"),
    ),
    Model("gpt-image-2-text-to-image", GPT_IMAGE, PICTURE, by("resolution", GPT_IMAGE_PRICE), _picture()),
    Model(
        "gpt-image-2-image-to-image",
        GPT_IMAGE | {"input_urls": links(16, 1)},
        PICTURE,
        by("resolution", GPT_IMAGE_PRICE),
        _picture("input_urls"),
    ),
    Model("flux-2/pro-text-to-image", FLUX, PICTURE, by("resolution", FLUX_PRICE), _picture()),
    Model(
        "flux-2/pro-image-to-image",
        FLUX | {"input_urls": links(8, 1)},
        PICTURE,
        by("resolution", FLUX_PRICE),
        _picture("input_urls"),
    ),
    Model(
        "grok-imagine/text-to-image",
        {
            "prompt": Text(5000, required=True),
            "aspect_ratio": Choice(("2:3", "3:2", "1:1", "16:9", "9:16"), "1:1", required=True),
        },
        PICTURE,
        flat("4"),
        _picture(),
        takes=4,
    ),
    Model("seedream/4.5-text-to-image", SEEDREAM_45, PICTURE, flat("6.5"), _picture(grades=SEEDREAM_45_GRADES)),
    Model(
        "seedream/4.5-edit",
        SEEDREAM_45 | {"image_urls": links(14, 1)},
        PICTURE,
        flat("6.5"),
        _picture("image_urls", SEEDREAM_45_GRADES),
    ),
    Model("recraft/remove-background", {"image": Text(4096, 8, required=True)}, PICTURE, flat("1"), _cut_out),
)
