"""Requests that are sent again with their `Idempotency-Key`: how one is recognized, and how it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Request
from starlette.responses import Response

from phaya import idempotency
from phaya.errors import Fault, Invalid
from phaya.idempotency import HEADER, Answer, Stamp, Taken, fingerprint
from phaya.system import System
from phaya.web.answers import dumps
from phaya.web.caller import Caller
from phaya.web.paths import real_path

REPLAYED = {"Idempotency-Replayed": "true"}


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request's key, where it has one, and the route that it was sent to."""

    path: str
    key: str | None

    def stamp(self, caller: Caller, body: object) -> Stamp | None:
        """What the request is recognized by; None without a key, and where only the price is asked for."""
        if self.key is None or _is_dry(body):
            return None
        return Stamp(caller.account_id, self.key, fingerprint(self.path, body))


def _is_dry(body: object) -> bool:
    return isinstance(body, dict) and bool(cast("dict[str, Any]", body).get("dry_run"))


async def _repeatable(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
            description="Your name for this request. Sent again with the same key and body within 24 hours, it is "
            "answered as the first time and not charged again; another body is 409.",
        ),
    ] = None,
) -> Repeatable:
    return repeatable(request.url.path, key)


def repeatable(path: str, key: str | None) -> Repeatable:
    """A request to a path that came with this `Idempotency-Key`. Raises Invalid."""
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise Invalid(Fault(HEADER, "must have 1 to 255 printable ASCII characters", place="header"))
    return Repeatable(real_path(path), key)


Sent = Annotated[Repeatable, Depends(_repeatable)]


async def look(phaya: System, stamp: Stamp | None) -> None:
    """Finds out, before anything is fetched or bought, whether the request was accepted before.

    Raises Taken where it was, which `replayed` answers, or Reused, InProgress or NotKept.
    """
    if stamp is not None:
        await phaya.database.read(idempotency.look, stamp, phaya.clock.now())


async def replayed(request: Request, error: Exception) -> Response:
    """The first answer once more, byte for byte."""
    assert isinstance(error, Taken)
    return given(error.answer, REPLAYED)


def json_answer(value: object) -> Answer:
    """A JSON answer, as it is sent and kept."""
    return Answer("application/json", dumps(value))


def given(answer: Answer, headers: dict[str, str] | None = None) -> Response:
    """An answer on its way to the client."""
    return Response(answer.body, media_type=answer.media_type, headers=headers)
