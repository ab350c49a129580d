"""A node: everything that works on the database, put together from the settings. With HTTP before it (app.py) it is a
server, without it a worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, Collection, Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import structlog

from phaya import __version__, jobs, keys, redaction
from phaya.addresses import Fetcher, Guard
from phaya.allowances import Allowance
from phaya.board import Board
from phaya.brake import Brake
from phaya.checkout import Checkout
from phaya.clock import DAY, SECOND, Clock
from phaya.decoding.decoder import Decoder
from phaya.deliverer import Deliverer
from phaya.engine import Engine, engine
from phaya.figures import Census
from phaya.intake import Intake
from phaya.keyring import Keyring
from phaya.load import Load
from phaya.lookout import Lookout
from phaya.moves import Moves
from phaya.offers import Offers
from phaya.operator import Door
from phaya.parting import ERRANDS, MOVES, Parting
from phaya.passwords import Hashing
from phaya.providers.child import missing_walls
from phaya.providers.ffmpeg import Ffmpeg
from phaya.providers.gemini import Gemini
from phaya.providers.kie import Kie
from phaya.providers.kie_routes import KieRoutes
from phaya.providers.openrouter import OpenRouter
from phaya.providers.platforms import Platforms
from phaya.providers.roster import DOWNLOAD, LANES, REMOTE, RENDER, SPEECH, Roster
from phaya.providers.transcription import Transcription
from phaya.providers.ytdlp import YtDlp
from phaya.results import KEEP_SECONDS, Results
from phaya.retention import Retention
from phaya.serving import listen, serving
from phaya.settings import Settings
from phaya.sharing import sharing
from phaya.storage import storage_of
from phaya.stripe import Stripe
from phaya.system import System
from phaya.tariff import Tariff
from phaya.watchman import Outlook, Post, Watchman
from phaya.worker import LONGEST_SLEEP, Worker
from phaya.workflow import Workflow

log = structlog.get_logger()

REMOTE_PLACES = 64
"""Remote moves at a time in one process; each is one short call."""
READINGS = 8
"""Texts that are read aloud at a time; each is one request to Gemini after another."""
POLLING = 0.5
"""Seconds after which a node looks for work that other nodes have opened or woken."""
SANDBOX_KEY = "the-sandbox-knows-no-accounts"


class Misfit(Exception):
    """This node cannot work with the others on its database; the message says what to change."""


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


@contextlib.asynccontextmanager
async def node(
    settings: Settings, tariff: Tariff, public_url: str, clock: Clock | None = None, only: Collection[str] = LANES
) -> AsyncGenerator[System]:
    """Opens everything and works on the jobs of some lanes for as long as the block lasts.

    Raises InUse, DatabaseDown, BadStorage or Misfit.
    """
    redaction.hide(*settings.secrets)
    redaction.hide_environment()
    async with contextlib.AsyncExitStack() as stack:
        memory = await stack.enter_async_context(engine(settings, clock))
        host = await stack.enter_async_context(_providers_host(settings, tariff, public_url, memory.clock))
        system = await _assemble(stack, settings, tariff, public_url, memory, host)
        stack.push_async_callback(_finish_errands, system)
        places = {
            REMOTE: REMOTE_PLACES,
            RENDER: settings.renders or max(1, (os.cpu_count() or 2) // 2),
            SPEECH: READINGS,
            DOWNLOAD: settings.downloads,
        }
        worker = Worker(
            Moves(system.workflow, system.results, system.limits, breaker=system.breaker, patience=tariff.patience),
            {lane: places[lane] for lane in only},
            Retention(
                memory.database,
                system.results,
                memory.clock,
                settings.media_days,
                settings.job_days,
                changed=system.board.clear,
            ),
            longest_sleep=POLLING if memory.shared else LONGEST_SLEEP,
        )
        if not memory.shared:
            released = await memory.database.write(jobs.release_all, memory.clock.now())
            if released:
                log.info("worker.recovered", jobs=released)
            door = Door(
                settings.data_dir,
                memory.database,
                system.secret,
                memory.clock,
                tariff.paths,
                public_url,
                changed=system.forget,
                live=system.live,
            )
            await stack.enter_async_context(door)
        watchman = Watchman(
            memory.database,
            memory.clock,
            system.outlook,
            system.secret,
            Post(settings.digest_webhook, settings.digest_hour, settings.digest_always, public_url),
        )
        stack.push_async_callback(_stop, watchman, asyncio.create_task(watchman.run()), system.parting)
        deliverer = Deliverer(system.workflow, system.results, tariff, system.secret, settings.allowed_networks)
        stack.push_async_callback(_stop, deliverer, asyncio.create_task(deliverer.run()), system.parting)
        working = asyncio.create_task(worker.run())
        stack.push_async_callback(_stop, worker, working, system.parting)
        system.parting.on_begin(worker.halt)
        stack.callback(system.parting.begin)  # where nobody has told it before
        log.info(
            "phaya.ready", url=public_url, sandbox=settings.sandbox, version=__version__, lanes=list(only),
            database="postgresql" if memory.shared else "sqlite",
        )  # fmt: skip
        if missing := missing_walls():
            log.warning("children.unconfined", missing=missing)
        yield system


async def probe(settings: Settings, public_url: str) -> None:
    """Sees whether files can be kept and a shared database lets this node in.

    Raises BadStorage, DatabaseDown or Misfit.
    """
    await storage_of(settings, public_url).check()
    if settings.database_url is not None:
        async with engine(settings) as memory:
            await _agree(memory, keys.load_secret(settings.secret, settings.data_dir))


async def _agree(memory: Engine, secret: bytes) -> None:
    if memory.shared and not await memory.database.write(keys.agree, secret):
        raise Misfit(keys.FOREIGN)


async def work(settings: Settings, tariff: Tariff, public_url: str, only: Collection[str] = LANES) -> None:
    """Works on the jobs of a shared database until SIGTERM or SIGINT. Raises DatabaseDown, BadStorage or Misfit."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with node(settings, tariff, public_url, only=only):
        await told.wait()


