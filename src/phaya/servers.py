"""The commands that serve and work. A process that stays keeps what it loads, so none of the others is needed here."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
from typing import Annotated

import typer
import uvicorn

from phaya import __version__, logs, operator, tracing
from phaya.absence import absent, unbuilt
from phaya.entry import read_settings, stop
from phaya.errors import DatabaseDown
from phaya.parting import REQUESTS
from phaya.providers.roster import LANES
from phaya.serving import Server, configured, listen
from phaya.tariff_file import BadTariff, tariff_of

Only = Annotated[
    list[str] | None,
    typer.Option(help="Work on jobs of this lane only (may be repeated): remote, render, speech, download or none."),
]


def program() -> typer.Typer:
    """The `phaya` command with what serves and works."""
    app = typer.Typer(
        name="phaya",
        help="AI media generation and chat through one key and one prepaid balance.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
    )
    for command in (serve, work, sandbox):
        app.command()(command)
    return app


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")] = 8000,
    only: Only = None,
) -> None:
    """Run the API and the worker in one process."""
    lanes = _lanes(only)
    settings = read_settings()
    logs.configure(settings.log_level, settings.log_format)
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else shown  # noqa: S104 - compared, not bound
    public_url = settings.public_url or f"http://{reachable}:{listener.getsockname()[1]}"
    with unbuilt():  # a hundred models that FastAPI makes its document with, which few servers are asked for
        importlib.import_module("fastapi.openapi.models")
    from phaya.app import create_app
    from phaya.database import InUse, lock
    from phaya.node import Misfit, probe
    from phaya.outages import BadStorage

    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        # A clear word now instead of a trace from the lifespan.
        if settings.database_url is None:
            lock(settings.data_dir).close()
        asyncio.run(probe(settings, public_url))
        first = asyncio.run(operator.carry_out(settings, "console first", credits="100" if settings.sandbox else "0"))
        with absent("pydantic.v1"):  # FastAPI compares with its models, and here are none
            phaya = create_app(settings, public_url, only=lanes)
        if settings.otel:
            tracing.start(__version__)
    except (InUse, DatabaseDown, Misfit, BadTariff, BadStorage, operator.Refused, tracing.NoTracing) as error:
        stop(str(error))
    typer.echo(
        f"Phaya {__version__} on {public_url}" + ("  (sandbox: no provider keys)" if settings.sandbox else ""), err=True
    )
    if first["path"]:
        typer.echo(f"Open this link once to make the first account: {public_url}{first['path']}", err=True)
    server = Server(configured(phaya, stop_seconds=REQUESTS))
    server.run(sockets=[listener])
    tracing.stop()
    if not server.started:
        sys.exit(1)


def work(only: Only = None) -> None:
    """Run a worker alone, beside servers that share its PostgreSQL."""
    lanes = _lanes(only)
    settings = read_settings()
    logs.configure(settings.log_level, settings.log_format)
    if settings.database_url is None:
        stop("A worker needs PHAYA_DATABASE_URL: the embedded database belongs to one process, 'phaya serve'.")
    if settings.public_url is None:
        stop("A worker needs PHAYA_PUBLIC_URL, the address of the Phaya that it works for: links start with it.")
    if settings.sandbox and settings.sandbox_url is None:
        stop("A worker needs the providers' keys, or PHAYA_SANDBOX_URL, the address of a sandbox that all nodes share.")
    from phaya import node
    from phaya.outages import BadStorage

    try:
        if settings.otel:
            tracing.start(__version__)
        asyncio.run(node.work(settings, tariff_of(settings), settings.public_url, lanes))
    except (DatabaseDown, node.Misfit, BadTariff, BadStorage, tracing.NoTracing) as error:
        stop(str(error))
    finally:
        tracing.stop()


def sandbox(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8010,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the sandbox alone: KIE.ai and OpenRouter as they speak, with media made here."""
    settings = read_settings()
    logs.configure(settings.log_level, settings.log_format)
    from phaya.clock import SystemClock
    from phaya.providers.sandbox.hosting import LOOPBACK, hosted_sandbox

    developer = settings.model_copy(update={"allowed_networks": (*settings.allowed_networks, *LOOPBACK)})
    app = hosted_sandbox(developer, settings.data_dir / "sandbox", (), SystemClock())
    listener = _listen(host, port)
    typer.echo(f"Sandbox on http://{host}:{listener.getsockname()[1]}", err=True)
    uvicorn.Server(configured(app, stop_seconds=8)).run(sockets=[listener])


def _lanes(only: list[str] | None) -> tuple[str, ...]:
    lanes = tuple(only or LANES)
    if strange := set(lanes) - {*LANES, "none"}:
        stop(f"--only must be one of {', '.join(LANES)} or none, not {', '.join(sorted(strange))}.", 2)
    return tuple(lane for lane in LANES if lane in lanes)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        stop(f"Cannot listen on {host}:{port}: {error.strerror}.", 2)
