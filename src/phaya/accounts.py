"""Accounts and keys as an operator sees them. Each public function is an operator's command, see operator.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select, update

from phaya import keys, ledger, sales
from phaya.clock import SECOND, written
from phaya.credits import Credits
from phaya.errors import Conflict, Fault, Invalid, NotFound
from phaya.keys import Account
from phaya.schema import accounts, authenticators, entries, jobs, logins
from phaya.schema import keys as rows
from phaya.typed import read_amount, read_words

PAGE = 100
LONGEST_REASON = 1000


def listing(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A page of the accounts by their addresses, with what they have, spend and use.

    `search` is a part of the address, `after` the `next` of the page before.
    """
    limit = asked.get("limit", PAGE)
    query = _accounts().order_by(accounts.c.email).limit(limit)
    if asked.get("search"):
        query = query.where(accounts.c.email.contains(asked["search"].strip().lower(), autoescape=True))
    if asked.get("after"):
        query = query.where(accounts.c.email > asked["after"])
    found = [_told(row) for row in connection.execute(query)]
    return {"accounts": found, "next": found[-1]["account"] if len(found) == limit else None}


def show(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """One account as the list tells it. Raises NotFound."""
    account = keys.account_by_email(connection, asked["account"])
    return _told(connection.execute(_accounts().where(accounts.c.id == account.id)).one())


def promote(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Gives an account an operator's rights. Raises NotFound."""
    account = keys.account_by_email(connection, asked["account"])
    return _changed(connection, account, not account.operator, operator=True)


def demote(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Takes an operator's rights from an account. Raises NotFound."""
    account = keys.account_by_email(connection, asked["account"])
    return _changed(connection, account, account.operator, operator=False)


def suspend(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Takes no key and no session of an account until it is resumed. Its jobs go on. Raises NotFound and Invalid."""
    read_words("reason", asked["reason"], LONGEST_REASON)
    account = keys.account_by_email(connection, asked["account"])
    return _changed(connection, account, account.suspended_at is None, suspended_at=now)


def resume(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Ends an account's suspension. Raises NotFound."""
    account = keys.account_by_email(connection, asked["account"])
    return _changed(connection, account, account.suspended_at is not None, suspended_at=None)


def create_key(connection: Connection, secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a key (and its account, if new), with a first grant if asked for."""
    known = (*keys.SCOPES, *asked["services"])
    strange = set(asked["scopes"]) - set(known)
    if strange:
        raise Invalid(Fault("scope", f"must be one of {', '.join(known)}, not {', '.join(sorted(strange))}"))
    account = keys.open_account(connection, asked["account"], now)
    text, key = keys.mint(
        connection,
        secret,
        account,
        asked["name"],
        now,
        cap=_cap(asked),
        scopes=asked["scopes"],
        rate=asked.get("rate"),
        expires_at=sales.until(asked.get("expires"), now),
        networks=asked.get("networks") or (),
    )
    balance = account.balance
    if asked.get("credits") is not None:
        amount = read_amount("credits", asked["credits"])
        balance = ledger.grant(connection, account.id, amount, f"with key {key.name}", now)
    return {
        "key": text,
        "key_id": key.id,
        "name": key.name,
        "account": account.email,
        "account_id": account.id,
        "credits_balance": str(balance),
        "cap": None if key.cap is None else str(key.cap),
        "scopes": sorted(key.scopes),
        "rate": key.rate,
        "networks": [str(network) for network in key.networks],
        "expires_at": written(key.expires_at),
    }


def list_keys(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """An account's keys, without their text."""
    account = keys.account_by_email(connection, asked["account"])
    return {
        "keys": [
            {
                "key_id": key.id,
                "name": key.name,
                "prefix": prefix,
                "scopes": sorted(key.scopes),
                "cap": None if key.cap is None else str(key.cap),
                "spent": str(key.spent),
                "networks": [str(network) for network in key.networks],
                "expires_at": written(key.expires_at),
                "revoked": key.revoked_at is not None,
                "suspended": key.suspended_at is not None,
            }
            for key, prefix, _ in keys.listing(connection, account.id)
        ]
    }


def rotate_key(connection: Connection, secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Gives a key a new text; the former one goes on for a while."""
    account = keys.account_by_email(connection, asked["account"])
    overlap = int(asked["overlap_seconds"] * SECOND)
    text, key = keys.rotate(connection, secret, account.id, asked["key_id"], now, overlap)
    return {
        "account": account.email,
        "key": text,
        "key_id": key.id,
        "name": key.name,
        "former_until": written(now + overlap),
    }


def revoke_key(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Ends a key for good."""
    account = keys.account_by_email(connection, asked["account"])
    return {"account": account.email, "revoked": keys.revoke(connection, account.id, asked["key_id"], now)}


def suspend_key(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Takes a key no more until it is resumed. Raises NotFound."""
    return _switched(connection, asked, now)


def resume_key(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Ends a key's suspension. Raises NotFound."""
    return _switched(connection, asked, None)


def cap_key(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds what a key may ever spend; without a `cap` it is bound no more. Raises NotFound and Invalid."""
    account = keys.account_by_email(connection, asked["account"])
    key = keys.set_cap(connection, account.id, asked["key_id"], _cap(asked))
    told = None if key.cap is None else str(key.cap)
    return {"account": account.email, "key_id": key.id, "name": key.name, "cap": told, "spent": str(key.spent)}


def last_by_hand(connection: Connection, account_id: str) -> int:
    """The id of the newest entry that an operator made for an account; 0 without one."""
    theirs = (entries.c.account_id == account_id) & entries.c.reason.in_((ledger.GRANT, *ledger.BY_HAND))
    return connection.execute(select(entries.c.id).where(theirs).order_by(entries.c.id.desc()).limit(1)).scalar() or 0


def unmoved(connection: Connection, account_id: str, seen: int | None) -> None:
    """Makes a form that is sent twice act once: raises Conflict where an operator has entered something since the entry
    that the form was drawn by. The account is locked meanwhile. Without `seen` nothing is looked at."""
    if seen is None:
        return
    connection.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update(key_share=True))
    if last_by_hand(connection, account_id) != seen:
        raise Conflict(
            "Somebody has just moved this balance by hand, perhaps you. Look at the statement, and try again."
        )


def by_id(connection: Connection, account_id: str) -> Account:
    """The account with this id, which a stranger typed. Raises NotFound."""
    row = connection.execute(select(accounts.c.email).where(accounts.c.id == account_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no account {account_id[:64]}.")
    return keys.account_by_email(connection, row.email)


def _accounts() -> Any:
    theirs = rows.c.account_id == accounts.c.id
    living = theirs & rows.c.revoked_at.is_(None)
    signing_in = select(logins.c.key_id)
    return select(
        accounts,
        select(func.coalesce(func.sum(rows.c.spent), 0)).where(theirs).scalar_subquery().label("spent"),
        select(func.count()).where(living, rows.c.id.not_in(signing_in)).scalar_subquery().label("keys"),
        select(func.max(jobs.c.created_at))
        .where(jobs.c.account_id == accounts.c.id)
        .scalar_subquery()
        .label("used_at"),
        select(func.count())
        .where(authenticators.c.account_id == accounts.c.id, authenticators.c.confirmed_at.is_not(None))
        .scalar_subquery()
        .label("totp"),
    )


def _told(row: Any) -> dict[str, Any]:
    return {
        "account": row.email,
        "account_id": row.id,
        "credits_balance": str(Credits(row.balance)),
        "credits_spent": str(Credits(int(row.spent))),
        "keys": row.keys,
        "operator": row.operator,
        "totp": bool(row.totp),
        "created_at": written(row.created_at),
        "suspended_at": written(row.suspended_at),
        "last_job_at": written(row.used_at),
    }


def _cap(asked: Mapping[str, Any]) -> Credits | None:
    return None if asked.get("cap") is None else read_amount("cap", asked["cap"])


def _changed(connection: Connection, account: Account, changes: bool, **values: object) -> dict[str, Any]:
    if changes:
        connection.execute(update(accounts).where(accounts.c.id == account.id).values(values))
    after = keys.find_account(connection, account.id)
    return {
        "account": after.email,
        "operator": after.operator,
        "suspended_at": written(after.suspended_at),
        "changed": changes,
    }


def _switched(connection: Connection, asked: Mapping[str, Any], moment: int | None) -> dict[str, Any]:
    account = keys.account_by_email(connection, asked["account"])
    changed = keys.suspend(connection, account.id, asked["key_id"], moment)
    key = keys.find(connection, asked["key_id"])
    return {
        "account": account.email,
        "key_id": key.id,
        "name": key.name,
        "suspended_at": written(key.suspended_at),
        "changed": changed,
    }
