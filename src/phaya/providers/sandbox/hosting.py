"""A sandbox by the operator's settings: what it may fetch, and where it may call back."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from ipaddress import ip_network
from pathlib import Path

from phaya.addresses import Fetcher, FetchFailed, Guard
from phaya.clock import Clock
from phaya.providers.sandbox import Sandbox, SandboxSettings, create_sandbox
from phaya.settings import Settings

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
LARGEST_INPUT = 100_000_000


def hosted_sandbox(
    settings: Settings,
    folder: Path,
    origins: Collection[tuple[str, int]],
    clock: Clock,
    played: Mapping[str, str] | None = None,
) -> Sandbox:
    """A sandbox in `folder`.

    Inputs come from public addresses, the allowed networks and `origins` (address and port of the Phaya that it
    serves); callbacks also go to this machine, since that is where its users are. `played` are models that the
    operator added, see SandboxSettings.
    """
    inputs = Guard(networks=settings.allowed_networks, origins=origins)
    callbacks = Guard(networks=(*settings.allowed_networks, *LOOPBACK), origins=origins)

    async def fetch(url: str) -> bytes:
        fetcher = Fetcher(inputs)
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "input"
            try:
                await fetcher.fetch(url, file, limit=LARGEST_INPUT)
                return file.read_bytes()
            except FetchFailed as error:
                raise OSError(error.message) from error
            finally:
                await fetcher.close()

    return create_sandbox(
        SandboxSettings(
            folder=folder,
            pace=settings.sandbox_pace,
            webhook_key=settings.kie_webhook_key[0] if settings.kie_webhook_key else None,
            fetch=fetch,
            connector=callbacks.connector,
            paused=settings.sandbox_paused,
            played=played or {},
        ),
        clock,
    )
