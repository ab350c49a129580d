"""OpenRouter: chat completions, whole or streamed, and embeddings (openrouter.ai/docs).

Bodies are sent as they come and answers are handed on as they come; only what money and errors need is read.
Which fields a caller may send is not decided here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn

import aiohttp
import orjson
from pydantic import JsonValue

from phaya.providers import Balance, Unavailable, Unknown
from phaya.providers.openrouter_errors import ASKED_IN_VAIN, refusal
from phaya.providers.openrouter_stream import Stream, Usage, count, decimal_text, usage_in
from phaya.providers.timing import Timed
from phaya.providers.transport import BROKEN, NEVER_CONNECTED, asked_pause, fault, start_of, whole_body, written

__all__ = ["Completion", "Model", "OpenRouter", "Stream", "Usage"]

LONGEST_ANSWER = 32 * 1024 * 1024
"""Bytes of a whole answer; pictures come inside it."""
DEEPEST = 200
"""Brackets from which on it is tried whether an answer can be written again."""

TITLE = "Phaya"
NO_ANSWER = "The chat provider cannot be reached at the moment."
CUT_OFF = "The connection to the chat provider broke before it answered."


@dataclass(frozen=True)
class Completion:
    """A whole answer as OpenRouter gave it. `generation` is the id by which its cost can be asked for."""

    body: dict[str, JsonValue]
    usage: Usage | None
    generation: str | None


@dataclass(frozen=True)
class Model:
    """A model on offer. Prices are decimal texts, in USD for one token."""

    id: str
    name: str
    context_length: int | None
    prompt_price: str | None
    completion_price: str | None


class OpenRouter:
    """OpenRouter behind one key of the operator."""

    name = "openrouter"

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        key: str,
        app_url: str | None = None,
        *,
        connect_seconds: float = 5,
        silence_seconds: float = 120,
        whole_seconds: float = 600,
    ) -> None:
        """`silence_seconds` may pass between two bytes of an answer, `whole_seconds` until an unstreamed one
        is complete. `app_url` makes the operator's site known to OpenRouter; without it nothing is told.
        """
        self._session = session
        self._base = base_url.rstrip("/")
        self._key = key
        self._headers = {"Authorization": f"Bearer {key}"}
        if app_url is not None:
            self._headers |= {"HTTP-Referer": app_url, "X-OpenRouter-Title": TITLE}
        self._posting = self._headers | {"Content-Type": "application/json"}
        # Packed events would be held back until a block is full.
        self._streaming = self._posting | {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        self._connect, self._silence = connect_seconds, silence_seconds
        self._whole, self._brief = self._time(whole_seconds), self._time(silence_seconds)

    async def complete(self, body: Mapping[str, JsonValue]) -> Completion:
        """A chat completion in one piece.

        Raises ChatRejected, ChatUnavailable, or Unknown where the connection broke before the answer was
        whole: the completion may have been made and billed.
        """
        return await self._timed("chat", "/chat/completions", {**body, "stream": False}, "choices", "text")

    async def embed(self, body: Mapping[str, JsonValue]) -> Completion:
        """Embeddings; raises as `complete` does."""
        return await self._timed("embeddings", "/embeddings", body, "data")

    @asynccontextmanager
    async def stream(self, body: Mapping[str, JsonValue], seconds: float | None = None) -> AsyncGenerator[Stream, None]:
        """A chat completion as it is made, for at most `seconds`. Leaving the context hangs up, which is the
        only way to cancel; many upstreams stop working and billing then.

        Raises as `complete` does until the answer has begun; later faults are told by the Stream.
        """
        with Timed(self.name, "stream", "chat", body.get("model"), "text") as timed:
            try:
                response = await self._session.post(
                    f"{self._base}/chat/completions",
                    data=orjson.dumps({**body, "stream": True}),  # in no variable: it would last as long as the stream
                    headers=self._streaming,
                    timeout=self._time(seconds),
                    allow_redirects=False,
                )
            except NEVER_CONNECTED as error:
                raise Unavailable(NO_ANSWER, fault(error)) from error
            except BROKEN as error:
                raise Unknown(CUT_OFF, fault(error)) from error
            try:
                if response.status != 200 or response.content_type != "text/event-stream":
                    await self._raise_refusal(response)
                timed.begun()
                stream = Stream(response)
                yield stream
                if stream.error is not None or stream.broken is not None:
                    timed.failed("cut_off")
                if stream.usage is not None:
                    timed.used(stream.usage.prompt_tokens, stream.usage.completion_tokens, stream.generation)
            finally:
                response.close()

    async def usage_of(self, generation: str) -> Usage | None:
        """What a generation used, also one that was hung up on; None where OpenRouter does not know it (yet).

        Raises ChatRejected or Unavailable.
        """
        with Timed(self.name, "usage"):
            answer = await self._get("/generation", {"id": generation}, missing=404)
        record = answer.get("data") if answer is not None else None
        if not isinstance(record, dict):
            return None
        prompt, completion = (
            count(record.get(f"native_tokens_{part}"), record.get(f"tokens_{part}"))
            for part in ("prompt", "completion")
        )
        if prompt is None or completion is None:
            return None
        return Usage(prompt, completion, decimal_text(record.get("total_cost")))

    async def models(self) -> list[Model]:
        """All models that answer in text, with their prices. Raises ChatRejected or Unavailable."""
        answer = await self._get("/models", {})
        listed = answer.get("data") if answer is not None else None
        if not isinstance(listed, list):
            raise Unavailable(NO_ANSWER, "OpenRouter's list of models has no data")
        return [model for entry in listed if isinstance(entry, dict) and (model := _model(entry))]

    async def balances(self) -> Sequence[Balance]:
        """Where the account stands, or for a key that may not ask that, the key. Raises ChatRejected or Unavailable."""
        account = _data(await self._get("/credits", {}, missing=403))  # answers management keys only
        bought, used = _decimal(account.get("total_credits")), _decimal(account.get("total_usage"))
        if bought is not None and used is not None:
            return [Balance(bought - used, "USD", used)]
        key = _data(await self._get("/key", {}))
        return [Balance(_decimal(key.get("limit_remaining")), "USD", _decimal(key.get("usage")))]

    async def _timed(
        self, operation: str, path: str, body: Mapping[str, JsonValue], result: str, output: str | None = None
    ) -> Completion:
        with Timed(self.name, operation, operation, body.get("model"), output) as timed:
            done = await self._post(path, body, result)
            usage = done.usage
            timed.note({"gen_ai.response.id": done.generation})
            if usage is not None:
                timed.used(usage.prompt_tokens, usage.completion_tokens if operation == "chat" else None)
            return done

    async def _post(self, path: str, body: Mapping[str, JsonValue], result: str) -> Completion:
        try:
            async with self._session.post(
                self._base + path,
                data=orjson.dumps(body),
                headers=self._posting,
                timeout=self._whole,
                allow_redirects=False,
            ) as response:
                return await self._read_whole(response, result)
        except NEVER_CONNECTED as error:
            raise Unavailable(NO_ANSWER, fault(error)) from error
        except BROKEN as error:
            raise Unknown(CUT_OFF, fault(error)) from error

    async def _raise_refusal(self, response: aiohttp.ClientResponse) -> NoReturn:
        """Raises what an answer means that is no stream although one was asked for."""
        try:
            await self._read_whole(response, "choices")
        except BROKEN as error:
            raise Unknown(CUT_OFF, fault(error)) from error
        # A good answer in one piece may be billed, but cannot be handed on as events.
        raise Unknown(CUT_OFF, f"OpenRouter answered a stream with {response.content_type}")

    async def _read_whole(self, response: aiohttp.ClientResponse, result: str) -> Completion:
        """A whole answer, which must hold a list under `result`; a refusal is raised.

        Pydantic AI has seen answers with status 200 and neither choices nor error: an upstream's failure.
        """
        body = await whole_body(response, LONGEST_ANSWER, self._key)
        try:
            parsed: JsonValue = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            if response.status == 200:
                raise Unknown(CUT_OFF, f"OpenRouter's answer is no JSON: {start_of(body)}") from error
            parsed = None
        if response.status in ASKED_IN_VAIN:
            raise Unknown(CUT_OFF, f"OpenRouter's edge answered HTTP {response.status}: {start_of(body)}")
        answer = parsed if isinstance(parsed, dict) else {}
        # What is nested so deep that it could not be written for the user is no answer; counting is cheap.
        if body.count(b"[") + body.count(b"{") > DEEPEST and not written(answer):
            raise Unknown(CUT_OFF, f"OpenRouter's answer is nested too deep: {start_of(body)}")
        if response.status != 200 or answer.get("error") or not isinstance(answer.get(result), list):
            raise refusal(response.status, answer, start_of(body), asked_pause(response.headers))
        if not answer[result]:
            raise refusal(502, {}, start_of(body), None)
        named = answer.get("id")
        generation = response.headers.get("X-Generation-Id") or (named if isinstance(named, str) else None)
        return Completion(answer, usage_in(answer), generation)

    async def _get(
        self, path: str, query: Mapping[str, str], missing: int | None = None
    ) -> dict[str, JsonValue] | None:
        try:
            async with self._session.get(
                self._base + path,
                params=query,
                headers=self._headers,
                timeout=self._brief,
                allow_redirects=False,
            ) as response:
                body = await whole_body(response, LONGEST_ANSWER, self._key)
                pause = asked_pause(response.headers)
                status = response.status
        except BROKEN as error:
            raise Unavailable(NO_ANSWER, fault(error)) from error
        if status == missing:
            return None
        start = start_of(body)
        try:
            parsed: JsonValue = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        answer = parsed if isinstance(parsed, dict) else {}
        if status != 200 or not answer or answer.get("error"):
            raise refusal(status, answer, start, pause)
        return answer

    def _time(self, seconds: float | None) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=seconds, connect=self._connect, sock_read=self._silence)


def _data(answer: Mapping[str, JsonValue] | None) -> Mapping[str, JsonValue]:
    data = answer.get("data") if answer is not None else None
    return data if isinstance(data, dict) else {}


def _decimal(value: JsonValue) -> Decimal | None:
    text = decimal_text(value)
    return None if text is None else Decimal(text)


def _model(entry: Mapping[str, JsonValue]) -> Model | None:
    slug, name, context, pricing = (entry.get(key) for key in ("id", "name", "context_length", "pricing"))
    if not isinstance(slug, str):
        return None
    prices = pricing if isinstance(pricing, dict) else {}
    return Model(
        slug,
        name if isinstance(name, str) else slug,
        count(context),
        decimal_text(prices.get("prompt")),
        decimal_text(prices.get("completion")),
    )
