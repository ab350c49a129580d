"""What an account's owner does for its safety: changes the password, ends sessions, turns the second step on and
off. Each is written into the audit log where the account is an operator's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from phaya import audit, authenticators, keys
from phaya.logins import Session
from phaya.schema import invitations, logins, sessions


@dataclass(frozen=True, slots=True)
class Browser:
    """A session as its account sees it. `key` is the name of the key that it signed in with, None by password."""

    hash: str
    key: str | None
    device: str | None
    created_at: int
    seen_at: int


def browsers(connection: Connection, account_id: str, now: int) -> list[Browser]:
    """The living sessions of an account, the one that was seen last first."""
    theirs = sessions.c.account_id == account_id
    order = (sessions.c.seen_at.desc(), sessions.c.hash)
    found: list[Browser] = []
    for row in connection.execute(select(sessions).where(theirs, sessions.c.expires_at > now).order_by(*order)):
        if (key := keys.find(connection, row.key_id)).lives(now):
            named = None if row.owner else key.name
            found.append(Browser(row.hash, named, row.device, row.created_at, row.seen_at))
    return found


def change_password(connection: Connection, session: Session, former: str, password: str, now: int) -> bool:
    """Sets a password (both are hashes), unless it is no longer the former one. Every other session of the account
    ends, and a link of the operator that was not used is good no more."""
    mine = (logins.c.account_id == session.account.id) & (logins.c.password == former)
    if not connection.execute(update(logins).where(mine).values(password=password, changed_at=now)).rowcount:
        return False
    connection.execute(delete(invitations).where(invitations.c.account_id == session.account.id))
    ended = connection.execute(delete(sessions).where(_others(session))).rowcount
    _note(connection, session, "account password", now, sessions=ended)
    return True


def end_session(connection: Connection, session: Session, which: str, now: int) -> None:
    """Signs one browser of the account out; one that is not there, or not the account's, is let be."""
    theirs = (sessions.c.account_id == session.account.id) & (sessions.c.hash == which)
    if ended := connection.execute(delete(sessions).where(theirs)).rowcount:
        _note(connection, session, "account sessions", now, sessions=ended)


def end_others(connection: Connection, session: Session, now: int) -> None:
    """Signs every other browser of the account out."""
    if ended := connection.execute(delete(sessions).where(_others(session))).rowcount:
        _note(connection, session, "account sessions", now, sessions=ended)


def turn_on(
    connection: Connection, secret: bytes, session: Session, code: str, once: str, now: int
) -> Sequence[str] | None:
    """Turns the second step on, see `authenticators.confirm`."""
    account_id = session.account.id
    was_on = authenticators.find(connection, account_id) is not None
    made = authenticators.confirm(connection, secret, account_id, code, once, now)
    if made is not None and not was_on:
        _note(connection, session, "account totp on", now)
    return made


def turn_off(connection: Connection, secret: bytes, session: Session, code: str, now: int) -> bool:
    """Turns the second step off with a last code; false where it is wrong. Raises TooManyRequests."""
    if not authenticators.spend(connection, secret, session.account.id, code, now):
        return False
    authenticators.remove(connection, session.account.id)
    _note(connection, session, "account totp off", now)
    return True


def renew_codes(
    connection: Connection, secret: bytes, session: Session, code: str, once: str, now: int
) -> Sequence[str] | None:
    """New recovery codes in place of the former ones; None where the code is wrong. The same form sent again is
    answered with the same ones. Raises TooManyRequests."""
    account_id = session.account.id
    if (shown := authenticators.shown_before(connection, secret, account_id, once)) is not None:
        return shown
    if not authenticators.spend(connection, secret, account_id, code, now):
        return None
    _note(connection, session, "account codes", now)
    return authenticators.renew(connection, secret, account_id, once)


def _others(session: Session) -> Any:
    return (sessions.c.account_id == session.account.id) & (sessions.c.hash != session.hash)


def _note(connection: Connection, session: Session, action: str, now: int, **details: object) -> None:
    account = session.account
    if account.operator:
        audit.write(connection, account.email, action, account.email, now, details, account.id)
