"""OpenRouter's refusals, told before an answer has begun (openrouter.ai/docs, errors and debugging).

The envelope is `{"error": {"code", "message", "metadata"}}`. Since August 2026 availability failures carry
`error.availability`, whose `retryable` decides; their class and status may stand directly under `error`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from phaya.providers import Rejected, Unavailable
from phaya.providers.refusals import AGAINST_POLICY, CONTENT, PROVIDER, breaks_policy, lacks_credit, readable
from phaya.providers.transport import SHOWN, asked_pause, written

OPERATOR_PAUSE = 300.0
BACKOFF = 2.0

OUT_OF_ORDER = "Chat is out of order at the moment."
CROWDED = "The chat provider has too many requests at the moment."
FAILED = "The chat provider failed to answer; trying again later may work."
REFUSED = "The chat provider refused the request."

_STATUSES = {
    "context_length_exceeded": 400,
    "max_tokens_exceeded": 400,
    "token_limit_exceeded": 400,
    "string_too_long": 400,
    "invalid_request": 400,
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "invalid_image": 400,
    "image_too_large": 400,
    "image_too_small": 400,
    "unsupported_image_format": 400,
    "image_not_found": 400,
    "image_download_failed": 400,
    "precondition_failed": 400,
    "authentication": 401,
    "payment_required": 402,
    "permission_denied": 403,
    "content_policy_violation": 403,
    "refusal": 403,
    "not_found": 404,
    "timeout": 408,
    "payload_too_large": 413,
    "unprocessable": 422,
    "rate_limit_exceeded": 429,
    "server": 500,
    "provider_unavailable": 502,
    "provider_overloaded": 529,
}
ASKED_IN_VAIN = frozenset({520, 522, 524, 527})
"""Statuses of the edge before OpenRouter for a request that it passed on, or may have, without hearing the answer.

OpenRouter's own table says of 524 "retry with backoff", which is about what the next request may do. Nothing says that
the first one was not made: OpenRouter does not cancel what is not streamed, many upstreams run on and bill the whole,
and the insurance for empty answers covers only those that have no tokens. So the request is not sent again. With 521,
523, 525, 526 and 530 the edge found no one to pass it on to, and 529 is OpenRouter's word for a crowd.
"""

_POLICY_TYPES = ("content_policy_violation", "refusal")
_SERVER_ERROR = "server_error"


class ChatRejected(Rejected):
    """OpenRouter refused the request. `status` is OpenRouter's, `type` what OpenAI's clients know."""

    def __init__(self, message: str, detail: str, code: str, status: int) -> None:
        super().__init__(message, detail, code)
        self.status = status
        self.type = "permission_error" if status == 403 and code != CONTENT else "invalid_request_error"


class ChatUnavailable(Unavailable):
    """OpenRouter, or everyone behind it, did not answer. `status` is what a client should be told."""

    def __init__(self, message: str, detail: str, retry_after: float, status: int) -> None:
        super().__init__(message, detail, retry_after, crowded=status == 429)
        self.status = status
        self.type = "rate_limit_error" if status == 429 else _SERVER_ERROR


def refusal(
    status: int, answer: Mapping[str, JsonValue], start: str, pause: float | None
) -> ChatRejected | ChatUnavailable:
    """The error that an answer without a result means.

    `status` is the HTTP status, `start` the body's start for the operator, `pause` what Retry-After says.
    """
    told = answer.get("error")
    error = told if isinstance(told, dict) else {}
    metadata, availability = _mapping(error.get("metadata")), _mapping(error.get("availability"))
    named = metadata.get("error_type") or error.get("error_type") or error.get("type")
    message = error.get("message", told)
    text = message if isinstance(message, str) else ""
    # The message may be only "Provider returned error"; what the provider said is in `raw`.
    raw = _text(metadata.get("raw"))
    detail = f"OpenRouter answered HTTP {status}: {start}" + (f"; upstream: {raw}" if raw[:20] not in start else "")
    if status == 200:
        status = _told_status(error, named)
    wait = asked_pause(
        {}, pause, metadata.get("retry_after_seconds"), availability.get("retry_after"), _header(metadata)
    )
    if status in (401, 402) or lacks_credit(text) or (status == 403 and named == "payment_required"):
        return ChatUnavailable(OUT_OF_ORDER, detail, wait or OPERATOR_PAUSE, 503)
    if status in (400, 403, 404, 413, 422) and availability.get("retryable") is not True:
        # A 404 speaks of policies too, but of the account's own for its data.
        told_policy = status in (400, 403, 422) and breaks_policy(f"{text} {raw}")
        if named in _POLICY_TYPES or _moderated(metadata) or told_policy:
            return ChatRejected(AGAINST_POLICY, detail, CONTENT, status)
        return ChatRejected(_sentence(text, raw), detail, PROVIDER, status)
    if status == 429:
        return ChatUnavailable(CROWDED, detail, wait or BACKOFF, 429)
    shown = {408: 504, 524: 504, 503: 503, 529: 503, 404: 503}.get(status, 502)
    return ChatUnavailable(FAILED, detail, wait or BACKOFF, shown)


def _told_status(error: Mapping[str, JsonValue], named: JsonValue) -> int:
    """The status inside a body that came with HTTP 200. Codes may be numbers, digits, or words."""
    for value in (error.get("code"), error.get("http_status"), named):
        if isinstance(value, str) and value in _STATUSES:
            return _STATUSES[value]
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    return 502


def _moderated(metadata: Mapping[str, JsonValue]) -> bool:
    """Whether moderation or one of the account's guardrails stopped the request."""
    return any(metadata.get(name) for name in ("reasons", "flagged_input", "patterns"))


def _sentence(*texts: str) -> str:
    """The first text that a user can read, else a general one. Upstreams' JSON is none."""
    found = next((sentence for text in texts if text and (sentence := readable(text))), None)
    return f"The chat provider says: {found}" if found else REFUSED


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _text(value: JsonValue) -> str:
    if value is None:
        return ""
    return (value if isinstance(value, str) else written(value))[:SHOWN]


def _header(metadata: Mapping[str, JsonValue]) -> JsonValue:
    return _mapping(metadata.get("headers")).get("Retry-After")
