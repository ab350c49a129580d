"""The composition root: settings in, ASGI app out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import structlog
from fastapi import FastAPI

from phaya import __version__, jobs
from phaya.addresses import Fetcher, Guard
from phaya.breaker import Breaker
from phaya.clock import Clock, SystemClock
from phaya.database import Embedded
from phaya.intake import Intake
from phaya.keys import load_secret
from phaya.limits import Limits
from phaya.lookout import Lookout
from phaya.moves import Moves
from phaya.offers import Offers
from phaya.operator import Door
from phaya.providers.ffmpeg import Ffmpeg
from phaya.providers.gemini import Gemini
from phaya.providers.kie import Kie
from phaya.providers.kie_routes import KieRoutes
from phaya.providers.openrouter import OpenRouter
from phaya.providers.platforms import Platforms
from phaya.providers.roster import DOWNLOAD, REMOTE, RENDER, SPEECH, Roster
from phaya.providers.transcription import Transcription
from phaya.providers.ytdlp import YtDlp
from phaya.results import KEEP_SECONDS, Results
from phaya.serving import listen, serving
from phaya.settings import Settings
from phaya.storage import Storage
from phaya.system import System
from phaya.tariff import Tariff
from phaya.tariff_file import tariff_of
from phaya.web import doors
from phaya.web.files import media_routes
from phaya.worker import Worker
from phaya.workflow import Workflow

log = structlog.get_logger()

MOVES = 64
"""Remote moves at a time in one process; each is one short call."""
READINGS = 8
"""Texts that are read aloud at a time; each is one request to Gemini after another."""
SANDBOX_KEY = "the-sandbox-knows-no-accounts"


@dataclass(frozen=True)
class Host:
    """Where a provider is and by which keys it knows us."""

    kie_url: str
    kie_keys: tuple[str, ...]
    webhook_keys: tuple[str, ...]
    openrouter_url: str
    openrouter_key: str | None
    gemini_url: str
    gemini_key: str | None
    origins: tuple[tuple[str, int], ...] = ()
    transcribe_url: str | None = None


def create_app(settings: Settings, public_url: str, clock: Clock | None = None) -> FastAPI:
    """Phaya as an ASGI app: API and worker in one process on an embedded database.

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
        lifespan=lambda app: _running(app, settings, tariff, public_url, clock or SystemClock()),
    )
    doors.install(app, settings, tariff)
    return app


