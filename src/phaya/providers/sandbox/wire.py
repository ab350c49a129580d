"""Answers on the wire: JSON with exact numbers, KIE's envelope, and the ways in which an answer gets lost."""

from __future__ import annotations

from decimal import Decimal
from typing import cast

import orjson
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

LARGEST_BODY = 20_000_000

# The key under which an application tells its server, through the scope, that the connection is to be closed.
HUNG_UP = "phaya.sandbox.hung_up"


class BadBody(Exception):
    """The request's body is no JSON object, or too large."""


def number(value: Decimal) -> orjson.Fragment:
    """A decimal as a JSON number, digit for digit, without an exponent."""
    text = format(value, "f")
    return orjson.Fragment(text.rstrip("0").rstrip(".") if "." in text else text)


def json_answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer with the content type that KIE and OpenRouter send."""
    return Response(orjson.dumps(body), status, headers, media_type="application/json;charset=UTF-8")


def envelope(data: object = None, code: int = 200, message: str = "success") -> Response:
    """KIE's envelope: HTTP 200 whatever `code` says."""
    return json_answer({"code": code, "msg": message, "data": data})


def origin(request: Request) -> str:
    """Where the client reached us: links in answers start with it."""
    return str(request.base_url).rstrip("/")


def bearer(request: Request) -> str | None:
    """The key of the Authorization header; any key is good."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


async def json_body(request: Request) -> dict[str, JsonValue]:
    """The body as an object. Raises BadBody."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise BadBody("the body is too large")
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody("the body is not valid JSON") from error
    if not isinstance(value, dict):
        raise BadBody("the body is not a JSON object")
    return cast("dict[str, JsonValue]", value)


class NoAnswer(Response):
    """Closes the connection without a byte: what was asked has happened, and the client cannot know."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends nothing."""
        scope[HUNG_UP] = True
