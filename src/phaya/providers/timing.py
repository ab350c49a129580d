"""Each request to a provider is counted and timed here, and is a span where traces are asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import cache
from types import TracebackType
from typing import Self

from phaya import tracing
from phaya.metrics import PROVIDER_REQUESTS, PROVIDER_SECONDS
from phaya.providers import Exhausted, NotThere, OutOfOrder, ProviderError, Rejected, Unavailable, Unknown
from phaya.tracing import Span, Value

NAMES = {"gemini": "gcp.gemini"}
"""What the semantic conventions call a provider, where they name it."""

# Prometheus' client takes a lock and makes texts of the labels at each call.
_requests, _seconds = cache(PROVIDER_REQUESTS.labels), cache(PROVIDER_SECONDS.labels)


class Timed:
    """A request to a provider: a block that ends with its answer, or with the error that says why there is none.

    `kind` says what is asked (`submit`, `look`, `chat`…). For a span, `operation` is the conventions' word for it, and
    `model` the model that is asked.
    """

    __slots__ = ("_began", "_ended", "_failure", "_kind", "_provider", "_span")

    def __init__(
        self, provider: str, kind: str, operation: str | None = None, model: object = None, output: str | None = None
    ) -> None:
        self._provider = provider
        self._kind = kind
        self._ended = False
        self._failure: str | None = None
        self._span: Span | None = None
        if tracing.spans is not None:
            name = model if isinstance(model, str) else None
            told = {
                "gen_ai.provider.name": NAMES.get(provider, provider),
                "gen_ai.output.type": output,
                "phaya.provider.request": kind,
            }
            self._span = tracing.spans.call(operation or f"{provider} {kind}", name, told)
        self._began = time.perf_counter()

    def begun(self) -> None:
        """The answer has begun: what follows of a stream is no time of the provider's."""
        if not self._ended:
            self._ended = True
            _seconds(self._provider, self._kind).observe(time.perf_counter() - self._began)

    def failed(self, outcome: str) -> None:
        """How it ended, where no error says so, or one that only its adapter knows."""
        self._failure = outcome

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        """Adds to the span what the answer told."""
        if self._span is not None:
            self._span.note(attributes)

    def used(self, prompt: int | None, completion: int | None, generation: str | None = None) -> None:
        """What the answer used, in tokens, and its id."""
        if self._span is not None:
            self._span.note(
                {
                    "gen_ai.usage.input_tokens": prompt,
                    "gen_ai.usage.output_tokens": completion,
                    "gen_ai.response.id": generation,
                }
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        outcome = self._failure or outcome_of(error)
        self.begun()
        _requests(self._provider, self._kind, outcome).inc()
        if self._span is not None:
            self._span.end(None if outcome == "ok" else outcome)


def outcome_of(error: BaseException | None) -> str:
    """One word for how a request to a provider ended."""
    match error:
        case None:
            return "ok"
        case OutOfOrder():
            return "out_of_order"
        case Exhausted():
            return "exhausted"
        case Rejected():
            return "rejected"
        case Unavailable(crowded=True):
            return "crowded"
        case Unavailable():
            return "unavailable"
        case Unknown():
            return "unknown"
        case NotThere():
            return "not_there"
        case asyncio.CancelledError() | GeneratorExit():
            return "cancelled"
        case TimeoutError() | ProviderError():
            return "unavailable"
        case _:
            return "fault"
