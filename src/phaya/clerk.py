"""The command line of accounts, of what may be done to their keys, and of the audit log."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer
from rich.table import Column, Table

from phaya.terminal import Account, AsJson, console, order, print_json

KeyId = Annotated[str, typer.Argument(help="The key's id.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]


def install(app: typer.Typer, keys: typer.Typer, accounts: typer.Typer) -> None:
    """Adds the commands to the command line, and to those of keys."""
    keys.command("suspend")(keys_suspend)
    keys.command("resume")(keys_resume)
    keys.command("cap")(keys_cap)
    accounts.command("list")(accounts_list)
    accounts.command("promote")(accounts_promote)
    accounts.command("demote")(accounts_demote)
    accounts.command("suspend")(accounts_suspend)
    accounts.command("resume")(accounts_resume)
    app.command("audit")(audit)


def keys_suspend(account: Account, key_id: KeyId) -> None:
    """Take a key no more, until it is resumed."""
    done = order("keys suspend", account=account, key_id=key_id)
    console.print(f"Key {done['name']} of {done['account']} is suspended.", highlight=False)


def keys_resume(account: Account, key_id: KeyId) -> None:
    """Take a suspended key again."""
    done = order("keys resume", account=account, key_id=key_id)
    console.print(f"Key {done['name']} of {done['account']} is taken again.", highlight=False)


def keys_cap(
    account: Account,
    key_id: KeyId,
    cap: Annotated[str | None, typer.Argument(help="Credits that the key may ever spend; without it any.")] = None,
) -> None:
    """Bound what a key may ever spend, or bound it no more."""
    done = order("keys cap", account=account, key_id=key_id, cap=cap)
    bound = f"may spend {done['cap']}" if done["cap"] is not None else "has no cap"
    console.print(f"Key {done['name']} of {done['account']} {bound}; it has spent {done['spent']}.", highlight=False)


def accounts_list(
    search: Annotated[str | None, typer.Option(help="Only addresses that hold this.")] = None, as_json: AsJson = False
) -> None:
    """List the accounts with their balance, spending and last job."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = order("accounts list", search=search, after=after)
        found += page["accounts"]
        if (after := page["next"]) is None:
            break
    if as_json:
        print_json(found)
        return
    table = Table(Column("account", no_wrap=True), "balance", "spent", "keys", "last job", "")
    for one in found:
        marks = ("operator" if one["operator"] else "", "suspended" if one["suspended_at"] else "")
        table.add_row(
            one["account"], one["credits_balance"], one["credits_spent"], str(one["keys"]), one["last_job_at"] or "",
            " ".join(mark for mark in marks if mark),
        )  # fmt: skip
    console.print(table)


def accounts_promote(account: Account) -> None:
    """Make an account an operator: it sees the operator's pages of the console and may do what is on them."""
    done = order("accounts promote", account=account)
    console.print(f"{done['account']} is an operator.", highlight=False)


def accounts_demote(account: Account) -> None:
    """Take an operator's rights from an account."""
    done = order("accounts demote", account=account)
    console.print(f"{done['account']} is no operator.", highlight=False)


def accounts_suspend(account: Account, reason: Why) -> None:
    """Take none of an account's keys and sessions, until it is resumed; its jobs go on."""
    done = order("accounts suspend", account=account, reason=reason)
    console.print(f"{done['account']} is suspended since {done['suspended_at']}.", highlight=False)


def accounts_resume(account: Account) -> None:
    """End an account's suspension."""
    done = order("accounts resume", account=account)
    console.print(f"{done['account']} is not suspended.", highlight=False)


def audit(
    actor: Annotated[str | None, typer.Option(help="Only what this one did, such as a@x.org or cli:root.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, such as 'credits grant'.")] = None,
    account: Annotated[str | None, typer.Option(help="Only what concerns this account (e-mail address).")] = None,
    day: Annotated[str | None, typer.Option(help="Only on this day (UTC), such as 2026-11-25.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many lines.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Print what operators did, the newest first."""
    found: list[dict[str, Any]] = []
    before: int | None = None
    while len(found) < limit:
        asked = {"actor": actor, "action": action, "account": account, "day": day, "before": before}
        page = order("audit list", **asked, limit=min(500, limit - len(found)))
        found += page["lines"]
        if (before := page["next"]) is None:
            break
    if as_json:
        print_json(found)
        return
    for line in found:
        about = (
            line["subject"] if line["account"] in (None, line["subject"]) else f"{line['subject']} {line['account']}"
        )
        details = orjson.dumps(line["details"]).decode()
        console.print(
            f"{line['created_at']}  {line['actor']}  {line['action']}  {about}  {details}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    if not found:
        console.print("Nothing was done.")
