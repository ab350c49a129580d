"""The composition root: settings in, ASGI app out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Collection

from fastapi import FastAPI

from phaya import __version__
from phaya.clock import Clock
from phaya.node import node
from phaya.providers.roster import LANES
from phaya.settings import Settings
from phaya.tariff import Tariff
from phaya.tariff_file import tariff_of
from phaya.web import doors
from phaya.web.files import media_routes


def create_app(
    settings: Settings, public_url: str, clock: Clock | None = None, only: Collection[str] = LANES
) -> FastAPI:
    """Phaya as an ASGI app: the API, and a worker for the jobs of some lanes, in one process.

    `public_url` is where clients reach it. Everything is opened in the app's lifespan and closed with it.
    Raises BadTariff where the operator's file has a mistake.
    """
    tariff = tariff_of(settings)
    app = FastAPI(
        title="Phaya",
        version=__version__,
        description="AI media and chat behind one key and one prepaid balance.",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda app: _running(app, settings, tariff, public_url, clock, only),
    )
    doors.install(app, settings, tariff, public_url)
    return app


@contextlib.asynccontextmanager
async def _running(
    app: FastAPI, settings: Settings, tariff: Tariff, public_url: str, clock: Clock | None, only: Collection[str]
) -> AsyncGenerator[None]:
    async with node(settings, tariff, public_url, clock, only) as system:
        app.state.system = system
        app.state.parting = system.lookout.part
        app.router.routes.extend(media_routes(system.results.storage))
        try:
            yield
        finally:
            await app.state.agents.close()
