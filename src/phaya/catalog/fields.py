"""Types of fields that services share. What hangs on a type (other spellings, what kind of file it names)
is known to every surface that reads the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

LONGEST_ADDRESS = 4096


@dataclass(frozen=True, slots=True)
class Aliases:
    """Other names that clients use for a field."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Input:
    """The field names files that are fetched and checked before anything is charged.

    `limit` is in bytes, `shortest` and `longest` are seconds of film or sound.
    """

    media: Literal["image", "video", "audio"]
    limit: int
    shortest: float | None = None
    longest: float | None = None
    otherwise: Literal["image", "video", "audio"] | None = None  # a second kind that is taken as well
    animated: bool = False  # a picture that may move and be transparent, and stays so in our copy


@dataclass(frozen=True, slots=True)
class Page:
    """The field names a page; how much will be downloaded from there is found out before anything is charged."""


@dataclass(frozen=True, slots=True)
class Multiline:
    """The field holds longer text: forms give it room."""


MB = 1_000_000

IMAGE_NAMES = Aliases(("image_url", "image_urls", "input_urls", "image_input"))


def _address(value: str) -> str:
    if value.startswith("data:"):
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https address, or a data URL")
    if len(value) > LONGEST_ADDRESS:
        raise ValueError(f"must have at most {LONGEST_ADDRESS} characters")
    return value


def _page(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https address")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


Address = Annotated[str, AfterValidator(_address), Field(json_schema_extra={"format": "uri"})]

Prompt = Annotated[
    str,
    AfterValidator(_not_blank),
    Aliases(("text",)),
    Multiline(),
    Field(min_length=1, description="What to make, in any language."),
]
ImageUrl = Annotated[Address, IMAGE_NAMES, Input("image", 30 * MB)]
ImageUrls = Annotated[list[Address], IMAGE_NAMES, Input("image", 30 * MB)]
MusicUrl = Annotated[Address, Aliases(("audio_url",)), Input("audio", 50 * MB)]

PageUrl = Annotated[
    str,
    AfterValidator(_page),
    Aliases(("video_url", "media_url", "link")),
    Page(),
    Field(max_length=LONGEST_ADDRESS, json_schema_extra={"format": "uri"}),
]

RATIO = Field(description="Width to height.")

# Ratio names of different services that mean the same.
RATIOS = {"16:9": "landscape", "9:16": "portrait", "1:1": "square"}
RATIO_NAMES = RATIOS | {name: ratio for ratio, name in RATIOS.items()}
