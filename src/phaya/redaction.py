"""What no log line may hold, and how it is taken out: keys, passwords, cookies, signed addresses, and what users wrote.

Three nets hang behind each other. Secrets of this installation are known word for word. Others have a shape that gives
them away. And what a user asked for is known from the request or job that a line is about, so it is found again in
whatever a provider echoes. See docs/decisions/0024-what-is-seen.md.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any, cast
from urllib.parse import unquote, urlsplit

MASK = "***"
PRIVATE = "[private]"
"""What stands for words of a user."""
LONGEST = 16_000
"""Characters of one value in a log line."""
SHORTEST_SECRET = 8
"""A shorter setting may be a part of any honest word."""
PROBE = 16
"""Characters from which a text of a user is known: providers cut what they echo."""

asked: ContextVar[object] = ContextVar("asked", default=None)
"""What the user asked for, of the request or job under way: a JSON value, or JSON texts. It is read when a line is
written and at no other time, so that it costs nothing."""

_PROSE = frozenset({
    *("prompt", "negative_prompt", "text", "script", "lyrics", "content", "messages", "input", "instructions", "title"),
    *("style", "negativeTags", "negative_tags", "character_prompt", "safety_instruction", "watermark", "description"),
})  # fmt: skip
_NAMES = re.compile(
    r"authorization|cookie|passw(or)?d|secret|api[-_]?key|credential|signature|\btoken$|_token$|^prompt$|^messages$|^body$",
    re.IGNORECASE,
)
_QUOTED = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)"""
_SHAPES: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (r"\bpk_[a-z0-9]{6,}", "pk_" + MASK),  # our own keys
        (r"\b(?:sk|rk|pk|whsec|xox[abpors]|gh[oprsu])[-_][a-z0-9_+/=-]{10,}", MASK),
        (r"\bAIza[\w-]{20,}", MASK),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}", MASK),
        (r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*", MASK),  # a signed token
        (r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", r"\1 " + MASK),
        (
            r"""\b(authorization|(?:set-)?cookie|x-(?:goog-)?api-key)(["']?\)?\s*[:=,]\s*b?["']?)[^"'\r\n}]+""",
            r"\1\2" + MASK,
        ),
        (r"(://)[^/\s:@'\"]*:[^/\s@'\"]+@", r"\1" + MASK + "@"),
        (
            r"([?&;](?:x-(?:amz|goog)-[a-z-]+|awsaccesskeyid|googleaccessid|signature|sig|hmac|(?:access_|auth_)?token|key|"
            r"api[-_]?key|secret|password|code|policy|key-pair-id|session|sv|se)=)[^&\s\"'<>#]+",
            r"\1" + MASK,
        ),
        (r"(\bDETAIL:\s*)[^\n]+", r"\1" + MASK),  # of PostgreSQL: the row that was refused
        (r"(/welcome/)[\w-]+", r"\1" + MASK),  # of the console: it sets a password
        (r"(hooks\.slack\.com/)\S+", r"\1" + MASK),
        (
            r"""(["'](?:password|secret|api_?key|token|authorization|cookie)["']\s*:\s*)""" + _QUOTED,
            rf'\1"{MASK}"',
        ),
        (
            r"""(["'](?:(?:negative_?|character_)?prompt|messages|content|lyrics|script|text|input)["']\s*:\s*)"""
            + _QUOTED,
            rf'\1"{PRIVATE}"',
        ),
    )
)

_known: set[str] = set()


def hide(*secrets: str | None) -> None:
    """Takes these words out of every line from now on; of an address, the password in it."""
    for secret in secrets:
        if not secret:
            continue
        parts = urlsplit(secret) if "://" in secret else None
        words = [parts.password or "", unquote(parts.password or "")] if parts and parts.password else [secret]
        _known.update(word for word in words if len(word) >= SHORTEST_SECRET)


