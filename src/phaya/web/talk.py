"""A chat between a caller and the model, whole or streamed. Both doors talk through it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, cast

import orjson
import structlog

from phaya.catalog.language import ChatRequest, cost, guess_tokens, read_chat
from phaya.credits import Credits
from phaya.errors import Fault, Invalid
from phaya.idempotency import LONGEST as LONGEST_KEPT
from phaya.idempotency import Answer, Stamp
from phaya.jobs import Job
from phaya.parting import ASKING, STREAMS
from phaya.providers import ProviderError, Unavailable
from phaya.providers.openrouter import Completion, OpenRouter, Stream, Usage
from phaya.system import System
from phaya.web.answers import dumps, openai_error
from phaya.web.caller import Caller
from phaya.web.repeats import json_answer, look
from phaya.web.tab import Tab, dry_run, quote, tokens

log = structlog.get_logger()

LONGEST = ChatRequest.minutes * 60
"""Seconds that a stream may last; the row's claim lasts a little longer."""
ASKS = (0.5, 1, 2, 4, 8)
"""Seconds between asking for the usage of an interrupted chat, which appears a moment late."""

CUT_OFF = b"data: " + dumps(openai_error(502, "provider_error", "The model's answer was cut off.")) + b"\n\n"
HUNG_UP = "The connection was lost here and the model was stopped; what was said until then was charged."
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Said:
    """A whole answer, paid for. `body` is the provider's, with at least one choice in it."""

    body: Mapping[str, Any]
    usage: Usage
    used: Credits

    @property
    def counted(self) -> dict[str, Any]:
        """The usage with OpenAI's details of it: what was cached, and what was thought."""
        told = self.body.get("usage")
        details = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
        names = ("prompt_tokens_details", "completion_tokens_details")
        return tokens(self.usage) | {name: details[name] for name in names if details.get(name)}

    @property
    def choices(self) -> list[dict[str, Any]]:
        """The answers, in OpenAI's shape."""
        return self.body["choices"]


async def begin(
    phaya: System, caller: Caller, body: object, *, strict: bool, stamp: Stamp | None
) -> Talk | Mapping[str, object]:
    """Reads a chat's body and holds its ceiling; or answers its price where `dry_run` is asked for.

    Raises Forbidden, Invalid, Closed or NotEnoughCredits; Taken, Reused, InProgress or NotKept where the request, or
    its key, was sent before.
    """
    caller.need(ChatRequest.path, "chat")
    await look(phaya, stamp)
    dry = dry_run(body)
    asked, warnings = read_chat(body)
    if strict and warnings:
        raise Invalid(*(Fault("body", warning, "strict") for warning in warnings))
    if dry:
        phaya.tariff.serve(asked.path)
        ceiling = asked.ceiling(phaya.settings.chat_tokens, phaya.tariff.rates(asked.path))
        return await quote(phaya, caller, asked.path, ceiling, warnings)
    talk = Talk(phaya, phaya.chat_provider(), asked, warnings, stamp)
    await talk.tab.hold(caller)
    return talk


