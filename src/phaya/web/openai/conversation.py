"""OpenAI's chat completions, embeddings and list of models."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from phaya.catalog.embedding import EmbeddingRequest, ModelNotFound
from phaya.catalog.language import ChatRequest
from phaya.catalog.service import Generation
from phaya.credits import Credits
from phaya.system import System
from phaya.tariff import Tariff
from phaya.web.answers import Json
from phaya.web.caller import Caller, Phaya, Requesting
from phaya.web.events import EventStream
from phaya.web.generations import read_json, strictly
from phaya.web.openai import names
from phaya.web.openapi import answer_docs
from phaya.web.repeats import Repeatable, Sent, given
from phaya.web.talk import Said, Talk, begin
from phaya.web.vectors import Vectors, embed

SINCE = 1_793_491_200
"""The `created` of every model: seconds since 1970. Clients want a number; models have no date here."""

ANSWERED = ("id", "object", "created", "model", "choices", "usage", "credits_used", "warnings")
EMBEDDED = ("object", "model", "data", "usage", "credits_used")


def install(router: APIRouter) -> None:
    """`chat/completions`, `embeddings`, `models`."""

    @router.post(
        "/chat/completions",
        operation_id="openai_chat",
        openapi_extra=answer_docs(ChatRequest, "OpenAI's chat completion, or its events.", ANSWERED, "Chat completion"),
    )
    async def chat(request: Request, phaya: Phaya, caller: Requesting, sent: Sent) -> Response:  # pyright: ignore[reportUnusedFunction]
        return await answer(request, phaya, caller, sent)

    @router.post(
        "/embeddings",
        operation_id="openai_embeddings",
        openapi_extra=answer_docs(
            EmbeddingRequest, "One vector for each input, in their order.", EMBEDDED, "Embeddings"
        ),
    )
    async def embeddings(request: Request, phaya: Phaya, caller: Requesting, sent: Sent) -> Response:  # pyright: ignore[reportUnusedFunction]
        body: Any = await read_json(request)
        strict, stamp = strictly(request, phaya), sent.stamp(caller, body)
        return given(await embed(phaya, caller, body, _embedded, strict=strict, stamp=stamp))

    @router.get("/models", operation_id="openai_models")
    async def models(phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Every name that a route of this door takes as `model`."""
        return Json({"object": "list", "data": listing(phaya.tariff)})

    @router.get("/models/{model:path}", operation_id="openai_model")
    async def model(model: str, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """One of them."""
        for one in listing(phaya.tariff):
            if one["id"] == model.lower():
                return Json(one)
        raise ModelNotFound(f"model: {model[:80]!r} does not exist here; see /v1/models.")


async def answer(request: Request, phaya: System, caller: Caller, sent: Repeatable) -> Response:
    """A chat's answer, whole or streamed, or its price."""
    body: Any = await read_json(request)
    names.chats(_model_of(body))
    talk = await begin(phaya, caller, body, strict=strictly(request, phaya), stamp=sent.stamp(caller, body))
    if not isinstance(talk, Talk):
        return Json(talk)
    if talk.asked.stream:
        return EventStream(talk.sent(await talk.streamed()))
    return given(await talk.answered(lambda said, _: _completion(talk, said)))


def _completion(talk: Talk, said: Said) -> dict[str, object]:
    return {
        "id": said.body.get("id"),
        "object": "chat.completion",
        "created": said.body.get("created"),
        "model": ChatRequest.path,
        "choices": said.choices,
        "usage": said.counted,
        "system_fingerprint": None,
        "credits_used": said.used,
        "sandbox": talk.job.sandbox,
        "warnings": talk.warnings,
    }


def _embedded(made: Vectors, left: Credits) -> dict[str, object]:
    return {
        "object": "list",
        "model": made.model,
        "data": made.data,
        "usage": made.usage,
        "credits_used": made.used,
        "sandbox": made.job.sandbox,
        "warnings": made.warnings,
    }


def _model_of(body: object) -> str | None:
    model = cast("dict[str, Any]", body).get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else None


def listing(tariff: Tariff) -> list[dict[str, object]]:
    """The models, in OpenAI's shape with what they make and cost."""
    found = [
        _entry(
            ChatRequest.path,
            "text",
            {f"million {name} tokens": r for name, r in tariff.rates(ChatRequest.path).items()},
        )
    ]
    for name in EmbeddingRequest.dimensions_of:
        found.append(_entry(name, "vectors", {"million input tokens": tariff.rates(EmbeddingRequest.path)["input"]}))
    kinds: list[type[Generation]] = [*names.offered("image"), *names.offered("video"), *names.offered("audio")]
    return found + [_entry(service.path, service.answer.media, tariff.rates(service.path)) for service in kinds]


def _entry(name: str, makes: str, prices: object) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": SINCE,
        "owned_by": "phaya",
        "makes": makes,
        "prices": prices,
    }