def hide_environment() -> None:
    """Takes the secrets out that other libraries read from the environment by themselves."""
    hide(*(os.environ.get(name) for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")))
    for name, value in os.environ.items():
        if name.startswith("OTEL_EXPORTER_OTLP") and name.endswith("HEADERS"):
            hide(*(unquote(pair.partition("=")[2]) for pair in value.split(",")))


def is_secret(text: str) -> bool:
    """Whether a text looks like a secret, or is one of ours."""
    return _without_secrets(text) != text


def clean(value: str) -> str:
    """A text without secrets and without words of the user that it is about."""
    return _without_words(_without_secrets(value[:LONGEST]))


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor that every line goes through last, before it is written."""
    for name, value in event.items():
        if type(value) is str:
            if name not in _SAFE:
                event[name] = MASK if _NAMES.search(name) else clean(value)
        elif value is not None and type(value) not in (int, float, bool):
            event[name] = MASK if _NAMES.search(name) else _cleaned(value, 0)
    return event


_SAFE = frozenset({"timestamp", "level", "request", "job", "method", "route"})
"""What this code writes itself, from words that were checked before."""


def _cleaned(value: object, depth: int) -> object:
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, int | float | bool):
        return value
    if depth < 4 and isinstance(value, Mapping):
        return {
            clean(str(name)): MASK if _NAMES.search(str(name)) else _cleaned(part, depth + 1)
            for name, part in cast("Mapping[object, object]", value).items()
        }
    if depth < 4 and isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(part, depth + 1) for part in cast("Sequence[object]", value)]
    return clean(str(value))


def _without_secrets(text: str) -> str:
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def _without_words(text: str) -> str:
    source = asked.get()
    if source is None or len(text) < 4:
        return text
    # All are looked for in the text as it came: covering one spelling would break another, and leave its beginning.
    spans = [span for words in _prose(source) for spelled in _spellings(words) for span in _spans(text, spelled)]
    kept, done = "", 0
    for begin, end in sorted(spans):
        if begin >= done:
            kept += text[done:begin] + PRIVATE
        done = max(done, end)
    return kept + text[done:]


def _prose(value: object, name: str = "", depth: int = 0) -> Iterator[str]:
    """The words of a user in a JSON value. Models, sizes and addresses are the operator's business, too."""
    if isinstance(value, str):
        if depth == 0 and value[:1] in "{[":
            try:
                yield from _prose(json.loads(value), depth=1)
            except ValueError:
                yield value
            return
        spoken = not value.isascii() or " " in value
        said = spoken and len(value) >= 8 and not value.startswith(("http://", "https://"))
        if said or (name in _PROSE and len(value) >= 4) or value.startswith("data:"):
            yield value
    elif isinstance(value, Mapping):
        for key, part in cast("Mapping[object, object]", value).items():
            yield from _prose(part, str(key), depth + 1)
    elif isinstance(value, list | tuple):
        for part in cast("Sequence[object]", value):
            # A tuple at the top holds texts of JSON: a job's request and its call.
            yield from _prose(part, name, 0 if depth == 0 and isinstance(value, tuple) else depth + 1)


def _spellings(words: str) -> set[str]:
    """The ways in which a text comes back: as it is, on one line, in JSON, in Python's quotes."""
    flat = " ".join(words.split())
    ways = {words, flat, json.dumps(words)[1:-1], json.dumps(words, ensure_ascii=False)[1:-1], repr(words)[1:-1]}
    return {way for way in ways if len(way) >= 4}


def _spans(text: str, words: str) -> Iterator[tuple[int, int]]:
    """Where the words stand in a text, as far as they go on from their beginning or up to their end."""
    head, tail = words[:PROBE], words[-PROBE:]
    at = text.find(head)
    while at >= 0:
        end = at + _alike(text[at : at + len(words)], words)
        yield at, end
        at = text.find(head, end)
    at = text.find(tail) if len(words) > PROBE else -1
    while at >= 0:
        end = at + len(tail)
        yield end - _alike(text[max(0, end - len(words)) : end][::-1], words[::-1]), end
        at = text.find(tail, end)


def _alike(one: str, other: str) -> int:
    """How many first characters two texts have in common."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
