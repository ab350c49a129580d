"""A receiver of webhooks on a loopback port: it remembers what it heard and answers what the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from standardwebhooks import Webhook

from phaya.serving import listen


@dataclass
class Heard:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        return orjson.loads(self.body)

    def signed_by(self, secret: str) -> bool:
        """Whether the specification's own signer makes one of the signatures, whatever the time is."""
        moment = datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), UTC)
        mark = Webhook(secret).sign(self.id, moment, self.body.decode())
        return mark in self.headers["webhook-signature"].split(" ")

    def verified(self, secret: str) -> Any:
        """What a receiver gets from the specification's own verifier, which raises where anything is wrong."""
        return Webhook(secret).verify(self.body, dict(self.headers))


@dataclass
class Receiver:
    """The last of `answers` is repeated; each is a status and headers. `gate` holds every answer while closed."""

    port: int
    heard: list[Heard] = field(default_factory=list[Heard])
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list[tuple[int, dict[str, str]]])
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    most: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def answer(self, status: int, **headers: str) -> None:
        """Decides the next answers."""
        self.answers = [(status, {name.replace("_", "-"): value for name, value in headers.items()})]

    async def take(self, request: web.Request) -> web.Response:
        self.heard.append(Heard(request.path, dict(request.headers), await request.read()))
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        status, headers = self.answers[0] if self.answers else (204, {})
        return web.Response(status=status, headers=headers)

    async def until(self, count: int, seconds: float = 30) -> list[Heard]:
        """Waits for so many requests."""
        async with asyncio.timeout(seconds):
            while len(self.heard) < count:
                await asyncio.sleep(0.02)
        return self.heard


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    """A receiver that answers 204 to everything."""
    with listen("127.0.0.1", 0) as listener:
        receiver = Receiver(listener.getsockname()[1])
        receiver.gate.set()
        app = web.Application()
        app.router.add_post("/{path:.*}", receiver.take)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            yield receiver
        finally:
            receiver.gate.set()
            await runner.cleanup()
