"""A streamed answer of OpenRouter: its events as raw bytes, and what is read from them in passing."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import aiohttp
import orjson
from pydantic import JsonValue

from phaya.providers.transport import BROKEN, fault

LONGEST_EVENT = 32 * 1024 * 1024
"""Bytes of one event; a picture comes in one piece."""

MOST_TOKENS = 1_000_000_000
"""Tokens of one answer beyond which a count is a fault, not a bill."""
LONGEST_PRICE = 64
"""Characters of a price that is told as text."""

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"\r?\n")
_DATA = re.compile(rb"data: ?")


@dataclass(frozen=True)
class Usage:
    """Tokens as billed, and the provider's price for them in USD as a decimal text, where it is told."""

    prompt_tokens: int
    completion_tokens: int
    cost: str | None


class Stream:
    """The events of one answer. Iterate once; the attributes grow with what has passed.

    An event is handed on as the bytes that came, comments too, and always whole: it ends with its blank line,
    so no character is ever split. The iteration never raises for the provider's faults: it ends, and
    `error` (the provider told one), `broken` (the connection ended early) and `finished` say how.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.generation: str | None = response.headers.get("X-Generation-Id")
        """The id by which usage can be asked for after a hang-up; from the header, or the first event."""
        self.usage: Usage | None = None
        """Set when the usage event passed, which is the last before the end."""
        self.finished = False
        """Whether `[DONE]` or a finish reason was seen. Without either the answer is cut off."""
        self.error: dict[str, JsonValue] | None = None
        """The error that the provider told in the middle. It decides, whatever the finish reason."""
        self.broken: str | None = None
        """How the connection ended early, for the operator."""
        self.characters = 0
        """Characters of content, reasoning and tool arguments so far."""
        self.octets = 0
        """The same in bytes of UTF-8, nearer to tokens where the script is not Latin."""
        self._response = response
        self._done = False

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._events()

    async def _events(self) -> AsyncGenerator[bytes, None]:
        waiting = bytearray()
        try:
            async for part in self._response.content.iter_any():
                # A blank line may straddle two parts by up to three bytes.
                seen = max(0, len(waiting) - 3)
                waiting += part
                while end := _BLANK_LINE.search(waiting, seen):
                    event = bytes(waiting[: end.end()])
                    del waiting[: end.end()]
                    seen = 0
                    self._read(event)
                    yield event
                    if self._done:
                        return
                if len(waiting) > LONGEST_EVENT:
                    self.broken = f"an event exceeds {LONGEST_EVENT} bytes"
                    return
        except BROKEN as error:
            self.broken = fault(error)
        if self.broken is None and waiting.strip():
            # The last event came without its blank line. One that is whole counts.
            event = bytes(waiting.rstrip(b"\r\n")) + b"\n\n"
            if self._read(event):
                yield event
        if self.broken is None and not self.finished and self.error is None:
            self.broken = "the stream ended without [DONE] or a finish reason"

    def _read(self, event: bytes) -> bool:
        """Takes note of an event; False where it holds nothing that could be read."""
        data = b"\n".join(line[found.end() :] for line in _LINE.split(event) if (found := _DATA.match(line)))
        if data.strip() == b"[DONE]":
            self.finished = self._done = True
            return True
        try:
            chunk: JsonValue = orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
        if not isinstance(chunk, dict):
            return False
        if self.generation is None and isinstance(named := chunk.get("id"), str) and named:
            self.generation = named
        if told := chunk.get("error"):
            self.error = told if isinstance(told, dict) else {"message": told}
        self.usage = usage_in(chunk) or self.usage
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict):
                self._count(choice.get("delta"))
                # Reasoning models repeat the reason, and upstreams told "error" may leave it null.
                self.finished = self.finished or bool(choice.get("finish_reason"))
        return True

    def _count(self, delta: JsonValue) -> None:
        if not isinstance(delta, dict):
            return
        said: list[JsonValue] = [delta.get("content"), delta.get("reasoning"), delta.get("refusal")]
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                said += [function.get("name"), function.get("arguments")]
        audio = delta.get("audio")
        if isinstance(audio, dict):
            said.append(audio.get("transcript"))
        for text in said:
            if isinstance(text, str):
                self.characters += len(text)
                self.octets += len(text.encode())


def usage_in(answer: Mapping[str, JsonValue]) -> Usage | None:
    """The usage that an answer or event tells; None where it tells none. Embeddings have no completion."""
    usage = answer.get("usage")
    if not isinstance(usage, dict) or (prompt := count(usage.get("prompt_tokens"))) is None:
        return None
    told = usage.get("completion_tokens")
    completion = 0 if told is None else count(told)
    return None if completion is None else Usage(prompt, completion, decimal_text(usage.get("cost")))


def count(*values: JsonValue) -> int | None:
    """The first that is a whole number from 0 to `MOST_TOKENS`: what is beyond is no count of anything."""
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
            return value
    return None


def decimal_text(value: JsonValue) -> str | None:
    """A price as a plain decimal text. OpenRouter tells costs as doubles; their shortest text is exact."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > LONGEST_PRICE:
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    if not number.is_finite() or number < 0 or (number and not -25 < number.adjusted() < 15):
        return None
    if not number:
        return "0"  # written out, 0E-99999999 would be a hundred million zeros
    return f"{number:f}"
