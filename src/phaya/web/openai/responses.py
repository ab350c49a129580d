"""OpenAI's Responses API, as a way of saying and hearing chat completions. No conversation is stored."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from phaya.web.answers import Json
from phaya.web.caller import Phaya, Requesting
from phaya.web.events import EventStream
from phaya.web.generations import read_json, strictly
from phaya.web.openai import names
from phaya.web.openai.items import read_turn
from phaya.web.openai.telling import Telling
from phaya.web.repeats import Sent, given
from phaya.web.talk import Talk, begin


def install(router: APIRouter) -> None:
    """`responses`."""

    @router.post("/responses", operation_id="openai_responses", summary="A response, whole or as events")
    async def respond(request: Request, phaya: Phaya, caller: Requesting, sent: Sent) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Takes `input` (a text or items), `instructions`, function tools and `web_search`, `tool_choice`,
        `text.format`, `max_output_tokens`, `temperature`, `top_p`, `reasoning` and `stream`. The whole conversation is
        sent each time; `previous_response_id` is refused."""
        body = await read_json(request)
        turn = read_turn(body)
        names.chats(turn.model)
        talk = await begin(phaya, caller, turn.body, strict=strictly(request, phaya), stamp=sent.stamp(caller, body))
        if not isinstance(talk, Talk):
            return Json(talk)
        talk.warnings.extend(turn.warnings)
        telling = Telling(turn, talk)
        if talk.asked.stream:
            return EventStream(talk.sent(telling.events(await talk.streamed()), telling.cut_off))
        return given(await talk.answered(lambda said, _: telling.told(said)))
