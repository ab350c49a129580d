"""Who may use the console: passwords, one-time links that set them, and the sessions of browsers.

A session acts with a key, as every request does: one that signed in with a key acts with that key, within its scopes
and cap; one that signed in with a password acts with a key of the account that nobody knows the text of.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from phaya import audit, authenticators, keys, ledger
from phaya.clock import DAY, MINUTE, written
from phaya.credits import Credits, credits
from phaya.errors import Fault, Invalid, NotFound, Unauthorized
from phaya.keys import Account, Key
from phaya.schema import accounts, invitations, logins, sessions

LASTING = 14 * DAY
"""How long a session lasts."""
LINK_LASTING = DAY
SEEN_EVERY = 10 * MINUTE
"""How exactly it is known when a session was last used; a write for each request would be too much."""
KEY_NAME = "console"
RATE = 600
"""Requests a minute of a console's own key."""
WRONG = "These do not fit together. Check the address, the password or the key, and try again."
OVER = "This link was used or has run out. The operator makes a new one with 'phaya console link'."


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in. `owner` says that it was by password: then keys may be managed."""

    hash: str
    account: Account
    key: Key
    owner: bool
    seen_at: int

    @property
    def operates(self) -> bool:
        """Whether it may see and do what operators do. A key never may, whosever it is."""
        return self.owner and self.account.operator


@dataclass(frozen=True, slots=True)
class Login:
    """What a password is checked against, and the key that its sessions act with."""

    account_id: str
    key_id: str
    password: str
    changed_at: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time link: for an account, or for one that it makes. Used, it turns the second step off if it is
    `without_totp`."""

    email: str | None
    account_id: str | None
    credits: Credits
    without_totp: bool


def draw() -> str:
    """A fresh token of 256 bits."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What stands for a token in the database. A token has its 256 bits, so no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def find(connection: Connection, email: str) -> Login | None:
    """The login of an account, if it has one."""
    row = connection.execute(
        select(logins)
        .join(accounts, accounts.c.id == logins.c.account_id)
        .where(accounts.c.email == email.strip().lower())
    ).one_or_none()
    return None if row is None else Login(*row)


def of_account(connection: Connection, account_id: str) -> Login | None:
    """The same by the account's id."""
    row = connection.execute(select(logins).where(logins.c.account_id == account_id)).one_or_none()
    return None if row is None else Login(*row)


def may_enter(connection: Connection, login: Login, now: int) -> bool:
    """Whether a session of this login would live: its account and its key are neither suspended nor ended."""
    account = keys.find_account(connection, login.account_id)
    return account.suspended_at is None and keys.find(connection, login.key_id).lives(now)


def renew_hash(connection: Connection, account_id: str, former: str, password: str) -> None:
    """Keeps a password under today's parameters, unless it was changed meanwhile."""
    mine = (logins.c.account_id == account_id) & (logins.c.password == former)
    connection.execute(update(logins).where(mine).values(password=password))


def begin(
    connection: Connection,
    token: str,
    account_id: str,
    key_id: str,
    now: int,
    *,
    owner: bool,
    device: str | None = None,
) -> None:
    """Opens a session, and forgets those that have run out."""
    connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    connection.execute(
        insert(sessions).values(
            hash=digest(token), account_id=account_id, key_id=key_id, owner=owner, created_at=now, seen_at=now,
            expires_at=now + LASTING, device=device,
        )
    )  # fmt: skip


def resume(connection: Connection, token: str, now: int) -> Session:
    """The living session of a token. Raises Unauthorized."""
    row = connection.execute(
        select(sessions).where(sessions.c.hash == digest(token), sessions.c.expires_at > now)
    ).one_or_none()
    if row is None or not (key := keys.find(connection, row.key_id)).lives(now):
        raise Unauthorized("Sign in first.")
    account = keys.find_account(connection, row.account_id)
    if account.suspended_at is not None:
        raise Unauthorized("Sign in first.")
    return Session(row.hash, account, key, row.owner, row.seen_at)


def seen(connection: Connection, session: str, now: int) -> None:
    """Notes that a session is used."""
    connection.execute(update(sessions).where(sessions.c.hash == session).values(seen_at=now))


def end(connection: Connection, session: str) -> None:
    """Signs one browser out."""
    connection.execute(delete(sessions).where(sessions.c.hash == session))


def end_all(connection: Connection, session: Session) -> None:
    """Signs out every browser of the account; of a key, those that signed in with it."""
    these = sessions.c.account_id == session.account.id
    if not session.owner:
        these &= sessions.c.key_id == session.key.id
    connection.execute(delete(sessions).where(these))