@contextlib.asynccontextmanager
async def _running(
    app: FastAPI, settings: Settings, tariff: Tariff, public_url: str, clock: Clock
) -> AsyncGenerator[None]:
    async with contextlib.AsyncExitStack() as stack:
        database = Embedded(settings.data_dir)
        stack.push_async_callback(database.close)
        host = await stack.enter_async_context(_providers_host(settings, tariff, public_url, clock))
        system = await _assemble(stack, settings, tariff, public_url, clock, database, host)
        stack.push_async_callback(_finish_errands, system)
        worker = Worker(
            Moves(system.workflow, system.results, system.limits, breaker=system.breaker, patience=tariff.patience),
            {
                REMOTE: MOVES,
                RENDER: settings.renders or max(1, (os.cpu_count() or 2) // 2),
                SPEECH: READINGS,
                DOWNLOAD: settings.downloads,
            },
            media_days=settings.media_days,
        )
        released = await database.write(jobs.release_all, clock.now())
        if released:
            log.info("worker.recovered", jobs=released)
        working = asyncio.create_task(worker.run())
        stack.push_async_callback(_stop, worker, working)
        await stack.enter_async_context(Door(settings.data_dir, database, system.secret, clock, tariff.paths))
        app.state.system = system
        app.state.parting = system.lookout.part
        app.router.routes.extend(media_routes(system.results.storage))
        log.info("phaya.ready", url=public_url, sandbox=settings.sandbox, version=__version__)
        yield


async def _assemble(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    tariff: Tariff,
    public_url: str,
    clock: Clock,
    database: Embedded,
    host: Host,
) -> System:
    session = await stack.enter_async_context(
        aiohttp.ClientSession(
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Shorter than servers keep idle connections, so that no request goes into one that is being closed.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
            headers={"User-Agent": f"phaya/{__version__}"},
        )
    )
    agent = f"phaya/{__version__}"
    inputs = Fetcher(Guard(networks=settings.allowed_networks), user_agent=agent)
    made = Fetcher(
        Guard(networks=settings.allowed_networks, origins=host.origins),
        total_seconds=KEEP_SECONDS,
        user_agent=agent,
    )
    stack.push_async_callback(inputs.close)
    stack.push_async_callback(made.close)
    storage = Storage((settings.data_dir / "media").resolve().as_uri(), public_url)
    work = settings.data_dir / "work"
    shutil.rmtree(work, ignore_errors=True)  # left over by a process that died
    secret = load_secret(settings.secret, settings.data_dir)
    results = Results(storage, made, work, tariff)
    limits = Limits()
    kie = Kie(session, host.kie_url, host.kie_keys, host.webhook_keys, clock) if host.kie_keys else None
    openrouter = (
        OpenRouter(session, host.openrouter_url, host.openrouter_key, settings.public_url)
        if host.openrouter_key
        else None
    )
    gemini = Gemini(session, host.gemini_url, host.gemini_key, settings.speech_model) if host.gemini_key else None
    transcription = (
        Transcription(session, host.transcribe_url, settings.transcribe_key, settings.transcribe_model)
        if host.transcribe_url
        else None
    )
    workflow = Workflow(
        database,
        Roster(
            kie=kie,
            ffmpeg=Ffmpeg(transcription=transcription),
            transcribes=transcription is not None,
            gemini=gemini,
            ytdlp=_downloader(settings, work),
            kie_routes=KieRoutes(settings.veo_route, settings.suno_route, settings.suno_model),
        ),
        clock,
        secret=secret,
        callback_base=_callback_base(settings, public_url),
        deadline_scale=settings.deadline_scale,
        sandbox=settings.sandbox,
    )
    intake = Intake(storage, inputs, work, clock, workflow.roster.foresee)
    breaker = Breaker(clock, tariff.patience)
    offers = Offers(tariff, workflow.roster, breaker, clock)
    lookout = Lookout(database, most=settings.open_waits)
    workflow.on_change(lookout.nudge)
    stack.push_async_callback(lookout.close)
    return System(
        settings, public_url, secret, clock, database, limits, results, intake, workflow, openrouter,
        tariff, breaker, offers, lookout,
    )  # fmt: skip


def _downloader(settings: Settings, folder: Path) -> YtDlp | None:
    if not settings.download_platforms:
        return None
    return YtDlp(
        Platforms.named(settings.download_platforms),
        folder,
        most_bytes=settings.download_max_mb * 1_000_000,
        wall_seconds=settings.download_seconds,
        networks=settings.allowed_networks,
        proxy=settings.download_proxy,
        cookies=settings.download_cookies,
    )


def _callback_base(settings: Settings, public_url: str) -> str | None:
    """Where providers reach us. A real KIE cannot call a loopback address: without a public one we only look.

    An operator's own stand-in for KIE (another base address) may well be on this machine.
    """
    reachable = settings.public_url is not None or settings.sandbox or "api.kie.ai" not in settings.kie_base_url
    return f"{public_url}/api/v1" if reachable else None


@contextlib.asynccontextmanager
async def _providers_host(settings: Settings, tariff: Tariff, public_url: str, clock: Clock) -> AsyncGenerator[Host]:
    """The real providers, or, where no key at all is given, the sandbox on a loopback port of this process."""
    if not settings.sandbox:
        yield Host(
            settings.kie_base_url,
            settings.kie_api_key,
            settings.kie_webhook_key,
            settings.openrouter_base_url,
            settings.openrouter_api_key,
            settings.gemini_base_url,
            settings.gemini_api_key,
            transcribe_url=settings.transcribe_url,
        )
        return
    from phaya.providers.sandbox.hosting import hosted_sandbox  # not loaded where real providers answer

    ours = urlsplit(public_url)
    reached = [(ours.hostname or "", ours.port or 80)]
    app = hosted_sandbox(settings, settings.data_dir / "sandbox", reached, clock, tariff.declared)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        async with serving(app, listener):
            origin = f"http://127.0.0.1:{port}"
            yield Host(
                origin,
                (SANDBOX_KEY,),
                settings.kie_webhook_key,
                f"{origin}/api/v1",
                SANDBOX_KEY,
                origin,
                SANDBOX_KEY,
                (("127.0.0.1", port),),
                transcribe_url=settings.transcribe_url or f"{origin}/v1",
            )


async def _stop(worker: Worker, working: asyncio.Task[None]) -> None:
    await worker.stop()
    await working


async def _finish_errands(system: System) -> None:
    if system.errands:
        await asyncio.wait(system.errands, timeout=5)
