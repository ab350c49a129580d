"""Chat: the ceiling is held before the call, and settled to the provider's usage after it, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, cast

import orjson
import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from phaya.calls import Chat
from phaya.catalog.language import ChatRequest, cost, guess_tokens, read_chat
from phaya.clock import MINUTE
from phaya.credits import NOTHING, Credits
from phaya.errors import Closed, Fault, Invalid, PhayaError
from phaya.jobs import Job, Lost, State, Step
from phaya.providers import ProviderError, Rejected, Unavailable
from phaya.providers.openrouter import Completion, OpenRouter, Stream, Usage
from phaya.system import System
from phaya.web.answers import Json, dumps
from phaya.web.caller import Caller, Phaya, Requesting
from phaya.web.events import EventStream
from phaya.web.generations import read_json, strictly
from phaya.web.openapi import chat_docs, plain_docs
from phaya.workflow import end_job

log = structlog.get_logger()

TRIES = 3
LONGEST = ChatRequest.minutes * 60
"""Seconds that a stream may last; the row's claim lasts a little longer."""
LONGEST_PAUSE = 5.0
"""Seconds that a user is kept waiting for a busy provider before an honest 503."""
ASKS = (0.5, 1, 2, 4, 8)
"""Seconds between asking for the usage of an interrupted chat, which appears a moment late."""


CUT_OFF = b"data: " + dumps({"error": {"code": 502, "message": "The model's answer was cut off."}}) + b"\n\n"


class BadAnswer(PhayaError):
    """The provider failed after it was asked."""

    status = 502
    code = "provider_error"


def routes() -> APIRouter:
    """The native chat route."""
    router = APIRouter()

    @router.post(
        "/phaya-gpt/chat/completions",
        name="Phaya-GPT",
        operation_id="chat",
        tags=["Phaya-GPT"],
        openapi_extra=chat_docs(),
        responses=plain_docs(),
    )
    async def chat(request: Request, phaya: Phaya, caller: Requesting) -> Response:  # pyright: ignore[reportUnusedFunction]
        caller.need(ChatRequest.path, "chat")
        asked, warnings = read_chat(await read_json(request))
        if strictly(request, phaya) and warnings:
            raise Invalid(*(Fault("body", warning, "strict") for warning in warnings))
        provider = phaya.chat_provider()
        talk = Talk(phaya, provider, asked)
        await talk.hold(caller)
        if asked.stream:
            return EventStream(await talk.streamed())
        return Json(await talk.answered() | {"warnings": warnings})

    return router


class Wordless(BaseModel):
    """What is remembered of a chat's request: nothing."""


