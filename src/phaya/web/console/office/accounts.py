"""Accounts: who has what, and one of them with its statement, jobs and keys and what an operator may do to it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.responses import Response

from phaya import accounts, jobs, keys, ledger
from phaya.errors import Conflict, Fault, Invalid
from phaya.jobs import Search
from phaya.keys import Account
from phaya.web.console.office.acts import acted, ask, hang, typed
from phaya.web.console.visit import Visit
from phaya.web.jobs import CALLS

ENTRIES = 50
JOBS = 30


def install(router: APIRouter) -> None:
    """The pages and their forms."""
    hang(router, "/accounts", listing)
    hang(router, "/accounts/{account}", one)
    hang(router, "/accounts/{account}/{deed}", do, "POST")
    hang(router, "/accounts/{account}/keys/{key}/{deed}", do_to_key, "POST")


async def listing(visit: Visit) -> Response:
    """The accounts by their addresses, or those that hold what is searched."""
    query = visit.request.query_params
    search = query.get("search", "")
    found = await ask(visit, "accounts list", search=search, after=query.get("after") or None)
    return await visit.render(
        "office-accounts.html", accounts=found["accounts"], following=found["next"], search=search
    )  # fmt: skip


async def one(visit: Visit) -> Response:
    """One account."""
    return await _page(visit)


async def do(visit: Visit) -> Response:
    """What may be done to an account: its balance moved, a job refunded, the account suspended or promoted."""
    account, deed = await _account(visit), visit.request.path_params["deed"]
    back, email, amount = f"/operator/accounts/{account.id}", account.email, visit.form.get("amount", "")
    try:
        match deed:
            case "grant":
                values: dict[str, Any] = {"account": email, "seen": _seen(visit), "amount": amount}
                values |= {"note": typed(visit, "reason"), "expires": typed(visit, "expires")}
                return await acted(visit, _page, back, "credits grant", **values)
            case "adjust":
                values = {"account": email, "seen": _seen(visit), "amount": amount}
                values |= {"reason": visit.form.get("reason", "")}
                return await acted(visit, _page, back, "credits adjust", **values)
            case "refund":
                values = {"job": await _job(visit, account), "amount": typed(visit, "amount")}
                values |= {"reason": visit.form.get("reason", "")}
                return await acted(visit, _page, f"{back}#jobs", "credits refund", **values)
            case "promote" | "resume":
                return await acted(visit, _page, back, f"accounts {deed}", account=email)
            case "demote" | "suspend":
                if account.id == visit.account_id:
                    raise Conflict(visit.say("office.self"))
                reason = visit.form.get("reason", "")
                return await acted(visit, _page, back, f"accounts {deed}", account=email, reason=reason)
            case _:
                raise Invalid(Fault("deed", "must be grant, adjust, refund, promote, demote, suspend or resume"))
    except (Conflict, Invalid) as error:
        return await _page(visit, error.status, error.message)


async def do_to_key(visit: Visit) -> Response:
    """What may be done to a key of an account."""
    account, path = await _account(visit), visit.request.path_params
    back = f"/operator/accounts/{account.id}#keys"
    values: dict[str, Any] = {"account": account.email, "key_id": path["key"]}
    match path["deed"]:
        case "suspend" | "resume" | "revoke":
            return await acted(visit, _page, back, f"keys {path['deed']}", **values)
        case "cap":
            return await acted(visit, _page, back, "keys cap", **values, cap=typed(visit, "cap"))
        case _:
            return await _page(visit, 422, "deed: must be suspend, resume, revoke or cap")


async def _page(visit: Visit, status: int = 200, message: str | None = None) -> Response:
    account, phaya = await _account(visit), visit.phaya
    now = phaya.clock.now()

    def read(connection: Connection) -> dict[str, Any]:
        search = Search.of((*phaya.tariff.services, *CALLS))
        return {
            "entries": ledger.statement(connection, account.id, ENTRIES),
            "jobs": jobs.history(connection, account.id, search, JOBS),
            "keys": [(key, prefix, not key.ended(now)) for key, prefix, _ in keys.listing(connection, account.id)],
            "seen": accounts.last_by_hand(connection, account.id),
            "told": accounts.show(connection, b"", now, {"account": account.email}),
        }

    found = await phaya.database.read(read)
    return await visit.render(
        "office-account.html", status, account=account, message=message, own=account.id == visit.account_id, **found
    )  # fmt: skip


async def _account(visit: Visit) -> Account:
    return await visit.phaya.database.read(accounts.by_id, visit.request.path_params["account"])


async def _job(visit: Visit, account: Account) -> str:
    """The job that the form names, which must be the account's. Raises Invalid."""
    job_id = visit.form.get("job", "").strip()
    if await visit.phaya.database.read(jobs.find, job_id, account.id) is None:
        raise Invalid(Fault("job", "must be a job of this account"))
    return job_id


def _seen(visit: Visit) -> int:
    """The entry that the form was drawn by. Raises Invalid."""
    text = visit.form.get("seen", "")
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Invalid(Fault("seen", "must be the number that the form came with"))
    return int(text)
