"""Models that make films, and the characters in them."""

from __future__ import annotations

from decimal import Decimal

from phaya.providers.sandbox.endings import unmarked
from phaya.providers.sandbox.fields import Asked, Choice, Field, Flag, Number, Text, Texts, links
from phaya.providers.sandbox.products import Character, Film
from phaya.providers.sandbox.sizes import film_size
from phaya.providers.sandbox.tariffs import Model, by, flat

FILM, CHARACTER = 6.0, 3.0
VEO_KINDS = ("TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO")

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
# The length follows the driving film. What it costs is said before that is opened, so it is said of this length,
# which is also that of the film where the driving one cannot be fetched.
KLING_SECONDS = 5
KLING_MOST = {"image": 10.0, "video": 30.0}


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
    return Film(
        unmarked(asked.text("prompt")),
        width,
        height,
        KLING_SECONDS,
        stills=asked.texts("input_urls"),
        driving=asked.texts("video_urls")[0],
        most=KLING_MOST[asked.text("character_orientation")],
    )


def _veo(asked: Asked) -> Film:
    ratio = asked.text("aspect_ratio").replace("Auto", "16:9")
    width, height = film_size(ratio, asked.text("resolution").replace("4k", "1080p"))
    seconds = asked.number("duration")
    return Film(unmarked(asked.text("prompt")), width, height, seconds, stills=asked.texts("image_urls"))


FILMS = (
    Model("sora-2-text-to-video", SORA, FILM, by("n_frames", SORA_PRICE), _sora),
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
        by("n_frames", SORA_PRICE),
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
        flat("1"),  # never published
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
    Model(
        "veo-3-1",
        {
            "prompt": Text(20000, required=True),
            "image_urls": links(3),
            "generation_type": Choice(VEO_KINDS, VEO_KINDS[0]),
            "aspect_ratio": Choice(("16:9", "9:16", "Auto"), "16:9"),
            "resolution": Choice(("720p", "1080p", "4k"), "720p"),
            "duration": Number(4, 8, 8),
            "enable_translation": Flag(default=True),
            "watermark": Text(200),
        },
        FILM,
        flat("60"),  # which tier it is was never published
        _veo,
    ),
)
