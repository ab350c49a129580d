"""How speech with a provider over HTTP can break, and what each break proves."""

from __future__ import annotations

import re
from collections.abc import Mapping

import aiohttp
import orjson
from pydantic import JsonValue

NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,  # DNS, refused, unreachable, TLS handshake, certificate
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,  # the proxy would not connect us
    aiohttp.InvalidURL,
)
"""The request was not sent, for want of a connection. Caught before BROKEN, which holds these too."""

BROKEN = (aiohttp.ClientError, OSError, TimeoutError)
"""Some of the request may have left, and the answer did not come, or not whole."""

SHOWN = 500
"""Characters of a provider's answer that a log line gets to see."""

LONGEST_WAIT = 3600.0
"""Seconds; a provider that asks for a longer pause is asked again after this one."""
SHORTEST_KEY = 16
LONGEST_URL = 4096
"""Characters of a result's address."""


class TooLong(aiohttp.ClientError):
    """The answer is longer than any honest one."""


async def whole_body(response: aiohttp.ClientResponse, limit: int, secret: str) -> bytes:
    """The body, unpacked, and without `secret`, should the provider echo our key: parts of it reach logs.

    Raises one of BROKEN where it is cut off, stalls, or exceeds `limit` bytes.
    """
    parts: list[bytes] = []
    length = 0
    while part := await response.content.readany():  # its iterators cost as much again
        length += len(part)
        if length > limit:
            raise TooLong(f"the answer exceeds {limit} bytes")
        parts.append(part)
    body = b"".join(parts)
    # A short key is that of a stand-in, and may be a part of any word or number of an honest answer.
    return body.replace(secret.encode(), b"***") if len(secret) >= SHORTEST_KEY else body


def start_of(body: bytes) -> str:
    """The first characters of an answer, on one line, for a log."""
    text = body[: 4 * SHOWN].decode("utf-8", "replace")
    text = re.sub(r"(token=)[0-9a-f]+", r"\1…", text)  # KIE echoes callback addresses, whose tokens are secret
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()[:SHOWN]


def written(value: JsonValue) -> str:
    """A value as JSON; empty where it is nested deeper than orjson writes, though it reads it (254 and 1024)."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def fault(error: BaseException) -> str:
    """A transport error for the log. Its type is named because many of aiohttp's errors have no text."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def asked_pause(headers: Mapping[str, str], *told: JsonValue) -> float | None:
    """The first sensible number of seconds in `Retry-After` or in what a body told; None without any."""
    for value in (headers.get("Retry-After"), *told):
        if isinstance(value, str) and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value.strip()):
            value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return min(float(value), LONGEST_WAIT)
    return None