class Talk:
    """One chat and its money."""

    def __init__(self, phaya: System, provider: OpenRouter, asked: ChatRequest) -> None:
        self._phaya = phaya
        self._provider = provider
        self._asked = asked
        settings = phaya.settings
        self._rates = phaya.tariff.rates(asked.path)
        self._call = asked.call(settings.chat_model, settings.chat_tokens)
        self._job: Job | None = None
        self._settled: Credits | None = None

    @property
    def job(self) -> Job:
        """The chat's row, once its ceiling is held."""
        assert self._job is not None
        return self._job

    async def hold(self, caller: Caller) -> None:
        """Takes the ceiling. Raises NotEnoughCredits, or Closed while chat is off or its provider rests.

        The row carries no word of the conversation. It is claimed for as long as a chat may last; if this
        process dies, the claim runs out and the worker returns the credits.
        """
        phaya, asked = self._phaya, self._asked
        await phaya.offers.serve_chat(asked.path)
        now = phaya.clock.now()
        ceiling = asked.ceiling(phaya.settings.chat_tokens, self._rates)
        draft = phaya.workflow.draft(
            caller.account_id, caller.key.id, asked.path, Wordless(), Chat({}), ceiling, asked.minutes
        )
        self._job = replace(
            draft,
            step=Step.TALKING,
            state=State.PROCESSING,
            claimed=True,
            next_at=now + int((asked.minutes + 2) * MINUTE),
        )
        await phaya.workflow.open(self._job)

    async def answered(self) -> dict[str, Any]:
        """The whole answer, in Phaya's flat shape with OpenAI's `choices` beside it."""
        try:
            done = await self._phaya.offers.chatting(
                lambda: self._patiently(lambda: self._provider.complete(self._call.body))
            )
        except BaseException as error:
            raise await self._give_up(error) from error
        usage = done.usage or self._counted(_said(done))
        used = await self.settle(usage, done.generation, guessed=done.usage is None)
        choice = done.body["choices"][0]  # type: ignore[index, call-overload]
        return {
            "success": True,
            "id": done.body.get("id"),
            "object": "chat.completion",
            "created": done.body.get("created"),
            "model": self._asked.model_name,
            "message": choice["message"],  # type: ignore[index, call-overload]
            "choices": done.body["choices"],
            "usage": _tokens(usage),
            "credits_used": used,
            "credits_balance": await self._phaya.balance(self.job.account_id),
            "finish_reason": choice.get("finish_reason"),  # type: ignore[union-attr]
            "sandbox": self.job.sandbox,
        }

    async def streamed(self) -> AsyncGenerator[bytes, None]:
        """The provider's events as they come; raises before the first token what went wrong until then."""
        stack = AsyncExitStack()
        try:
            stream = await self._phaya.offers.chatting(
                lambda: self._patiently(
                    lambda: stack.enter_async_context(self._provider.stream(self._call.body, LONGEST))
                )
            )
            events = stream.__aiter__()
            head: list[bytes] = []
            while len(head) < 5 and (event := await anext(events, None)) is not None:
                head.append(event)
                if not event.startswith(b":"):
                    break
            if (stream.error is not None or _says_nothing(head)) and not stream.octets:
                raise Unavailable("The model could not answer.", str(stream.error or head))
        except BaseException as error:
            await stack.aclose()
            raise await self._give_up(error) from error
        return self._passed_on(stack, stream, head, events)

    async def _passed_on(
        self, stack: AsyncExitStack, stream: Stream, head: list[bytes], events: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        usage_told = False
        try:
            async with stack:
                async for event in _chained(head, events):
                    if stream.usage is not None and not usage_told:
                        usage_told = True
                        used = await self.settle(stream.usage, stream.generation)
                        yield _with_credits(event, used)
                    elif event.strip() != b"data: [DONE]":
                        yield event
            if stream.error is None:
                yield b"data: [DONE]\n\n" if stream.finished else CUT_OFF
        except ProviderError as error:
            log.error("chat.interrupted", job=self.job.id, detail=error.detail)
            yield CUT_OFF
        finally:
            if self._settled is None:
                # The client hung up, or the provider did: whoever spoke is paid for what was said.
                self._phaya.errand(self._settle_interrupted(stream))

    async def _settle_interrupted(self, stream: Stream) -> None:
        usage: Usage | None = None
        for pause in ASKS if stream.generation else ():
            try:
                usage = await self._provider.usage_of(stream.generation or "")
            except ProviderError as error:
                log.warning("chat.usage_unknown", job=self.job.id, detail=error.detail)
            if usage is not None:
                break
            await asyncio.sleep(pause)
        await self.settle(usage or self._counted(stream.octets), stream.generation, guessed=usage is None)

    async def settle(self, usage: Usage, generation: str | None, *, guessed: bool = False) -> Credits:
        """Closes the chat at its exact cost, never above what was held."""
        exact = cost(self._rates, usage.prompt_tokens, usage.completion_tokens)
        used = min(exact, self.job.price)
        trouble = "the provider told no usage; tokens were counted here" if guessed else None
        if exact > used:
            trouble = f"the usage cost {exact}, more than the {used} that was held"
        if trouble:
            log.warning("chat.settled_oddly", job=self.job.id, trouble=trouble)
        facts = {"usage": _tokens(usage), "generation": generation}
        values = {
            "results": orjson.dumps({"files": [], "sound": None, "facts": facts}).decode(),
            "ticket": generation,
            "spent": usage.cost,
            "trouble": trouble,
            "progress": 1000,
        }
        await self._end(State.COMPLETED, used, values)
        self._settled = used
        return used

    async def _give_up(self, error: BaseException) -> BaseException:
        """The chat ends before its first word: everything goes back. Answers what to raise."""
        detail = error.detail if isinstance(error, ProviderError) else repr(error)
        self._settled = NOTHING
        values = {"error": "The model could not answer.", "error_code": "provider_error", "trouble": detail}
        await asyncio.shield(self._phaya.errand(self._end(State.FAILED, NOTHING, values)))
        if not isinstance(error, ProviderError):
            return error
        log.warning("chat.failed", job=self.job.id, detail=detail)
        if isinstance(error, Rejected):
            return Invalid(Fault("messages", error.message, error.code))
        if isinstance(error, Unavailable):
            return Closed(f"{error.message} Nothing was charged.", max(1, round(error.retry_after)))
        return BadAnswer(f"{error.message} Nothing was charged.")

    async def _end(self, state: State, used: Credits, values: Mapping[str, object]) -> None:
        try:
            await self._phaya.database.write(end_job, self.job, self._phaya.clock.now(), state, used, values)
        except Lost:
            log.error("chat.outlived_its_claim", job=self.job.id)

    async def _patiently(self, ask: Any) -> Any:
        """Asks again, before the first token only, while the provider says that it is busy."""
        for attempt in range(1, TRIES + 1):
            try:
                return await ask()
            except Unavailable as error:
                if attempt == TRIES or error.retry_after > LONGEST_PAUSE:
                    raise
                await asyncio.sleep(error.retry_after)
        raise AssertionError("unreachable")

    def _counted(self, octets: int) -> Usage:
        """Usage by our own count, where the provider tells none: never nothing, never the ceiling."""
        prompt = len(orjson.dumps(self._call.body["messages"]))
        return Usage(guess_tokens(prompt), guess_tokens(octets), None)


async def _chained(head: list[bytes], events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for event in head:
        yield event
    async for event in events:
        yield event


def _says_nothing(head: list[bytes]) -> bool:
    """Whether the first event is no answer at all: OpenRouter was seen to send `choices: null` with status 200."""
    if not head or head[-1].startswith(b":"):
        return True
    try:
        told = orjson.loads(head[-1].partition(b"data:")[2])
    except orjson.JSONDecodeError:
        return True
    return not isinstance(told, dict) or cast("dict[str, object]", told).get("choices") is None


def _with_credits(event: bytes, used: Credits) -> bytes:
    """The usage event with what it cost in credits; the provider's own price is not the client's business."""
    try:
        told = orjson.loads(event.partition(b"data:")[2])
        for name in ("cost", "cost_details", "is_byok"):
            told["usage"].pop(name, None)
    except (orjson.JSONDecodeError, KeyError, AttributeError):
        return event
    return b"data: " + dumps(told | {"credits_used": used}) + b"\n\n"


def _tokens(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _said(done: Completion) -> int:
    return len(orjson.dumps(done.body.get("choices")))
