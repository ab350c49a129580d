"""The sandbox: KIE.ai, OpenRouter and Google Gemini's speech on a loopback port, for a Phaya without any account.

It is a wire, not a mock: real adapters reach it over HTTP by their base URL alone, it answers as the
providers do, oddities included, and its results are real pictures, films and songs. What a prompt's
markers do is told in `endings`. Tasks and results live in one folder and survive a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from phaya.clock import Clock, SystemClock
from phaya.providers.sandbox import gemini, kie, suno, veo
from phaya.providers.sandbox.callbacks import Callbacks
from phaya.providers.sandbox.desk import Desk
from phaya.providers.sandbox.files import Fetch, Files, fetch_nothing
from phaya.providers.sandbox.generations import Generations
from phaya.providers.sandbox.inspection import Inspection
from phaya.providers.sandbox.openrouter import OpenRouter
from phaya.providers.sandbox.rates import Rate
from phaya.providers.sandbox.records import FolderTaken, Records
from phaya.providers.sandbox.tasks import Task, Tasks
from phaya.providers.sandbox.transcription import Transcription
from phaya.providers.sandbox.wire import HUNG_UP, json_answer

log = structlog.get_logger()

__all__ = ["FolderTaken", "Sandbox", "SandboxSettings", "create_sandbox"]


@dataclass(frozen=True)
class SandboxSettings:
    """What a caller may choose.

    `folder` holds the tasks and the results. `pace` is a factor on how long tasks and tokens take; 0 is at
    once. `webhook_key` signs callbacks. `creations` and `looks` are KIE's limits per key: so many in any so
    many seconds. `fetch` gets the bytes of an input's address, and decides which addresses are allowed; by
    default none is, and pictures are made without their stills. `connector` makes the connections of
    callbacks, and may refuse where they lead. `cap` bounds the kept results, in bytes. `paused` are models that
    are answered as KIE answers for Sora since mid-2026; `played` are models without a row of their own, each with
    the one that is played for it.
    """

    folder: Path
    pace: float = 1.0
    webhook_key: str | None = None
    creations: tuple[int, float] = (20, 10.0)
    looks: tuple[int, float] = (10, 1.0)
    fetch: Fetch = fetch_nothing
    connector: Callable[[], aiohttp.BaseConnector] = aiohttp.TCPConnector
    cap: int = 500_000_000
    paused: Collection[str] = ()
    played: Mapping[str, str] = field(default_factory=dict[str, str])


class Sandbox(Starlette):
    """The application. Its answers may get lost on purpose."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as any ASGI application."""
        await super().__call__(scope, receive, send)
        if scope.get(HUNG_UP):
            # ASGI has no word for closing a connection without an answer. Uvicorn closes it when an
            # application returns something.
            return "an answer that is lost on purpose"  # pyright: ignore[reportReturnType]
        return None


def create_sandbox(settings: SandboxSettings, clock: Clock | None = None) -> Sandbox:
    """The sandbox as an ASGI application; its lifespan opens the folder and sends what callbacks are due.

    Starting it raises FolderTaken where another process uses the folder.
    """
    clock = clock or SystemClock()
    records = Records(settings.folder / "sandbox.db")
    tasks = Tasks(records, clock, settings.pace)
    callbacks = Callbacks(
        tasks,
        _letter,
        key=settings.webhook_key,
        pace=settings.pace,
        clock=clock,
        connector=settings.connector,
    )
    desk = Desk(records, Rate(*settings.creations, clock), Rate(*settings.looks, clock), settings.paused)
    files = Files(settings.folder, tasks, settings.fetch, clock, settings.cap)
    doors = (
        kie.Kie(tasks, desk, callbacks, clock, settings.played),
        suno.Suno(tasks, desk, callbacks, clock),
        veo.Veo(tasks, desk, callbacks, clock),
        OpenRouter(records, Generations(records, clock), settings.pace),
        gemini.Gemini(records, settings.folder, settings.pace),
        Transcription(),
        files,
        Inspection(records, clock),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
        await records.open()
        await tasks.forget_old()
        await asyncio.to_thread(files.prepare)
        sending = asyncio.create_task(_attended(callbacks))
        try:
            yield
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await files.close()
            await records.close()

    return Sandbox(
        routes=[route for door in doors for route in door.routes()],
        lifespan=lifespan,
        exception_handlers={404: _not_found, 405: _not_found},
    )


async def _attended(callbacks: Callbacks) -> None:
    try:
        await callbacks.run()
    except Exception:
        log.exception("sandbox.callbacks.stopped")
        raise


def _letter(task: Task, kind: str) -> bytes:
    match task.family:
        case "jobs":
            return kie.letter(task, kind)
        case "suno":
            return suno.letter(task, kind)
        case "veo":
            return veo.letter(task, kind)


async def _not_found(request: Request, error: Exception) -> Response:
    return json_answer({"code": 404, "msg": "Not Found", "data": None}, 404)