class Talk:
    """One chat, whose ceiling is held."""

    def __init__(
        self, phaya: System, provider: OpenRouter, asked: ChatRequest, warnings: list[str], stamp: Stamp | None
    ) -> None:
        self._phaya = phaya
        self._provider = provider
        self._call = asked.call(phaya.settings.chat_model, phaya.settings.chat_tokens)
        self.asked = asked
        self.warnings = warnings
        rates = phaya.tariff.rates(asked.path)
        self.tab = Tab(
            phaya,
            asked.path,
            asked.minutes,
            asked.ceiling(phaya.settings.chat_tokens, rates),
            lambda usage: cost(rates, usage.prompt_tokens, usage.completion_tokens),
            "messages",
            stamp,
        )
        self._stream: Stream | None = None

    @property
    def job(self) -> Job:
        """The chat's row."""
        return self.tab.job

    async def answered(self, tell: Callable[[Said, Credits], Mapping[str, object]]) -> Answer:
        """The whole answer, as `tell` tells it with the balance after it.

        Raises Invalid, Closed or BadAnswer, and then nothing was charged.
        """
        try:
            done = await self.tab.ask(lambda: self._provider.complete(self._call.body))
        except BaseException as error:
            raise await self.tab.give_up(error) from error
        usage = done.usage or self._counted(_size(done))
        said = Said(done.body, usage, self.tab.reckon(usage))
        return await self.tab.settle(
            usage, done.generation, lambda left: json_answer(tell(said, left)), guessed=done.usage is None
        )

    async def streamed(self) -> AsyncGenerator[bytes, None]:
        """The provider's events as they come, for `sent`; raises before the first token what went wrong until then."""
        stack = AsyncExitStack()
        try:
            stream = await self.tab.ask(
                lambda: stack.enter_async_context(self._provider.stream(self._call.body, LONGEST))
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
            raise await self.tab.give_up(error) from error
        self._stream = stream
        return self._passed_on(stack, stream, head, events)

    async def _passed_on(
        self, stack: AsyncExitStack, stream: Stream, head: list[bytes], events: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        try:
            async with stack:
                async for event in self._phaya.parting.until(STREAMS, _chained(head, events)):
                    if stream.usage is not None and self.tab.used is None:
                        used = self.tab.reckon(stream.usage)
                        yield _with_credits(event, used, choiceless=self.asked.usage_apart())
                    elif event.strip() != DONE.strip():
                        yield event
            if stream.error is None:
                yield DONE if stream.finished else CUT_OFF
        except ProviderError as error:
            log.error("chat.interrupted", job=self.job.id, detail=error.detail)
            yield CUT_OFF

    async def sent(
        self, events: AsyncGenerator[bytes, None], cut_off: Callable[[Credits], bytes] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The events as the client gets them, made of those of `streamed`; settles the chat, however it ends.

        What comes from the usage on, which is the end, is held back until it is settled: a client that has read the
        end has it written down. `cut_off` is what a hung-up stream is ended with when it is sent again.
        """
        stream = self._stream
        assert stream is not None
        tape = Tape() if self.tab.stamp else None
        end: list[bytes] = []
        whole = False
        try:
            async with aclosing(events):
                async for event in events:
                    if tape is not None:
                        tape.add(event)
                    if self.tab.used is None:
                        yield event
                    else:
                        end.append(event)
            whole = True
            if stream.usage is not None:
                await self.tab.settle(stream.usage, stream.generation, lambda _: _taped(tape))
            for event in end:
                yield event
        finally:
            if not self.tab.closing:
                # The client hung up, or the provider did: whoever spoke is paid for what was said.
                self._phaya.errand(self._settle_interrupted(stream, tape, None if whole else cut_off or _cut_off))

    async def _settle_interrupted(
        self, stream: Stream, tape: Tape | None, cut_off: Callable[[Credits], bytes] | None
    ) -> None:
        usage, parting = stream.usage, self._phaya.parting
        for pause in ASKS if stream.generation and usage is None else ():
            try:
                async with parting.within(ASKING):
                    usage = await self._provider.usage_of(stream.generation or "")
            except (ProviderError, TimeoutError) as error:
                detail = error.detail if isinstance(error, ProviderError) else "there was no time to ask"
                log.warning("chat.usage_unknown", job=self.job.id, detail=detail)
            if usage is not None or not await parting.pause(pause, ASKING):
                break
        counted = usage or self._counted(stream.octets)
        if tape is not None and cut_off is not None:
            tape.add(cut_off(self.tab.reckon(counted)))
        await self.tab.settle(counted, stream.generation, lambda _: _taped(tape), guessed=usage is None)

    def _counted(self, octets: int) -> Usage:
        """Usage by our own count, where the provider tells none: never nothing, never the ceiling."""
        prompt = len(orjson.dumps(self._call.body["messages"]))
        return Usage(guess_tokens(prompt), guess_tokens(octets), None)


class Tape:
    """What went to a client, as far as it can be kept."""

    def __init__(self) -> None:
        self.sent = bytearray()

    def add(self, event: bytes) -> None:
        """Takes an event; what is too long to be kept need not be held either."""
        if len(self.sent) <= LONGEST_KEPT:
            self.sent += event


def _taped(tape: Tape | None) -> Answer:
    return Answer("text/event-stream", b"" if tape is None else bytes(tape.sent))


def _cut_off(used: Credits) -> bytes:
    """The end of a stream whose client hung up, for when it comes back."""
    return b"data: " + dumps({**openai_error(502, "cut_off", HUNG_UP), "credits_used": used}) + b"\n\n"


def told(event: bytes) -> dict[str, Any] | None:
    """The object that an event of a stream carries; None for comments and the end."""
    try:
        data = orjson.loads(event.partition(b"data:")[2])
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, Any]", data) if isinstance(data, dict) else None


async def _chained(head: list[bytes], events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for event in head:
        yield event
    async for event in events:
        yield event


def _says_nothing(head: list[bytes]) -> bool:
    """Whether the first event is no answer at all: OpenRouter was seen to send `choices: null` with status 200."""
    if not head or head[-1].startswith(b":"):
        return True
    first = told(head[-1])
    return first is None or first.get("choices") is None


def _with_credits(event: bytes, used: Credits, *, choiceless: bool) -> bytes:
    """The usage event with what it cost in credits; the provider's own price is not the client's business.

    OpenAI's clients look for an event without choices only where they asked for one; others read the first
    choice of every event.
    """
    data = told(event)
    if data is None or not isinstance(data.get("usage"), dict):
        return event
    for name in ("cost", "cost_details", "is_byok"):
        data["usage"].pop(name, None)
    if not data.get("choices") and not choiceless:
        data["choices"] = [{"index": 0, "delta": {}, "finish_reason": None}]
    return b"data: " + dumps(data | {"credits_used": used}) + b"\n\n"


def _size(done: Completion) -> int:
    return len(orjson.dumps(done.body.get("choices")))
