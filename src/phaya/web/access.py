"""What is seen of each request: its id, its line in the log, its place in the metrics, its span.

This stands before everything else and costs every request, so it is plain ASGI and holds back nothing: see
docs/observability.md for what it costs.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phaya import tracing
from phaya.logs import job_id, request_id
from phaya.metrics import OPEN_REQUESTS, REQUESTS, Tally
from phaya.redaction import is_secret
from phaya.tracing import Span
from phaya.wire import WHOLE, send_whole

log = structlog.get_logger()

HEADER = b"x-request-id"
ROUTE = "phaya.route"
"""Where in its scope a request says which template it belongs to, if it was answered before the router."""
UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
QUIET = "/callback"
"""How templates end whose requests come in crowds and change nothing but a job's next moment."""

_WELL_FORMED = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_random_bits = random.Random().getrandbits  # noqa: S311 - an id of a log line is no secret

Which = Literal["none", "notable", "all"]


@dataclass(frozen=True)
class Lines:
    """Which requests get a line: `notable` are those that failed on our side, took at least `slow` seconds until their
    answer began, or changed something; of all others, the share `sample`."""

    which: Which = "notable"
    slow: float = 2.0
    sample: float = 0.0


class Access:
    """Answers requests by an app, and sees what becomes of them."""

    def __init__(self, lines: Lines, routes: Callable[[], Iterable[tuple[object, str]]], parted: ASGIApp) -> None:
        """`routes` gives the endpoints with their templates; it is asked when an unknown endpoint has answered.
        `parted` answers a request that was broken off before its answer began, as the process has to stop."""
        self._lines = lines
        self._parted = parted
        self._routes = routes
        self._templates: dict[object, str] = {}
        self._tallies: dict[tuple[str, str, int], Tally] = {}
        self._open = 0
        OPEN_REQUESTS.set_function(lambda: self._open)

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Has the app answer a request."""
        began = time.perf_counter()
        name, parent, waits = _read(scope)
        mark = name.encode()
        token = request_id.set(name)
        job_id.set(None)
        status, until, whole = 0, 0.0, False

        async def pass_on(message: Message) -> None:
            nonlocal status, until, whole
            if message["type"] == "http.response.start":
                status, until = message["status"], time.perf_counter() - began
                message["headers"] = [*message.get("headers", ()), (HEADER, mark)]
            elif message["type"] == "http.response.body":
                whole = not message.get("more_body", False)
            elif message["type"] == WHOLE:
                status, until, whole = message["status"], time.perf_counter() - began, True
                # The id needs no check: it is ours, or was found well-formed.
                return await send_whole(scope, send, message, b"x-request-id: %b\r\n" % mark)
            return await send(message)

        spans = tracing.spans
        block: AbstractContextManager[Span] | None = None
        span: Span | None = None
        if spans is not None:
            block = spans.request(_method(scope), parent)
            span = block.__enter__()
        self._open += 1
        failed = False
        try:
            await app(scope, receive, pass_on)
        except asyncio.CancelledError:
            if status:
                raise
            await self._parted(scope, receive, pass_on)
        except Exception:
            failed = True
            # It was logged and answered in full; told on, it would be logged once more.
            if not whole:
                raise
        finally:
            self._open -= 1
            self._seen(scope, status, until or time.perf_counter() - began, waits, span)
            if block is not None:
                block.__exit__(None, None, None)
            if not failed:  # else the server's own line about it still needs the id
                request_id.reset(token)

    def _seen(self, scope: Scope, status: int, seconds: float, waits: bool, span: Span | None) -> None:
        route = self._template(scope)
        if waits:
            route += " (waiting)"
        method = _method(scope)
        tally = self._tallies.get((method, route, status))
        if tally is None:
            # Status 0 is a request whose client hung up before its answer began.
            tally = self._tallies[method, route, status] = REQUESTS.tally(method, route, str(status or "none"))
        tally.count(seconds)
        if span is not None:
            _close(span, scope, method, route, status)
        if self._notable(method, route, status, seconds, waits):
            write = log.error if status >= 500 else log.info
            write("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))

    def _notable(self, method: str, route: str, status: int, seconds: float, waits: bool) -> bool:
        lines = self._lines
        if lines.which == "notable":
            if status >= 500 or (seconds >= lines.slow and not waits):
                return True
            if method not in READING and 0 < status < 400 and not route.endswith(QUIET):
                return True
            return lines.sample > 0 and random.random() < lines.sample  # noqa: S311 - a sample of lines
        return lines.which == "all"

    def _template(self, scope: Scope) -> str:
        if (told := scope.get(ROUTE)) is not None:
            return told
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return UNMATCHED
        found = self._templates.get(endpoint)
        if found is None:
            # Routes of one function at several doors are one: the first.
            for one, template in self._routes():
                self._templates.setdefault(one, template)
            found = self._templates.setdefault(endpoint, UNMATCHED)
        return found


def _read(scope: Scope) -> tuple[str, bytes | None, bool]:
    """A request's id, its client's own if it is one; the trace that it belongs to; whether it asked to wait."""
    given: bytes | None = None
    parent: bytes | None = None
    waits = b"wait=" in scope["query_string"]
    for name, value in scope["headers"]:
        if name == HEADER:
            given = value
        elif name == b"prefer":
            waits = waits or b"wait" in value
        elif name == b"traceparent":
            parent = value
    if given is not None and _WELL_FORMED.fullmatch(given):
        text = given.decode()
        if not is_secret(text):
            return text, parent, waits
    return _random_bits(128).to_bytes(16, "big").hex(), parent, waits


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else "other"


def _close(span: Span, scope: Scope, method: str, route: str, status: int) -> None:
    span.name(method if route == UNMATCHED else f"{method} {route}")
    span.note(
        {
            "http.route": None if route == UNMATCHED else route,
            "http.response.status_code": status or None,
            "url.scheme": scope.get("scheme"),
            "phaya.request.id": request_id.get(),
        }
    )
    if tracing.spans is not None and (job := job_id.get()) is not None:
        tracing.spans.link(span, job)
    span.end(str(status) if status >= 500 else None)
