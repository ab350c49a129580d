"""The command line of the operator's rounds: what needs eyes."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import aiohttp
import typer

from phaya import keys, operator
from phaya.clock import SystemClock
from phaya.digest import text_of
from phaya.engine import engine
from phaya.errors import PhayaError
from phaya.outages import BadStorage
from phaya.providers.kie import Kie
from phaya.settings import Settings
from phaya.sharing import sharing
from phaya.storage import storage_of
from phaya.tariff_file import BadTariff
from phaya.terminal import AsJson, configure_logs, print_json, read_settings, stop
from phaya.watchman import Outlook, signer


def install(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(digest)


def digest(
    as_json: AsJson = False,
    secret: Annotated[
        bool, typer.Option("--secret", help="Print the secret that signs sent digests, instead.")
    ] = False,
) -> None:
    """Tell what needs an operator's eyes: jobs in doubt, the ledger, queues, webhooks, providers, storage, errors."""
    settings = read_settings()
    configure_logs("error")
    if secret:
        print(signer().secret(keys.load_secret(settings.secret, settings.data_dir)))
        return
    try:
        found = asyncio.run(_gathered(settings))
    except (operator.Refused, PhayaError, BadTariff, BadStorage) as error:
        stop(str(error))
    if as_json:
        print_json(found)
    else:
        print(text_of(found, settings.public_url or str(settings.data_dir)))


async def _gathered(settings: Settings) -> dict[str, Any]:
    """The digest; what a running server told of itself is in it, else it is found out here."""
    found = await operator.carry_out(settings, "digest")
    if found["live"]:
        return found
    return await operator.carry_out(settings, "digest", live=await _live(settings))


async def _live(settings: Settings) -> list[dict[str, Any]]:
    async with (
        engine(settings) as memory,
        sharing(settings.redis_url, memory.database, SystemClock()) as shared,
        aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        kie = Kie(session, settings.kie_base_url, settings.kie_api_key) if settings.kie_api_key else None
        storage = storage_of(settings, settings.public_url or "")
        outlook = Outlook(shared.breaker, storage, shared.limits.meters, kie, settings.kie_low_credits)
        return [asdict(item) for item in await outlook.items()]
