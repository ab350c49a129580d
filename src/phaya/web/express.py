"""The express lanes: the requests that come most often, answered before the framework looks at them.

    GET  /api/v1/{home}/status/{job_id}     where a job stands, from the board
    POST /api/v1/{service}/generate         every create, by its own path
    POST …/chat/completions                 a chat, at both doors

Who calls, what may be asked and what is answered is decided by the same functions as at the routes; a lane only spares
the way there, which costs more than all the rest. A request that wants more than the plain answer (a query, a
preference, a cancel time, an origin) goes on to its route. See docs/decisions/0028-express-lanes.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from phaya.errors import PhayaError
from phaya.idempotency import HEADER, Taken
from phaya.limits import Quota
from phaya.system import System
from phaya.tariff import Tariff
from phaya.telling import Status
from phaya.web import chat
from phaya.web.answers import refusal
from phaya.web.caller import POLLS, REQUESTS, Caller, admit, enter, given_key
from phaya.web.generations import Home, homes, place, unknown
from phaya.web.openai import conversation
from phaya.web.repeats import Repeatable, repeatable, replayed

Lane = Callable[[Request, System, Caller, Repeatable], Awaitable[Response]]

DETOURS = frozenset({b"origin", b"prefer", b"cancel-after"})
"""Headers that only the routes understand."""
ID = 36
"""Characters of a job's id."""


def lanes(tariff: Tariff) -> Mapping[str, Lane]:
    """The POST requests that have a lane, by their paths."""
    found: dict[str, Lane] = {
        f"/api/v1/{service.create_path()}": partial(_create, service) for service in tariff.services.values()
    }
    found["/api/v1/phaya-gpt/chat/completions"] = chat.answer
    for prefix in ("/v1", "/api/v1", ""):
        found[f"{prefix}/chat/completions"] = conversation.answer
    return found


class Express:
    """Answers what has a lane, and passes everything else on."""

    def __init__(self, app: ASGIApp, tariff: Tariff) -> None:
        self.app = app
        self._lanes = lanes(tariff)
        self._homes = {f"/api/v1/{home.path}/status": home for home in homes(tariff)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Takes the lane of a plain request."""
        if scope["type"] == "http" and not scope["query_string"]:
            path: str = scope["path"]
            if scope["method"] == "GET":
                place, _, job_id = path.rpartition("/")
                if (home := self._homes.get(place)) is not None and len(job_id) == ID and job_id.isascii():
                    given = _headers(scope)
                    if given is not None:
                        return await _status(scope, receive, send, given, home, job_id)
            elif (lane := self._lanes.get(path)) is not None and _headers(scope) is not None:
                return await _take(lane, scope, receive, send)
        await self.app(scope, receive, send)


def _headers(scope: Scope) -> dict[bytes, bytes] | None:
    """The headers by name, the first of each; None where the request is none for a lane."""
    given: dict[bytes, bytes] = dict(reversed(scope["headers"]))
    return given if DETOURS.isdisjoint(given) else None


def _said(given: Mapping[bytes, bytes], name: bytes) -> str:
    return given.get(name, b"").decode("latin-1")


async def _status(
    scope: Scope, receive: Receive, send: Send, given: Mapping[bytes, bytes], home: Home, job_id: str
) -> None:
    phaya: System = scope["app"].state.system
    request: Request | None = None
    try:
        text = given_key(
            given.get(b"authorization", b"").decode("latin-1"), given.get(b"x-api-key", b"").decode("latin-1")
        )
        key = await phaya.keyring.find(text)
        request = Request(scope)
        await admit(request, phaya, key, POLLS)
        notice = await phaya.board.notice(job_id)
        job = notice.job
        if job is None or job.account_id != key.account_id or job.service not in phaya.tariff.services:
            raise unknown(job_id)
        status = notice.told(home, phaya.clock.now(), lambda job: Status.of(home.tell(phaya, job)))
    except PhayaError as error:
        request = request or Request(scope)
        return await _send(refusal(request, error), request, receive, send)
    quota: Quota = scope["state"]["quota"]
    known = status.known_by(_said(given, b"if-none-match"))
    await send(
        {
            "type": "http.response.start",
            "status": 304 if known else 200,
            "headers": [*(status.short if known else status.full), *quota.headers],
        }
    )
    await send({"type": "http.response.body", "body": b"" if known else status.body})


async def _take(lane: Lane, scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    phaya: System = scope["app"].state.system
    try:
        caller = await enter(request, REQUESTS)
        sent = repeatable(scope["path"], request.headers.get(HEADER))
        response = await lane(request, phaya, caller, sent)
    except PhayaError as error:
        response = refusal(request, error)
    except Taken as error:
        response = await replayed(request, error)
    except ClientDisconnect:
        return
    await _send(response, request, receive, send)


async def _send(response: Response, request: Request, receive: Receive, send: Send) -> None:
    quota = getattr(request.state, "quota", None)
    if isinstance(quota, Quota):
        response.raw_headers.extend(quota.headers)
    await response(request.scope, receive, send)


async def _create(service: type, request: Request, phaya: System, caller: Caller, sent: Repeatable) -> Response:
    response, _ = await place(service, request, phaya, caller, sent)
    return response
