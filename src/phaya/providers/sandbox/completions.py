"""Chat completions: one answer, whole or in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import cast

from pydantic import JsonValue
from starlette.responses import Response

from phaya.clock import SECOND
from phaya.providers.sandbox import tokens
from phaya.providers.sandbox.endings import Ending
from phaya.providers.sandbox.generations import PROVIDER, Generation, Generations
from phaya.providers.sandbox.replies import Reply
from phaya.providers.sandbox.speech import COMMENT, DONE, BrokenOff, event
from phaya.providers.sandbox.wire import NoAnswer, json_answer

TOKEN = 0.02  # seconds per token at pace 1
SLOW_TOKEN = 0.1  # seconds per token of an endless answer, whatever the pace
BREATH = 0.5  # seconds between keep-alive comments
PAUSE = 8  # tokens between comments inside an answer
ARGUMENT = 12  # signs of a fragment of a tool call's arguments

RATE_LIMIT = {"error_type": "rate_limit_exceeded", "provider_name": PROVIDER, "is_byok": False}
OVERLOADED: dict[str, object] = {
    "code": 502,
    "message": "Provider returned error",
    "metadata": {"error_type": "provider_unavailable"},
}


class Completion:
    """An answer that is fixed before its first token is sent."""

    def __init__(
        self,
        generations: Generations,
        generation: Generation,
        answer: Reply,
        ending: Ending,
        *,
        most: int,
        stops: Sequence[str],
        pace: float,
    ) -> None:
        self._generations = generations
        self._generation = generation
        self._tool = answer.tool
        self._ending = ending
        self._pace = pace
        self._kept = False
        words = tokens.pieces(_until_stop(answer.text, stops))
        self._words = words[:most]
        self._finish = "length" if len(words) > most else "tool_calls" if answer.tool else "stop"

    # --- whole ---

    async def whole(self) -> Response:
        """The plain answer. It is billed whole even where the client is gone by then, as on OpenRouter."""
        ending, generation = self._ending, self._generation
        headers = {"X-Generation-Id": generation.id}
        await asyncio.sleep((ending.slow or 0.0) + min(2.0, TOKEN * self._pace * len(self._words)))
        if "midfail" in ending:
            generation.finish_reason = "error"
            await self._keep()
            return json_answer(self._frame("chat.completion", choices=None, error=OVERLOADED), headers=headers)
        generation.completion_tokens = self._all_tokens()
        generation.finish_reason = self._finish
        await self._keep()
        if "drop" in ending:
            return NoAnswer()
        if "garbage" in ending:
            return json_answer(self._frame("chat.completion", choices=None), headers=headers)
        message: dict[str, object] = {
            "role": "assistant",
            "content": None if self._tool else "".join(self._words),
            "refusal": None,
            "reasoning": None,
        }
        if self._tool:
            function = {"name": self._tool.name, "arguments": self._tool.arguments}
            message["tool_calls"] = [{"index": 0, "id": self._tool.id, "type": "function", "function": function}]
        choice = {
            "index": 0,
            "finish_reason": self._finish,
            "native_finish_reason": self._finish,
            "logprobs": None,
            "message": message,
        }
        body = self._frame("chat.completion", choices=[choice], system_fingerprint=None, usage=generation.usage())
        return json_answer(body, headers=headers)

    # --- in pieces ---

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events."""
        ending = self._ending
        async for comment in self._silence():
            yield comment
        if "garbage" in ending:
            self._generation.finish_reason = "error"
            await self._keep()
            yield event(self._frame("chat.completion.chunk", choices=None))
            yield DONE
            return
        breaks = bool({"drop", "midfail"} & ending.words)
        for index, word in enumerate(self._words[: len(self._words) // 2] if breaks else self._words):
            await asyncio.sleep(SLOW_TOKEN if "forever" in ending else TOKEN * self._pace)
            if index % PAUSE == PAUSE - 1:
                yield COMMENT
            self._generation.completion_tokens += 1
            yield self._chunk({"content": word})
        if breaks:
            async for failure in self._broken():
                yield failure
            return
        for delta in self._tool_deltas():
            yield self._chunk(delta)
        self._generation.completion_tokens = self._all_tokens()
        self._generation.finish_reason = self._finish
        await self._keep()
        yield self._chunk({"content": ""}, self._finish)
        yield event(self._frame("chat.completion.chunk", choices=[], usage=self._generation.usage()))
        yield DONE

    async def left(self) -> None:
        """The client hung up: the tokens so far are billed."""
        if not self._kept:
            self._generation.cancelled = True
            await self._keep()

    async def _keep(self) -> None:
        self._kept = True
        await self._generations.keep(self._generation)

    async def _silence(self) -> AsyncGenerator[bytes, None]:
        yield COMMENT
        left = self._ending.slow or 0.0
        while left > 0:
            await asyncio.sleep(min(BREATH, left))
            left -= BREATH
            yield COMMENT

    async def _broken(self) -> AsyncGenerator[bytes, None]:
        if "midfail" in self._ending:
            self._generation.finish_reason = "error"
        await self._keep()
        if "midfail" not in self._ending:
            raise BrokenOff
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        yield event(self._frame("chat.completion.chunk", choices=[choice], error=OVERLOADED))

    def _tool_deltas(self) -> list[dict[str, object]]:
        if self._tool is None:
            return []
        said = self._tool.arguments
        parts = [said[start : start + ARGUMENT] for start in range(0, len(said), ARGUMENT)]
        opening = {"name": self._tool.name, "arguments": ""}
        first: dict[str, object] = {"index": 0, "id": self._tool.id, "type": "function", "function": opening}
        rest: list[dict[str, object]] = [{"index": 0, "function": {"arguments": part}} for part in parts]
        return [{"content": None, "tool_calls": [call]} for call in (first, *rest)]

    def _chunk(self, delta: Mapping[str, object], finish: str | None = None) -> bytes:
        """One chunk; every delta repeats the role."""
        choice = {
            "index": 0,
            "delta": {"role": "assistant", **delta},
            "finish_reason": finish,
            "native_finish_reason": finish,
        }
        return event(self._frame("chat.completion.chunk", choices=[choice]))

    def _frame(self, kind: str, **more: object) -> dict[str, object]:
        return {
            "id": self._generation.id,
            "object": kind,
            "created": self._generation.created // SECOND,
            "model": self._generation.language.id,
            "provider": PROVIDER,
            **more,
        }

    def _all_tokens(self) -> int:
        return len(self._words) + (tokens.count(self._tool.name + self._tool.arguments) if self._tool else 0)


def _until_stop(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop texts."""
    return text[: min((place for stop in stops if stop and (place := text.find(stop)) >= 0), default=len(text))]


def stops_of(body: Mapping[str, JsonValue]) -> list[str]:
    """`stop` is one text or up to four."""
    stop = body.get("stop")
    if isinstance(stop, str):
        return [stop]
    return [text for text in cast("list[object]", stop) if isinstance(text, str)] if isinstance(stop, list) else []