def invite(
    connection: Connection,
    token: str,
    account_id: str | None,
    amount: Credits,
    now: int,
    *,
    without_totp: bool = False,
) -> int:
    """Writes a one-time link down; answers until when it is good. An account's former links are good no more."""
    connection.execute(delete(invitations).where(invitations.c.expires_at <= now))
    if account_id is not None:
        connection.execute(delete(invitations).where(invitations.c.account_id == account_id))
    until = now + LINK_LASTING
    connection.execute(
        insert(invitations).values(
            hash=digest(token), account_id=account_id, credits=amount.units, expires_at=until,
            without_totp=without_totp,
        )
    )  # fmt: skip
    return until


def invitation(connection: Connection, token: str, now: int) -> Invitation:
    """What a link is for. Raises NotFound."""
    row = connection.execute(
        select(invitations, accounts.c.email)
        .outerjoin(accounts, accounts.c.id == invitations.c.account_id)
        .where(invitations.c.hash == digest(token), invitations.c.expires_at > now)
    ).one_or_none()
    if row is None:
        raise NotFound(OVER)
    return Invitation(row.email, row.account_id, Credits(row.credits), row.without_totp)


def accept(connection: Connection, secret: bytes, token: str, email: str, password: str, now: int) -> Login:
    """Uses a link up: sets the password (hashed before) and signs out whoever knew the former one. An account that it
    makes is the operator's.

    Raises NotFound where the link is used or over, and Invalid where a new account's address is taken.
    """
    asked = invitation(connection, token, now)
    if not connection.execute(delete(invitations).where(invitations.c.hash == digest(token))).rowcount:
        raise NotFound(OVER)  # used at this very moment
    if asked.account_id is None:
        taken = select(accounts.c.id).where(accounts.c.email == email.strip().lower())
        if connection.execute(taken).one_or_none() is not None:
            raise Invalid(Fault("email", "has an account already; 'phaya console link --account' makes its link"))
        account = keys.open_account(connection, email, now)
        connection.execute(update(accounts).where(accounts.c.id == account.id).values(operator=True))
        details = {"operator": True, "credits": str(asked.credits)}
        audit.write(connection, account.email, "accounts claim", account.email, now, details, account.id)
        if asked.credits:
            ledger.grant(connection, account.id, asked.credits, "to begin with", now)
    else:
        account = keys.find_account(connection, asked.account_id)
        if asked.without_totp:
            authenticators.remove(connection, account.id)
    known = of_account(connection, account.id)
    if known is None:
        _, key = keys.mint(connection, secret, account, KEY_NAME, now, rate=RATE)  # its text is kept nowhere
        values = {"account_id": account.id, "key_id": key.id, "password": password, "changed_at": now}
        connection.execute(insert(logins).values(values))
        return Login(account.id, key.id, password, now)
    connection.execute(
        update(logins).where(logins.c.account_id == account.id).values(password=password, changed_at=now)
    )
    connection.execute(delete(sessions).where(sessions.c.account_id == account.id, sessions.c.owner))
    key_id = known.key_id
    if keys.find(connection, key_id).ended(now):  # revoked by the operator, who now lets the account in again
        _, key = keys.mint(connection, secret, account, KEY_NAME, now, rate=RATE)
        connection.execute(update(logins).where(logins.c.account_id == account.id).values(key_id=key.id))
        key_id = key.id
    if account.operator:
        details = {"by_link": True, "without_totp": asked.without_totp}
        audit.write(connection, account.email, "account password", account.email, now, details, account.id)
    return Login(account.id, key_id, password, now)


def own_keys(connection: Connection, account_id: str) -> list[tuple[Key, str, int]]:
    """An account's keys as its owner sees them: without the console's own."""
    mine = connection.execute(select(logins.c.key_id).where(logins.c.account_id == account_id)).scalar()
    listed = keys.listing(connection, account_id)
    return [(key, prefix, made) for key, prefix, made in listed if key.id != mine]


def command(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The operator's command: a link that sets the password of an account, which is made if it is new. With
    `without_totp` it turns the account's second step off as well, when it is used.

    `link` is None where nobody knows the server's address: none runs here, and none is set.
    """
    account = keys.open_account(connection, asked["account"], now)
    token = draw()
    without_totp = bool(asked.get("without_totp"))
    until = invite(connection, token, account.id, Credits(0), now, without_totp=without_totp)
    path, home = f"/welcome/{token}", asked.get("public_url")
    link = None if home is None else home + path
    return {
        "account": account.email,
        "link": link,
        "path": path,
        "expires_at": written(until),
        "without_totp": without_totp,
    }


def first_command(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """For a database without any account, a link that makes the first one, with some credits. Else no path."""
    if connection.execute(select(accounts.c.id).limit(1)).one_or_none() is not None:
        return {"path": None}
    token = draw()
    invite(connection, token, None, credits(asked["credits"]), now)
    return {"path": f"/welcome/{token}"}
