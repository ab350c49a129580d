"""What a task makes: exact specifications of files, from which the studio makes them whenever they are asked for.

Equal specifications give equal files: the seed is the specification's own hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

# Raised whenever the studio draws or plays differently, so that old files are not taken for new ones.
EDITION = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the prompt; `stills` are addresses, of which the first shows through.

    `take` tells apart those that one request gives.
    """

    prompt: str
    width: int
    height: int
    suffix: Literal["png", "jpg"] = "png"
    stills: tuple[str, ...] = ()
    take: int = 1


@dataclass(frozen=True, slots=True)
class Film:
    """A clip of the prompt; one still is animated, two are the first and the last frame.

    A film that follows another one, at address `driving`, is as long as that, up to `most` seconds.
    """

    prompt: str
    width: int
    height: int
    seconds: float
    sound: bool = True
    stills: tuple[str, ...] = ()
    suffix: Literal["mp4"] = "mp4"
    driving: str = ""
    most: float = 0


@dataclass(frozen=True, slots=True)
class Song:
    """A track; `take` tells apart the two that one request gives."""

    prompt: str
    title: str
    style: str
    seconds: float
    instrumental: bool
    take: int
    suffix: Literal["mp3"] = "mp3"


@dataclass(frozen=True, slots=True)
class Cover:
    """The picture of a track."""

    title: str
    take: int
    suffix: Literal["jpeg"] = "jpeg"


@dataclass(frozen=True, slots=True)
class Character:
    """No file: the id under which later films may call somebody up."""


Product = Picture | Film | Song | Cover

TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "mp4": "video/mp4", "mp3": "audio/mpeg"}


def digest(product: Product) -> str:
    """The name of a specification: the same for the same file."""
    said = {"kind": type(product).__name__, "edition": EDITION, **asdict(product)}
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()[:40]


def stills_of(product: Product) -> Sequence[str]:
    """Addresses of the pictures that the product is made from."""
    return product.stills if isinstance(product, Picture | Film) else ()


async def make(product: Product, path: Path, stills: Sequence[Path]) -> None:
    """Makes the file at `path`, from those of its stills that could be fetched. Takes seconds."""
    from phaya.providers.sandbox import studio  # fonts and drawing are loaded by the first picture only

    seed = digest(product)
    match product:
        case Picture():
            still = stills[0] if stills else None
            await studio.picture(
                path, prompt=product.prompt, width=product.width, height=product.height, seed=seed, still=still
            )
        case Film():
            await studio.film(
                path,
                prompt=product.prompt,
                width=product.width,
                height=product.height,
                seconds=product.seconds,
                seed=seed,
                sound=product.sound,
                stills=stills[:2],
            )
        case Song():
            await studio.song(
                path,
                prompt=product.prompt,
                title=product.title,
                style=product.style,
                seconds=product.seconds,
                seed=seed,
                instrumental=product.instrumental,
            )
        case Cover():
            await studio.cover(path, title=product.title, seed=seed)
