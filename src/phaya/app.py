"""The composition root: settings in, ASGI app out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Collection, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.telemetry import TelemetryConfig
from starlette.types import Receive, Scope, Send

from phaya import __version__
from phaya.clock import Clock
from phaya.node import node
from phaya.providers.roster import LANES
from phaya.settings import Settings
from phaya.tariff import Tariff
from phaya.tariff_file import tariff_of
from phaya.web import doors
from phaya.web.access import Access, Lines
from phaya.web.express import Express
from phaya.web.files import media_routes
from phaya.web.shields import shielded, shields


class App(FastAPI):
    """Phaya's routes; before them its express lanes, and before these what is seen of each request."""

    express: Express | None = None

    def __init__(self, lines: Lines, *, secure: bool, **values: Any) -> None:
        """`secure`: this Phaya is reached by https."""
        # FastAPI's own telemetry would see only what comes to its router, and sends texts of exceptions.
        off: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
        super().__init__(**values, telemetry=off)
        self.access = Access(lines, self._templates, self._part)
        self._shields = shields(secure=secure)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, and lets it be seen."""
        if scope["type"] == "http":
            return await self.access.answer(self._answer, scope, receive, send)
        return await super().__call__(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, on its lane if it has one."""
        if self.express is not None:
            scope["app"] = self
            if (answering := self.express.take(scope, receive, send, self.state.system)) is not None:
                return await answering
        return await self.at_route(scope, receive, send)

    async def at_route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request past the lanes."""
        # Out here, because what no handler foresees is answered outside of all of FastAPI's middleware.
        await super().__call__(scope, receive, shielded(send, self._shields))

    async def _part(self, scope: Scope, receive: Receive, send: Send) -> None:
        await doors.parted(scope, receive, shielded(send, self._shields))

    def _templates(self) -> Iterator[tuple[object, str]]:
        for route in iter_route_contexts(self.routes):
            if route.endpoint is not None and route.path_format:
                yield route.endpoint, route.path_format


def create_app(
    settings: Settings, public_url: str, clock: Clock | None = None, only: Collection[str] = LANES
) -> FastAPI:
    """Phaya as an ASGI app: the API, and a worker for the jobs of some lanes, in one process.

    `public_url` is where clients reach it. Everything is opened in the app's lifespan and closed with it.
    Raises BadTariff where the operator's file has a mistake.
    """
    tariff = tariff_of(settings)

    def lifespan(app: FastAPI) -> contextlib.AbstractAsyncContextManager[None]:
        return _running(app, settings, tariff, public_url, clock, only)

    secure = public_url.startswith("https:")
    app = App(
        Lines(settings.log_requests, settings.log_slow_seconds, settings.log_sample),
        secure=secure,
        title="Phaya",
        version=__version__,
        description="AI media and chat behind one key and one prepaid balance.",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.trusted_proxies = [str(network) for network in settings.trusted_proxies]
    doors.install(app, settings, tariff)
    app.express = Express(tariff, doors.broken, secure=secure)
    return app


@contextlib.asynccontextmanager
async def _running(
    app: FastAPI, settings: Settings, tariff: Tariff, public_url: str, clock: Clock | None, only: Collection[str]
) -> AsyncGenerator[None]:
    async with node(settings, tariff, public_url, clock, only) as system:
        app.state.system = system
        app.state.parting = system.parting.begin
        app.router.routes.extend(media_routes(system.results.storage))
        try:
            yield
        finally:
            await app.state.agents.close()
