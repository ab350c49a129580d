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
from starlette.types import Receive, Scope, Send

from phaya.errors import PhayaError
from phaya.idempotency import HEADER, Taken
from phaya.keys import Key
from phaya.limits import Quota, QuotaSpent
from phaya.load import Load
from phaya.system import System
from phaya.tariff import Tariff
from phaya.telling import Status
from phaya.web import chat
from phaya.web.access import ROUTE
from phaya.web.answers import refusal
from phaya.web.caller import POLLS, REQUESTS, Caller, address_of, allowance, given_key, identify
from phaya.web.generations import Home, homes, place, unknown
from phaya.web.openai import conversation
from phaya.web.repeats import Repeatable, repeatable, replayed
from phaya.web.shields import shields
from phaya.wire import WHOLE, headers, lines

Lane = Callable[[Request, System, Caller, Repeatable], Awaitable[Response]]

DETOURS = frozenset({b"origin", b"prefer", b"cancel-after"})
"""Headers that only the routes understand."""
REPEATED = HEADER.lower().encode()
VARY = (b"vary", b"Origin")
"""A request with an origin is answered with the headers of CORS."""
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
    """The lanes of an app."""

    def __init__(
        self, tariff: Tariff, broken: Callable[[Request, Exception], Awaitable[Response]], *, secure: bool
    ) -> None:
        """`broken` answers what should not have happened. `secure`: this Phaya is reached by https."""
        self._always = lines([VARY, *shields(secure=secure)])
        self._broken = broken
        self._lanes = lanes(tariff)
        self._homes = {f"/api/v1/{home.path}/status/": home for home in homes(tariff)}

    def take(self, scope: Scope, receive: Receive, send: Send, phaya: System) -> Awaitable[None] | None:
        """The answering of a request that has a lane; None where it has none, and is to go on to its route."""
        if scope["query_string"]:
            return None
        path: str = scope["path"]
        headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))  # the first of each counts
        if not DETOURS.isdisjoint(headers):
            return None
        if scope["method"] == "GET":
            home, job_id = self._homes.get(path[:-ID]), path[-ID:]
            if home is None or not _is_id(job_id) or phaya.load.late:
                return None
            scope[ROUTE] = home.template
            return self._status(scope, receive, send, phaya, headers, home, job_id)
        lane = self._lanes.get(path) if scope["method"] == "POST" else None
        if lane is None or phaya.load.full(reading=False):
            return None  # what there is no time for is refused there, too
        scope[ROUTE] = path
        return _counted(self._carry_out(lane, scope, receive, send, phaya, headers), phaya.load)

    async def _status(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        phaya: System,
        headers: Mapping[bytes, bytes],
        home: Home,
        job_id: str,
    ) -> None:
        now = phaya.clock.now()
        quota: Quota | None = None
        try:
            key = await _known(phaya, scope, headers, now)
            quota = await phaya.limits.take(key.id, POLLS, allowance(phaya, key, POLLS))
            notice = phaya.board.held(job_id, now) or await phaya.board.notice(job_id)
            job = notice.job
            if job is None or job.account_id != key.account_id or job.service not in phaya.tariff.services:
                raise unknown(job_id)
            status = notice.told(home, now, lambda job: Status.of(home.tell(phaya, job)))
        except Exception as error:  # noqa: BLE001 - answered, and logged where it is no refusal, as everywhere
            request = Request(scope)
            response = refusal(request, error) if isinstance(error, PhayaError) else await self._broken(request, error)
            quota = error.quota if isinstance(error, QuotaSpent) else quota
            return await self._respond(response, quota, scope, receive, send)
        always = self._always + quota.lines
        if b"if-none-match" in headers and status.known_by(_said(headers, b"if-none-match")):
            await send({"type": WHOLE, "status": 304, "lines": status.short + always, "body": b""})
        else:
            await send({"type": WHOLE, "status": 200, "lines": status.full + always, "body": status.body})
        return None

    async def _carry_out(
        self,
        lane: Lane,
        scope: Scope,
        receive: Receive,
        send: Send,
        phaya: System,
        headers: Mapping[bytes, bytes],
    ) -> None:
        request = Request(scope, receive)
        quota: Quota | None = None
        try:
            key = await _known(phaya, scope, headers, phaya.clock.now())
            quota = await phaya.limits.take(key.id, REQUESTS, allowance(phaya, key, REQUESTS))
            sent = repeatable(scope["path"], _said(headers, REPEATED) if REPEATED in headers else None)
            response = await lane(request, phaya, Caller(key), sent)
        except PhayaError as error:
            quota = error.quota if isinstance(error, QuotaSpent) else quota
            response = refusal(request, error)
        except Taken as error:
            response = await replayed(request, error)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - answered and logged as everywhere
            response = await self._broken(request, error)
        await self._respond(response, quota, scope, receive, send)

    async def _respond(
        self, response: Response, quota: Quota | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        more = self._always + (quota.lines if quota else b"")
        if type(response).__call__ is Response.__call__ and response.background is None:
            said = lines(response.raw_headers) + more
            await send({"type": WHOLE, "status": response.status_code, "lines": said, "body": response.body})
        else:  # a stream
            response.raw_headers.extend(headers(more))
            await response(scope, receive, send)


async def _counted(answering: Awaitable[None], load: Load) -> None:
    """Answers a request that counts as one in work until then."""
    load.requests += 1
    try:
        await answering
    finally:
        load.requests -= 1


def _is_id(text: str) -> bool:
    """Whether this may stand where a path has an id; what has a slash in it is another path."""
    return text.isascii() and text.isprintable() and "/" not in text


def _said(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers[name].decode("latin-1") if name in headers else ""


async def _known(phaya: System, scope: Scope, headers: Mapping[bytes, bytes], now: int) -> Key:
    """The key that calls, without another look at one that may be used from anywhere and was found a moment ago."""
    text = given_key(_said(headers, b"authorization"), _said(headers, b"x-api-key"))
    key = phaya.keyring.held(text, now)
    return key if key is not None and not key.networks else await identify(phaya, address_of(scope.get("client")), text)


async def _create(service: type, request: Request, phaya: System, caller: Caller, sent: Repeatable) -> Response:
    response, _ = await place(service, request, phaya, caller, sent)
    return response
