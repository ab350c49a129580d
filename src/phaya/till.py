"""The command line of what brings credits in: vouchers and payments."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Column, Table

from phaya.terminal import AsJson, By, Expires, console, order, print_json, problems


def install(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    vouchers = typer.Typer(help="Make, list and revoke vouchers (operator).", no_args_is_help=True)
    vouchers.command("create")(vouchers_create)
    vouchers.command("list")(vouchers_list)
    vouchers.command("revoke")(vouchers_revoke)
    app.add_typer(vouchers, name="vouchers")
    payments = typer.Typer(help="What was paid by Stripe (operator).", no_args_is_help=True)
    payments.command("list")(payments_list)
    payments.command("events")(payments_events)
    app.add_typer(payments, name="payments")


def vouchers_create(
    credits: Annotated[str, typer.Option(help="Credits that one use brings.")],
    by: By,
    count: Annotated[int, typer.Option(help="How many vouchers.")] = 1,
    uses: Annotated[int, typer.Option(help="How many accounts may redeem each, once every one.")] = 1,
    expires: Expires = None,
    grant_days: Annotated[
        int | None, typer.Option(help="Days for which the credits are good once redeemed; without it for ever.")
    ] = None,
    note: Annotated[str, typer.Option(help="What it is for; the customer sees it on the statement.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make vouchers; their codes are shown once."""
    made = order(
        "vouchers create",
        credits=credits, by=by, count=count, uses=uses, expires=expires, grant_days=grant_days, note=note,
    )  # fmt: skip
    if as_json:
        print_json(made)
        return
    for voucher in made["vouchers"]:
        console.print(voucher["code"], highlight=False)
    problems.print(f"{made['credits']} credits for each use. These codes are not shown again.", highlight=False)


def vouchers_list(as_json: AsJson = False) -> None:
    """List the vouchers, without their codes."""
    found = _all("vouchers list", "vouchers")
    if as_json:
        print_json(found)
        return
    table = Table(Column("id", no_wrap=True), "credits", "used", "state", "expires", "good for", "note", "by")
    for one in found:
        days = "" if one["grant_days"] is None else f"{one['grant_days']} days"
        table.add_row(
            one["id"], one["credits"], f"{one['used']} of {one['uses']}", one["state"], one["expires_at"] or "",
            days, one["note"], one["by"],
        )  # fmt: skip
    console.print(table)


def vouchers_revoke(
    voucher: Annotated[str, typer.Argument(metavar="ID", help="The voucher's id.")], as_json: AsJson = False
) -> None:
    """End a voucher; what it has brought stays."""
    done = order("vouchers revoke", id=voucher)
    if as_json:
        print_json(done)
    else:
        console.print(f"Voucher {done['id']} is revoked; it was used {done['used']} times.", highlight=False)


def payments_list(
    account: Annotated[str | None, typer.Option(help="Of this account only (e-mail address).")] = None,
    as_json: AsJson = False,
) -> None:
    """List the payments and where they stand."""
    found = _all("payments list", "payments", account=account)
    if as_json:
        print_json(found)
        return
    table = Table(
        Column("payment", no_wrap=True), "account", "state", "credits", "price", "begun", "at Stripe", "trouble"
    )
    for one in found:
        price = f"{one['price']} {one['currency']}"
        table.add_row(
            one["id"], one["account"], one["state"], one["credits"], price, one["created_at"], one["session"] or "",
            one["trouble"] or "",
        )  # fmt: skip
    console.print(table)


def payments_events(as_json: AsJson = False) -> None:
    """List refunds, disputes and what fits to no payment here, as Stripe told them."""
    found = _all("payments events", "events")
    if as_json:
        print_json(found)
        return
    table = Table(Column("event", no_wrap=True), "kind", "outcome", "account", "credits", "about", "detail", "heard")
    for one in found:
        table.add_row(
            one["id"], one["kind"], one["outcome"], one["account"] or "", one["credits"] or "", one["subject"],
            one["detail"], one["created_at"],
        )  # fmt: skip
    console.print(table)


def _all(command: str, name: str, **values: Any) -> list[dict[str, Any]]:
    """Every page of a list."""
    found: list[dict[str, Any]] = []
    after: list[Any] | None = None
    while True:
        page = order(command, after=after, **values)
        found += page[name]
        if (after := page["next"]) is None:
            return found
