"""The command line."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import structlog
import typer
import uvicorn
from rich.console import Console
from rich.table import Table

from phaya import __version__, operator
from phaya.errors import PhayaError
from phaya.generate import commands as generate_commands
from phaya.serving import Server, listen
from phaya.settings import Settings
from phaya.tariff_file import BadTariff, tariff_of

app = typer.Typer(
    name="phaya",
    help="AI media generation and chat through one key and one prepaid balance.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="Make, list and revoke keys (operator).", no_args_is_help=True)
credits_app = typer.Typer(help="Grant credits (operator).", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(credits_app, name="credits")
app.add_typer(generate_commands(), name="generate")

console = Console()
problems = Console(stderr=True)

Account = Annotated[str, typer.Option("--account", help="E-mail address of the account.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """The entry of the `phaya` command."""
    app()


def _settings() -> Settings:
    try:
        return Settings()
    except ValueError as error:
        _stop(f"The environment has a mistake: {error}")


def _stop(message: str, code: int = 1) -> NoReturn:
    problems.print(f"[red]{message}[/red]", highlight=False)
    sys.exit(code)


def _order(command: str, **values: Any) -> dict[str, Any]:
    settings = _settings()
    configure_logs("warning")
    try:
        return asyncio.run(operator.carry_out(settings, command, **values))
    except (operator.Refused, PhayaError, BadTariff) as error:
        _stop(str(error))


def configure_logs(level: str) -> None:
    """Structured logs on stderr: readable on a terminal, JSON elsewhere."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")] = 8000,
) -> None:
    """Run the API and the worker in one process."""
    settings = _settings()
    configure_logs(settings.log_level)
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else shown  # noqa: S104 - compared, not bound
    public_url = settings.public_url or f"http://{reachable}:{listener.getsockname()[1]}"
    from phaya.app import create_app
    from phaya.database import InUse, lock

    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock(settings.data_dir).close()  # a clear word now instead of a trace from the lifespan
        phaya = create_app(settings, public_url)
    except (InUse, BadTariff) as error:
        _stop(str(error))
    problems.print(
        f"Phaya {__version__} on {public_url}" + ("  (sandbox: no provider keys)" if settings.sandbox else "")
    )
    config = uvicorn.Config(
        phaya,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=8,
        timeout_keep_alive=75,
        ws="none",
        server_header=False,
    )
    server = Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8010,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the sandbox alone: KIE.ai and OpenRouter as they speak, with media made here."""
    settings = _settings()
    configure_logs(settings.log_level)
    from phaya.clock import SystemClock
    from phaya.providers.sandbox.hosting import LOOPBACK, hosted_sandbox

    developer = settings.model_copy(update={"allowed_networks": (*settings.allowed_networks, *LOOPBACK)})
    app = hosted_sandbox(developer, settings.data_dir / "sandbox", (), SystemClock())
    listener = _listen(host, port)
    problems.print(f"Sandbox on http://{host}:{listener.getsockname()[1]}")
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_keep_alive=75, ws="none")
    uvicorn.Server(config).run(sockets=[listener])


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo"),
) -> None:
    """Start a server and do Phaya's main job through its API, from an empty balance to the statement."""
    from phaya.demo import run

    sys.exit(asyncio.run(run(out)))


@app.command()
def services(as_json: AsJson = False) -> None:
    """List the services and their prices."""
    from phaya.web.account import listing
    from phaya.web.answers import dumps

    try:
        found = listing("http://127.0.0.1:8000", tariff_of(_settings()))
    except BadTariff as error:
        _stop(str(error))
    if as_json:
        print(dumps(found).decode())
        return
    table = Table("service", "what it does", "credits")
    for service in found:
        prices: dict[str, Any] = service["prices"]  # type: ignore[assignment]
        amounts = sorted(prices.values())
        shown = str(amounts[0]) if amounts[0] == amounts[-1] else f"{amounts[0]} to {amounts[-1]}"
        table.add_row(str(service["service"]), f"{service['name']}: {service['summary']}", shown)
    console.print(table)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Prove that entries, balances, caps and jobs agree; exits with 1 where they do not."""
    found = _order("check")
    if as_json:
        print(orjson.dumps(found).decode())
    else:
        for fault in found["faults"]:
            problems.print(f"[red]{fault}[/red]", highlight=False)
        if not found["faults"]:
            console.print("Clean: entries, balances, caps and jobs agree.")
        for place, count in sorted(found["waiting"].items()):
            console.print(f"  {count} jobs in {place}")
    sys.exit(1 if found["faults"] else 0)


@keys_app.command("create")
def keys_create(
    account: Account,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "key",
    credits: Annotated[str | None, typer.Option(help="Credits to grant the account first.")] = None,
    cap: Annotated[str | None, typer.Option(help="Credits that this key may spend at the most.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="A service, 'generate' or 'chat'; none = everything.")] = None,
    rate: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key; it is shown once. The account is made if it is new."""
    made = _order("keys create", account=account, name=name, credits=credits, cap=cap, scopes=scope or [], rate=rate)
    if as_json:
        print(orjson.dumps(made).decode())
    else:
        print(made["key"])
        problems.print(f"{made['account']} has {made['credits_balance']} credits. This key is not shown again.")


@keys_app.command("list")
def keys_list(account: Account, as_json: AsJson = False) -> None:
    """List an account's keys."""
    found = _order("keys list", account=account)["keys"]
    if as_json:
        print(orjson.dumps(found).decode())
        return
    table = Table("id", "name", "key", "scopes", "cap", "spent", "")
    for key in found:
        table.add_row(
            key["key_id"], key["name"], key["prefix"] + "…", " ".join(key["scopes"]) or "all",
            key["cap"] or "none", key["spent"], "revoked" if key["revoked"] else "",
        )  # fmt: skip
    console.print(table)


@keys_app.command("revoke")
def keys_revoke(account: Account, key_id: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """End a key for good."""
    if not _order("keys revoke", account=account, key_id=key_id)["revoked"]:
        _stop("There is no such living key of this account.")


@credits_app.command("grant")
def credits_grant(
    account: Account,
    amount: Annotated[str, typer.Argument(help="Credits to add.")],
    note: Annotated[str | None, typer.Option(help="Why, for the statement.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add credits to an account."""
    done = _order("credits grant", account=account, amount=amount, note=note)
    if as_json:
        print(orjson.dumps(done).decode())
    else:
        console.print(f"{done['account']} has {done['credits_balance']} credits.")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        _stop(f"Cannot listen on {host}:{port}: {error.strerror}.", 2)
