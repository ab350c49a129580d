"""Chat: a conversation with the model, streamed, with what each answer costs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from phaya.web.answers import Json
from phaya.web.chat import models_on_sale
from phaya.web.console.visit import Visit, add
from phaya.web.events import EventStream
from phaya.web.generations import read_json
from phaya.web.talk import Talk, begin


def install(router: APIRouter) -> None:
    """The page, and its stream."""
    add(router, "/chat", page)
    add(router, "/chat", say, "POST")


async def page(visit: Visit) -> Response:
    """The conversation, which the browser keeps as long as its tab is open."""
    return await visit.render("chat.html", models=models_on_sale(visit.phaya))


async def say(visit: Visit) -> Response:
    """One turn, as the API's own route streams it."""
    caller = await visit.admitted()
    talk = await begin(visit.phaya, caller, await read_json(visit.request), strict=False, stamp=None)
    if not isinstance(talk, Talk):
        return Json(talk)
    return EventStream(talk.sent(await talk.streamed()))
