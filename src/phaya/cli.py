"""The command line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from phaya import __version__, books, clerk, customer, rounds, servers, till
from phaya.generate import commands as generate_commands
from phaya.tariff_file import BadTariff, tariff_of
from phaya.terminal import (
    Account,
    AsJson,
    Expires,
    console,
    order,
    print_json,
    problems,
    read_settings,
    stop,
)

app = servers.program()
keys_app = typer.Typer(help="Make, list and revoke keys (operator).", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
accounts_app = typer.Typer(
    help="List, suspend and limit accounts, and say who operates (operator).", no_args_is_help=True
)
app.add_typer(accounts_app, name="accounts")
console_app = typer.Typer(help="Let people into the web console (operator).", no_args_is_help=True)
app.add_typer(console_app, name="console")
books.install(app)
till.install(app)
clerk.install(app, keys_app, accounts_app)
rounds.install(app)
app.add_typer(generate_commands(), name="generate")
customer.install(app)


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
        found = listing("http://127.0.0.1:8000", tariff_of(read_settings()))
    except BadTariff as error:
        stop(str(error))
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


@keys_app.command("create")
def keys_create(
    account: Account,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "key",
    credits: Annotated[str | None, typer.Option(help="Credits to grant the account first.")] = None,
    cap: Annotated[str | None, typer.Option(help="Credits that this key may spend at the most.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="A service, 'generate', 'chat', 'webhooks' or 'keys'; none = everything.")
    ] = None,
    rate: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(help="A network that it may be used from, such as 203.0.113.0/24 (may be repeated)."),
    ] = None,
    expires: Expires = None,
    as_json: AsJson = False,
) -> None:
    """Make a key; it is shown once. The account is made if it is new."""
    made = order(
        "keys create", account=account, name=name, credits=credits, cap=cap, scopes=scope or [], rate=rate,
        networks=network or [], expires=expires,
    )  # fmt: skip
    if as_json:
        print_json(made)
    else:
        print(made["key"])
        problems.print(f"{made['account']} has {made['credits_balance']} credits. This key is not shown again.")


@keys_app.command("list")
def keys_list(account: Account, as_json: AsJson = False) -> None:
    """List an account's keys."""
    found = order("keys list", account=account)["keys"]
    if as_json:
        print_json(found)
        return
    table = Table(Column("id", no_wrap=True), "name", "key", "scopes", "cap", "spent", "")
    for key in found:
        state = "revoked" if key["revoked"] else "suspended" if key["suspended"] else ""
        table.add_row(
            key["key_id"], key["name"], key["prefix"] + "…", " ".join(key["scopes"]) or "all",
            key["cap"] or "none", key["spent"], state,
        )  # fmt: skip
    console.print(table)


@keys_app.command("rotate")
def keys_rotate(
    account: Account,
    key_id: Annotated[str, typer.Argument(help="The key's id.")],
    overlap: Annotated[
        float, typer.Option("--overlap-hours", min=0, max=720, help="Hours for which the former text goes on.")
    ] = 24,
    as_json: AsJson = False,
) -> None:
    """Give a key a new text, shown once. What it may do, its cap and what it has spent stay."""
    made = order("keys rotate", account=account, key_id=key_id, overlap_seconds=overlap * 3600)
    if as_json:
        print_json(made)
        return
    print(made["key"])
    problems.print(f"The former text is good until {made['former_until']}. The new one is not shown again.")


@keys_app.command("revoke")
def keys_revoke(account: Account, key_id: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """End a key for good."""
    if not order("keys revoke", account=account, key_id=key_id)["revoked"]:
        stop("There is no such living key of this account.")


@accounts_app.command("limits")
def accounts_limits(
    account: Account,
    jobs: Annotated[str | None, typer.Option(help="Jobs and calls under way or waiting; 'usual' as for all.")] = None,
    queued: Annotated[str | None, typer.Option(help="Jobs that wait to be begun.")] = None,
    stored: Annotated[str | None, typer.Option("--bytes", help="Bytes of results and uploads.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what an account holds, and set its limits apart from those of all others."""
    values = {"jobs": jobs, "queued": queued, "bytes": stored}
    found = order("accounts limits", account=account, media_days=read_settings().media_days, **values)
    if as_json:
        print_json(found)
        return
    for name, limit in found["limits"].items():
        print(f"{name}: {'usual' if limit is None else limit}")
    print("; ".join(f"{name} now: {held}" for name, held in found["held"].items()))


@console_app.command("link")
def console_link(
    account: Account,
    without_totp: Annotated[
        bool, typer.Option("--without-totp", help="Turn its second step off as well, for who has lost the app.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print a link, good once and for a day, that sets an account's password for the console."""
    made = order("console link", account=account, without_totp=without_totp)
    if as_json:
        print_json(made)
        return
    print(made["link"] or made["path"])
    if made["link"] is None:
        problems.print("Put your server's address before it: it does not run here, and PHAYA_PUBLIC_URL is not set.")
    also = " and turns its second step off" if without_totp else ""
    problems.print(f"Good once, until {made['expires_at']}. It sets the password of {made['account']}{also}.")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)
