"""How answers and refusals are written: exact JSON, and one shape of error per door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.responses import Response

from phaya.errors import Invalid, NotEnoughCredits, PhayaError
from phaya.idempotency import HEADER, InProgress
from phaya.logs import request_id
from phaya.telling import dumps
from phaya.web.paths import is_openai

LONGEST_RETRY = 120
"""Seconds that OpenAI's clients would wait before they try again by themselves."""


class Json(Response):
    """A JSON answer that may hold amounts."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return dumps(content)


def refusal(request: Request, error: PhayaError) -> Json:
    """An error in the shape of the door that was knocked at."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if is_openai(request.url.path):
        # Its clients send 408, 409 and all from 500 again by themselves; without a key that could buy twice.
        useful = error.status in (429, 503) or isinstance(error, InProgress)
        useful = useful or (error.status == 504 and HEADER in request.headers)
        if not useful or (error.retry_after or 0) > LONGEST_RETRY:
            headers["x-should-retry"] = "false"
        field = error.faults[0].field if isinstance(error, Invalid) else None
        told = openai_error(error.status, error.code, error.message, None if field == "body" else field)
        return Json({**told, "request_id": request_id.get()}, error.status, headers)
    body: dict[str, object] = {
        "success": False,
        "error": error.code,
        "message": error.message,
        "detail": error.message,
        "request_id": request_id.get(),
    }
    if isinstance(error, NotEnoughCredits):
        body |= {"needed": error.needed, "available": error.available}
    if isinstance(error, Invalid):
        body["detail"] = [
            {"loc": [fault.place, *fault.field.split(".")], "msg": fault.message, "type": fault.type}
            for fault in error.faults
        ]
    return Json(body, error.status, headers)


def openai_error(status: int, code: str, message: str, param: str | None = None) -> Mapping[str, object]:
    """OpenAI's envelope, with the message beside it for simple readers."""
    kind = {
        401: "authentication_error",
        402: "insufficient_quota",
        403: "permission_error",
        429: "rate_limit_error",
    }
    word = kind.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": word, "code": code, "param": param}, "message": message}
