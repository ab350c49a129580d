"""Which model name stands for which of our services. Clients write OpenAI's names, the providers' or ours."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from phaya.catalog import CATALOG, SERVICES
from phaya.catalog.answers import Media
from phaya.catalog.embedding import EmbeddingRequest, ModelNotFound
from phaya.catalog.language import ChatRequest
from phaya.catalog.service import Generation

# The first service of a row that is offered is taken.
_FAMILIES: dict[Media, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "image": (
        (r"gpt-image-.*|chatgpt-image-.*", ("gpt-image-2-text-to-image", "text-to-image")),
        (r"dall-e-.*|z-image.*", ("text-to-image",)),
        (r"seedream.*", ("seedream",)),
        (r"nano-banana.*|gemini-.*-image.*", ("nano-banana",)),
    ),
    "video": (
        (r"sora-?2.*", ("sora2-text-to-video",)),
        (r"veo-?3.*", ("veo31-video",)),
        (r"seedance.*", ("seedance-video",)),
    ),
    "audio": ((r"(gpt-.*-)?tts.*|gemini-.*tts.*", ("text-to-speech",)),),
}
_DEFAULTS: dict[Media, str] = {"image": "text-to-image", "video": "sora2-text-to-video", "audio": "text-to-speech"}

_SILENT = frozenset({*SERVICES, *EmbeddingRequest.dimensions_of, *EmbeddingRequest.aliases})
_SILENT_ELSEWHERE = re.compile(r"text-embedding-.*|(dall-e|sora|tts|whisper)-.*")


def service_for(media: Media, model: str | None) -> type[Generation]:
    """The service that a model's name stands for. Raises ModelNotFound."""
    name = (model or _DEFAULTS[media]).lower().removeprefix("phaya/")
    if (exact := SERVICES.get(name)) in offered(media):
        return SERVICES[name]
    for pattern, paths in _FAMILIES[media]:
        if re.fullmatch(pattern, name):
            for path in paths:
                if path in SERVICES:
                    return SERVICES[path]
    known = ", ".join(service.path for service in offered(media)) or "none is offered here"
    what = "is no model of this route" if exact else "does not exist here"
    raise ModelNotFound(f"model: {name[:80]!r} {what}; models: {known}.")


def offered(media: Media) -> list[type[Generation]]:
    """The services of a kind that are asked by a prompt alone. Of sounds only speech has a route."""
    return [
        service
        for service in CATALOG
        if service.answer.media == media
        and {"prompt"} == {name for name, field in service.model_fields.items() if field.is_required()}
        and (media != "audio" or service.path == "text-to-speech")
    ]


def chats(model: str | None) -> None:
    """Raises ModelNotFound for a model of ours that does other work.

    Any other name is answered by Phaya-GPT, with a warning: programs written for OpenAI name its models, and are
    to work unchanged.
    """
    name = (model or "").lower()
    if name in _SILENT or _SILENT_ELSEWHERE.fullmatch(name):
        raise ModelNotFound(f"model: {name[:80]!r} does not chat; {ChatRequest.path} does.")


def options(service: type[Generation], field: str) -> tuple[Any, ...]:
    """The values that a field of a service takes; none where it has no such field or takes any."""
    found = service.model_fields.get(field)
    if found is None:
        return ()
    for part in (found.annotation, *get_args(found.annotation)):
        if get_origin(part) is Literal:
            return get_args(part)
    return ()


_SHAPES = {"landscape": 16 / 9, "portrait": 9 / 16, "square": 1.0}


def nearest_ratio(service: type[Generation], width: int, height: int) -> str | None:
    """The aspect ratio of a service that is nearest to a size in pixels."""
    shapes = {word: shape for word in options(service, "aspect_ratio") if (shape := shape_of(word))}
    wanted = width / height
    return min(shapes, key=lambda word: max(shapes[word] / wanted, wanted / shapes[word]), default=None)


def shape_of(word: str) -> float | None:
    """Width to height of a ratio's name; None for `auto`."""
    if found := re.fullmatch(r"(\d+):(\d+)", word):
        return int(found[1]) / int(found[2])
    return _SHAPES.get(word)
