"""The door for AI agents: MCP over streamable HTTP at `/mcp`, without sessions.

A call is carried out as a request to the app's own REST routes with the caller's key, so keys, scopes, quotas, caps and
charges are those of the routes. The protocol's package is loaded with the first request: many a Phaya never needs it.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fastapi import FastAPI, Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phaya.credits import credits
from phaya.errors import Fault, Invalid, PhayaError
from phaya.origins import address_of
from phaya.system import System
from phaya.web.answers import dumps, refusal
from phaya.web.caller import credential, identify

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    Managers = tuple[StreamableHTTPSessionManager, StreamableHTTPSessionManager]
    """For clients that take events, and for those that take JSON only."""

BUDGET = "X-Budget"
LARGEST_BODY = 32_000_000
"""Bytes of a message at the most; uploads come as base64."""


def install(app: FastAPI) -> None:
    """Hangs the door into the app."""
    app.state.agents = Agents(app)
    # Without sessions there is nothing to listen to (GET) and nothing to end (DELETE).
    app.router.routes.append(Route("/mcp", app.state.agents, methods=["POST"]))


class Agents:
    """Answers `/mcp`."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._starting = asyncio.Lock()
        self._ready: asyncio.Future[Managers] | None = None
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One message of the protocol. A request without a valid key, or with a strange budget, is refused."""
        request = Request(scope, receive)
        phaya: System = self._app.state.system
        try:
            await identify(phaya, address_of(scope.get("client")), credential(request))
            _budget(request)
        except PhayaError as error:
            return await refusal(request, error)(scope, receive, send)
        told, whole = await self._managers()
        # Only a client that takes events can hear how a job goes on while it waits.
        takes_events = any(part in request.headers.get("accept", "") for part in ("text/event-stream", "*/*", "text/*"))
        await (told if takes_events else whole).handle_request(scope, receive, send)

    async def close(self) -> None:
        """Ends what is open."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _managers(self) -> Managers:
        async with self._starting:
            if self._ready is None:
                await asyncio.to_thread(importlib.import_module, "phaya.agents.server")
                self._ready = asyncio.get_running_loop().create_future()
                self._running = asyncio.create_task(self._run(self._ready))
        return await asyncio.shield(self._ready)

    async def _run(self, ready: asyncio.Future[Managers]) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from phaya.agents.calls import Desk
        from phaya.agents.desk import Budget, Shelf
        from phaya.agents.server import mcp_server

        shelf = Shelf(time.monotonic)

        def desk(context: Any) -> Desk:
            request: Request = context.request
            inside = Inside(self._app, credential(request), request.scope.get("client"))
            return Desk(inside, Budget(_budget(request)), shelf, local_files=False)

        server = mcp_server(desk, local_files=False)
        told, whole = (
            StreamableHTTPSessionManager(
                server, json_response=whole, stateless=True, max_request_body_size=LARGEST_BODY
            )
            for whole in (False, True)
        )
        async with told.run(), whole.run():
            ready.set_result((told, whole))
            await asyncio.get_running_loop().create_future()


def _budget(request: Request) -> Decimal | None:
    """What a single call may cost. Raises Invalid."""
    given = request.headers.get(BUDGET)
    if given is None:
        return None
    try:
        return Decimal(str(credits(given)))
    except ValueError as error:
        raise Invalid(Fault(BUDGET, f"{error}", place="header")) from None


class Inside:
    """The app's own REST API, asked within the process with a caller's key."""

    def __init__(self, app: FastAPI, key: str, client: tuple[str, int] | None) -> None:
        """`client` is where the agent's own request comes from: its key may be tied to that."""
        self._app: ASGIApp = app
        self._phaya: System = app.state.system
        self._key = key
        self._client = client

    async def get(self, path: str) -> dict[str, Any]:
        """A GET below `/api/v1`. Raises ApiError."""
        return await self._ask("GET", f"/api/v1/{path}", b"", {})

    async def post(self, path: str, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """A POST below `/api/v1`. Raises ApiError."""
        sent = {"content-type": "application/json"} | ({} if key is None else {"idempotency-key": key})
        return await self._ask("POST", f"/api/v1/{path}", dumps(dict(body)), sent)

    async def keep(self, name: str, content: bytes) -> dict[str, Any]:
        """Keeps a file. Raises ApiError."""
        mark = uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        form = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        sent = {"content-type": f"multipart/form-data; boundary={mark}"}
        return await self._ask("POST", "/api/v1/media/upload", form, sent)

    async def fetch(self, url: str, most: int) -> tuple[str, bytes] | None:
        """A stored file that this Phaya serves itself; None for larger ones and for links into a bucket."""
        ours = f"{self._phaya.public_url}/media/"
        if not url.startswith(ours):
            return None
        path = "/media/" + url.removeprefix(ours)
        _, headers, _ = await self._request("HEAD", path, b"", {})
        if int(headers.get("content-length", most + 1)) > most:
            return None
        status, headers, content = await self._request("GET", path, b"", {})
        return (headers.get("content-type", ""), content) if status == 200 else None

    async def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        from phaya.client import amounts, refusals  # with the first agent, as the protocol's package

        status, told, content = await self._request(method, path, body, headers)
        if status >= 400:
            raise refusals.refused(status, {"Retry-After": told.get("retry-after", "")}, content)
        return amounts.read(content)

    async def _request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request through the whole app.

        Who asked may hang up: the route then sees what it sees of any client that hangs up, and does its work to the
        end, or money that was held for a chat would come back although the model had answered.
        """
        place, _, query = path.partition("?")
        sent = {"authorization": f"Bearer {self._key}", "content-length": str(len(body)), **headers}
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": place,
            "raw_path": place.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": self._client,
            "server": None,
        }
        gone, parts, begun = asyncio.Event(), [body], dict[str, Any]()
        content = bytearray()

        async def receive() -> Message:
            if parts:
                return {"type": "http.request", "body": parts.pop(), "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.update(message)
            else:
                content.extend(message.get("body", b""))

        async def carry() -> None:
            try:
                await self._app(scope, receive, send)
            except Exception:
                if not begun:  # else it was answered as a fault of ours, and only told on for the log
                    raise

        try:
            await asyncio.shield(self._phaya.errand(carry()))
        finally:
            gone.set()
        return begun["status"], {name.decode(): value.decode() for name, value in begun["headers"]}, bytes(content)