async def _assemble(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    tariff: Tariff,
    public_url: str,
    memory: Engine,
    host: Host,
) -> System:
    database, clock = memory.database, memory.clock
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
    storage = storage_of(settings, public_url, clock)
    await storage.check()
    work = stack.enter_context(_work_folder(settings.data_dir / "work", shared=memory.shared))
    secret = keys.load_secret(settings.secret, settings.data_dir)
    await _agree(memory, secret)
    decoder = await stack.enter_async_context(Decoder(clock))
    results = Results(storage, decoder, made, work, tariff)
    shared = await stack.enter_async_context(sharing(settings.redis_url, database, clock, tariff.patience))
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
            ffmpeg=Ffmpeg(decoder, transcription=transcription),
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
        allowance=Allowance(
            settings.account_jobs,
            settings.account_queue,
            settings.account_storage_mb * 1_000_000,
        ),
        media_days=settings.media_days,
    )
    intake = Intake(storage, decoder, inputs, work, clock, workflow.roster.foresee, secret)
    offers = Offers(tariff, workflow.roster, shared.breaker, clock)
    lookout = Lookout(database, most=settings.open_waits, most_of_account=settings.account_waits)
    board = Board(database, clock)
    workflow.on_change(lookout.nudge)
    workflow.on_change(board.drop)
    stack.push_async_callback(lookout.close)
    parting = Parting()
    parting.on_begin(lookout.part)
    load = Load(settings.requests_at_once, lambda: lookout.waiting, settings.late_seconds)
    watching = asyncio.create_task(load.watch())
    stack.callback(watching.cancel)
    stripe = (
        Stripe(session, settings.stripe_base_url, settings.stripe_secret_key) if settings.stripe_secret_key else None
    )
    checkout = Checkout(
        database, clock, shared.limits, stripe, settings.stripe_webhook_secret, tariff.topup, public_url
    )
    return System(
        settings, public_url, secret, clock, database, Keyring(database, secret, clock), shared.limits, results, intake,
        decoder, workflow, openrouter, tariff, shared.breaker, offers, lookout, board, checkout,
        Census(database, clock),
        Outlook(shared.breaker, results, shared.limits.meters, kie, settings.kie_low_credits, database),
        Brake(clock, settings.wrong_keys_per_minute), load, Hashing(), parting,
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
    if settings.sandbox_url is not None:
        yield _sandbox_host(settings, settings.sandbox_url)
        return
    from phaya.providers.sandbox.hosting import hosted_sandbox  # not loaded where real providers answer

    ours = urlsplit(public_url)
    reached = [(ours.hostname or "", ours.port or 80)]
    app = hosted_sandbox(settings, settings.data_dir / "sandbox", reached, clock, tariff.declared)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        async with serving(app, listener):
            yield _sandbox_host(settings, f"http://127.0.0.1:{port}")


def _sandbox_host(settings: Settings, origin: str) -> Host:
    parts = urlsplit(origin)
    return Host(
        origin,
        (SANDBOX_KEY, *(f"{SANDBOX_KEY}-{number}" for number in range(2, settings.sandbox_keys + 1))),
        settings.kie_webhook_key,
        f"{origin}/api/v1",
        SANDBOX_KEY,
        origin,
        SANDBOX_KEY,
        ((parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)),),
        transcribe_url=settings.transcribe_url or f"{origin}/v1",
    )


@contextlib.contextmanager
def _work_folder(parent: Path, *, shared: bool) -> Generator[Path]:
    """A folder for work in progress. The only process of a data folder empties what another left when it died;
    where several may use one, each has its own, and what is a day old is nobody's."""
    if not shared:
        shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.iterdir():
        if time.time() - old.stat().st_mtime > DAY / SECOND:
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


async def _stop(worker: Worker | Deliverer | Watchman, working: asyncio.Task[None], parting: Parting) -> None:
    await worker.stop(parting.left(MOVES))
    await working


async def _finish_errands(system: System) -> None:
    if left := system.errands | system.workflow.under_way():
        await asyncio.wait(left, timeout=system.parting.left(ERRANDS))
