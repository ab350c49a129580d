"""How log lines are written: which request and job they are about, without secrets, as JSON or for a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Literal, TextIO

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from phaya.redaction import redact

Form = Literal["auto", "json", "console"]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The request that is answered here, and that errands run for."""
job_id: ContextVar[str | None] = ContextVar("job_id", default=None)
"""The job that is moved here, or that the request has opened."""


def configure(level: str, form: Form = "auto", out: TextIO | None = None) -> None:
    """Sends every line to `out`, or stderr: ours, and from `warning` on those of libraries.

    `auto` is readable on a terminal and JSON elsewhere.
    """
    out = sys.stderr if out is None else out
    assert out is not None
    readable = form == "console" or (form == "auto" and out.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    first: Sequence[Processor] = (with_ids, structlog.processors.add_log_level, stamp)
    last: Sequence[Processor] = (structlog.processors.format_exc_info, redact, _readable() if readable else _json)
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*first, _logger],
            processors=[ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(number, logging.WARNING))


def with_ids(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Adds the request and the job that a line is about, unless it names others itself."""
    if (request := request_id.get()) is not None:
        event.setdefault("request", request)
    if (job := job_id.get()) is not None:
        event.setdefault("job", job)
    return event


def _logger(logger: logging.Logger | None, _method: str, event: EventDict) -> EventDict:
    if (record := event.get("_record")) is not None:
        event["logger"] = record.name
    return event


def _json(_logger: object, _method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _readable() -> Processor:
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
