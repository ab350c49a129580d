"""Traces, for whoever asked for them: `spans` is None otherwise, and nothing of OpenTelemetry's SDK is loaded.

What is written into a trace is in spans.py. See docs/decisions/0024-what-is-seen.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

Value = str | int | float | bool


class Span(Protocol):
    """Something that lasts. It must be ended, once."""

    def name(self, name: str) -> None:
        """What it turned out to be."""
        ...

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        """Adds what is known of it; None is left out."""
        ...

    def end(self, failure: str | None = None) -> None:
        """It is over; `failure` is the kind of error, if it was one."""
        ...


class Spans(Protocol):
    """Makes spans of what Phaya does."""

    def request(self, method: str, parent: bytes | None) -> AbstractContextManager[Span]:
        """A request that is being answered. `parent` is the `traceparent` that its client sent: it is linked to, and
        decides nothing."""
        ...

    def move(self, job_id: str, step: str, service: str) -> AbstractContextManager[Span]:
        """One move of a job, in the job's own trace, whichever node makes it."""
        ...

    def call(self, operation: str, model: str | None, attributes: Mapping[str, Value | None]) -> Span:
        """A request to a provider."""
        ...

    def job(self, job_id: str, service: str, state: str, began: int, ended: int) -> None:
        """A job that has ended, from its opening on; times are milliseconds since 1970."""
        ...

    def link(self, span: Span, job_id: str) -> None:
        """Says that a request opened a job."""
        ...

    def close(self) -> None:
        """Sends what was not sent yet."""
        ...


spans: Spans | None = None
"""Where spans go, if anywhere."""


class NoTracing(Exception):
    """Traces are asked for that cannot be made; the message says why."""


def start(version: str) -> None:
    """Makes spans from now on, and sends them where the environment says (`OTEL_…`). Raises NoTracing."""
    global spans
    try:
        spans = importlib.import_module("phaya.spans").from_environment(version)
    except ImportError as error:
        raise NoTracing(
            f"PHAYA_OTEL asks for traces, and {error.name} is not installed: pip install 'phaya[otel]'."
        ) from error


def stop() -> None:
    """Sends what was not sent yet, and makes no more spans."""
    global spans
    if spans is not None:
        spans.close()
        spans = None
