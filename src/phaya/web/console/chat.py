"""Chat: a conversation with the model, streamed, with what each answer costs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from phaya.catalog.language import ChatRequest
from phaya.web.answers import Json
from phaya.web.console.visit import Visit, add
from phaya.web.events import EventStream
from phaya.web.generations import read_json
from phaya.web.talk import Talk, begin


def install(router: APIRouter) -> None:
    """The page, and its stream."""
    add(router, "/chat", page)
    add(router, "/chat", say, "POST")


async def page(visit: Visit) -> Response:
    """The conversation, which the browser keeps until the page is closed."""
    rates = visit.phaya.tariff.rates(ChatRequest.path)
    return await visit.render("chat.html", models=(ChatRequest.model_name,), rates=rates)


async def say(visit: Visit) -> Response:
    """One turn, as the API's own route streams it."""
    caller = await visit.admitted()
    talk = await begin(visit.phaya, caller, await read_json(visit.request), strict=False, stamp=None)
    if not isinstance(talk, Talk):
        return Json(talk)
    return EventStream(talk.sent(await talk.streamed()))
