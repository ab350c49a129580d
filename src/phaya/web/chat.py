"""The native doors of chat and embeddings: flat answers, prices and models."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from phaya.catalog.embedding import EmbeddingRequest
from phaya.catalog.language import ChatRequest
from phaya.credits import Credits
from phaya.system import System
from phaya.web.answers import Json
from phaya.web.caller import Caller, Phaya, Requesting
from phaya.web.events import EventStream
from phaya.web.generations import read_json, strictly
from phaya.web.openapi import answer_docs, chat_docs, paid_docs
from phaya.web.paths import API
from phaya.web.repeats import Repeatable, Sent, given
from phaya.web.tab import tokens
from phaya.web.talk import Said, Talk, begin
from phaya.web.vectors import Vectors, embed


def routes() -> APIRouter:
    """Chat and embeddings below `/api/v1`. Models and prices need no key."""
    router = APIRouter(prefix=API)
    docs = paid_docs()

    @router.post(
        "/phaya-gpt/chat/completions",
        name="Phaya-GPT",
        operation_id="chat",
        tags=["Phaya-GPT"],
        openapi_extra=chat_docs(),
        responses=docs,
    )
    async def chat(request: Request, phaya: Phaya, caller: Requesting, sent: Sent) -> Response:  # pyright: ignore[reportUnusedFunction]
        return await answer(request, phaya, caller, sent)

    @router.get("/phaya-gpt/models", tags=["Phaya-GPT"], operation_id="chat_models")
    async def models(phaya: Phaya) -> Json:  # pyright: ignore[reportUnusedFunction]
        """The models that chat."""
        offered = models_on_sale(phaya)
        return Json({"success": True, "models": offered, "data": offered})

    @router.get("/phaya-gpt/pricing", tags=["Phaya-GPT"], operation_id="chat_pricing")
    async def pricing(phaya: Phaya) -> Json:  # pyright: ignore[reportUnusedFunction]
        """What a million tokens cost, of the prompt and of the answer."""
        return Json(_pricing(phaya, ChatRequest.model_name, prices(phaya)))

    @router.post(
        "/embedding/create",
        name="Embeddings",
        operation_id="embedding",
        tags=["Embeddings"],
        openapi_extra=answer_docs(
            EmbeddingRequest, "One vector for each input, in their order.", EMBEDDED, "Embeddings"
        ),
        responses=docs,
    )
    async def embedding(request: Request, phaya: Phaya, caller: Requesting, sent: Sent) -> Response:  # pyright: ignore[reportUnusedFunction]
        body = await read_json(request)
        strict, stamp = strictly(request, phaya), sent.stamp(caller, body)
        return given(await embed(phaya, caller, body, _embedded, strict=strict, stamp=stamp))

    @router.get("/embedding/pricing", tags=["Embeddings"], operation_id="embedding_pricing")
    async def embedding_pricing(phaya: Phaya) -> Json:  # pyright: ignore[reportUnusedFunction]
        """What a million tokens cost, and the models with their dimensions."""
        models = [{"id": name, "dimensions": most} for name, most in EmbeddingRequest.dimensions_of.items()]
        return Json(
            _pricing(phaya, EmbeddingRequest.name, phaya.tariff.rates(EmbeddingRequest.path)) | {"models": models}
        )

    return router


async def answer(request: Request, phaya: System, caller: Caller, sent: Repeatable) -> Response:
    """A chat's answer, whole or streamed, or its price."""
    body = await read_json(request)
    talk = await begin(phaya, caller, body, strict=strictly(request, phaya), stamp=sent.stamp(caller, body))
    if not isinstance(talk, Talk):
        return Json(talk)
    if talk.asked.stream:
        return EventStream(talk.sent(await talk.streamed()))
    return given(await talk.answered(lambda said, left: _flat(talk, said, left)))


EMBEDDED = ("success", "id", "object", "model", "data", "usage", "credits_used", "credits_balance", "warnings")


def models_on_sale(phaya: System) -> list[dict[str, object]]:
    """The models that chat, each with the name that a request gives it and its prices; the default first."""
    return [{"id": ChatRequest.path, "name": ChatRequest.model_name, "prices": prices(phaya), "default": True}]


def prices(phaya: System) -> dict[str, object]:
    """Credits for a million tokens of a chat."""
    return dict(phaya.tariff.rates(ChatRequest.path))


def _pricing(phaya: System, model: str, rates: object) -> dict[str, object]:
    return {
        "success": True,
        "model": model,
        "currency": phaya.settings.currency,
        "unit": "a million tokens",
        "tokens": 1_000_000,
        "prices": rates,
    }


def _embedded(made: Vectors, left: Credits) -> dict[str, object]:
    return {
        "success": True,
        "id": made.job.id,
        "object": "list",
        "model": made.model,
        "data": made.data,
        "usage": made.usage,
        "credits_used": made.used,
        "credits_balance": left,
        "sandbox": made.job.sandbox,
        "warnings": made.warnings,
    }


def _flat(talk: Talk, said: Said, left: Credits) -> dict[str, object]:
    """Phaya's flat shape with OpenAI's `choices` beside it."""
    choice = said.choices[0]
    return {
        "success": True,
        "id": said.body.get("id"),
        "object": "chat.completion",
        "created": said.body.get("created"),
        "model": talk.asked.model_name,
        "message": choice["message"],
        "choices": said.choices,
        "usage": tokens(said.usage),
        "credits_used": said.used,
        "credits_balance": left,
        "finish_reason": choice.get("finish_reason"),
        "sandbox": talk.job.sandbox,
        "warnings": talk.warnings,
    }
