"""Accounts and their keys. A key is shown once; the database holds its HMAC only."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from phaya.clock import DAY
from phaya.credits import Credits
from phaya.errors import WRONG_KEY, Fault, Forbidden, Invalid, NotFound, Unauthorized
from phaya.origins import Address, Network, read_networks, within
from phaya.prepared import Prepared, among
from phaya.schema import accounts, keys, marks

ALPHABET = string.ascii_letters + string.digits
LENGTH = 48
PREFIX = 11  # "pk_" and eight characters: enough to find a key, useless to guess one

SCOPES = ("generate", "chat", "webhooks", "keys")
"""Scopes beside the paths of the services."""

MISSING = "Send your API key as 'Authorization: Bearer pk_…' or 'X-API-Key: pk_…'."
LONGEST_OVERLAP = 30 * DAY
"""For how long the former text of a rotated key may go on."""
FOREIGN = (
    "The secret of this machine is not the one that the keys in the database were made with. Give every node the same "
    "PHAYA_SECRET, or the same file 'secret' in its data folder."
)


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. An `operator` may see and do everything; of a suspended account no key is taken."""

    id: str
    email: str
    balance: Credits
    operator: bool = False
    suspended_at: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """What a caller holds. `cap` bounds what it may ever spend, `rate` its requests a minute; empty `scopes`
    allow everything, and without `networks` it may be used from anywhere."""

    id: str
    account_id: str
    name: str
    scopes: frozenset[str]
    cap: Credits | None
    spent: Credits
    rate: int | None
    expires_at: int | None
    revoked_at: int | None
    suspended_at: int | None = None
    networks: tuple[Network, ...] = ()

    def ended(self, now: int) -> bool:
        """Whether it was revoked or has run out, and is good no more."""
        return self.revoked_at is not None or (self.expires_at is not None and now >= self.expires_at)

    def lives(self, now: int) -> bool:
        """Whether it is taken: neither ended nor suspended."""
        return self.suspended_at is None and not self.ended(now)

    def allows(self, *names: str) -> bool:
        """Whether one of the scopes is granted. Reading one's own jobs and credits needs none."""
        return not self.scopes or not self.scopes.isdisjoint(names)

    def check_origin(self, address: Address | None) -> None:
        """Raises Forbidden where the key is tied to networks and the address is in none of them."""
        if self.networks and not within(address, self.networks):
            raise Forbidden(f"This key may not be used from {address or 'an unknown address'}.")


_NAMES = tuple(field.name for field in fields(Key))
# Nearly every request asks this.
_TAKEN = Prepared(
    select(keys.c.hash, keys.c.former_hash, keys.c.former_until, *(keys.c[name] for name in _NAMES))
    .join(accounts, accounts.c.id == keys.c.account_id)
    .where(
        or_(among(keys.c.prefix, "starts"), among(keys.c.former_prefix, "starts")),
        accounts.c.suspended_at.is_(None),
    )
)


def draw_key() -> str:
    """A fresh key: `pk_` and 48 characters, 285 bits."""
    return "pk_" + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def load_secret(given: str | None, folder: Path) -> bytes:
    """The secret that keys and callback tokens are hashed with: the setting, or a file made once (mode 0600)."""
    if given:
        return given.encode()
    file = folder / "secret"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f"secret.{uuid.uuid4().hex}"
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        try:
            file.hardlink_to(fresh)  # the first one wins, whole
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return file.read_text().strip().encode()


def digest(secret: bytes, key: str) -> str:
    """The HMAC-SHA256 that stands for a key in the database."""
    return hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()


def agree(connection: Connection, secret: bytes) -> bool:
    """Whether the secret is the one that this database's keys were made with; the first one to ask decides."""
    mark = hmac.new(secret, b"the secret of this database", hashlib.sha256).hexdigest()
    try:
        with connection.begin_nested():
            connection.execute(insert(marks).values(name="secret", value=mark))
    except IntegrityError:
        known = connection.execute(select(marks.c.value).where(marks.c.name == "secret")).scalar_one()
        return hmac.compare_digest(known, mark)
    return True


def open_account(connection: Connection, email: str, now: int) -> Account:
    """The account of this address, made if it is new. Raises Invalid."""
    address = email.strip().lower()
    if len(address) > 254 or not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
        raise Invalid(Fault("account", "must be an e-mail address"))
    fresh = Account(str(uuid.uuid4()), address, Credits(0))
    known = select(accounts).where(accounts.c.email == address)
    if (found := connection.execute(known).one_or_none()) is not None:
        return _account(found)
    try:
        with connection.begin_nested():
            connection.execute(insert(accounts).values(id=fresh.id, email=address, balance=0, created_at=now))
    except IntegrityError:  # another node made it at this moment
        return _account(connection.execute(known).one())
    return fresh


def account_by_email(connection: Connection, email: str) -> Account:
    """The account with this address. Raises NotFound."""
    found = connection.execute(select(accounts).where(accounts.c.email == email.strip().lower())).one_or_none()
    if found is None:
        raise NotFound(f"There is no account {email}.")
    return _account(found)


def find_account(connection: Connection, account_id: str) -> Account:
    """The account with this id."""
    return _account(connection.execute(select(accounts).where(accounts.c.id == account_id)).one())


def mint(
    connection: Connection,
    secret: bytes,
    account: Account,
    name: str,
    now: int,
    *,
    cap: Credits | None = None,
    scopes: Sequence[str] = (),
    rate: int | None = None,
    expires_at: int | None = None,
    networks: Sequence[str] = (),
    draw: Callable[[], str] = draw_key,
) -> tuple[str, Key]:
    """Makes a key and returns its text, which is kept nowhere, beside what is. Raises Invalid."""
    if not 1 <= len(name) <= 100:
        raise Invalid(Fault("name", "must have 1 to 100 characters"))
    if cap is not None and cap.units < 0:
        raise Invalid(Fault("cap", "must not be negative"))
    if rate is not None and rate < 1:
        raise Invalid(Fault("rate", "must be at least 1 request a minute"))
    if expires_at is not None and expires_at <= now:
        raise Invalid(Fault("expires_at", "must be in the future"))
    text = draw()
    row = connection.execute(
        insert(keys)
        .values(
            id=str(uuid.uuid4()),
            account_id=account.id,
            name=name,
            prefix=text[:PREFIX],
            hash=digest(secret, text),
            scopes=" ".join(sorted(set(scopes))),
            cap=None if cap is None else cap.units,
            rate=rate,
            created_at=now,
            expires_at=expires_at,
            networks=" ".join(map(str, read_networks(networks))),
        )
        .returning(keys)
    ).one()
    return text, _key(row)


def authenticate(connection: Connection, secret: bytes, text: str, now: int) -> Key:
    """The living key with this text. Raises Unauthorized, in the same words whatever is wrong with it."""
    [found] = authenticate_all(connection, secret, [text], now)
    if isinstance(found, Unauthorized):
        raise found
    return found


def authenticate_all(connection: Connection, secret: bytes, texts: Sequence[str], now: int) -> list[Key | Unauthorized]:
    """The living keys with these texts, or Unauthorized for each that is none."""
    rows = _TAKEN.run(connection, starts=sorted({text[:PREFIX] for text in texts}))
    found: list[Key | Unauthorized] = []
    for text in texts:
        mark = digest(secret, text)
        held = (_read(row[3:]) for row in rows if _is(row[0], row[1], row[2], mark, now))
        found.append(next((key for key in held if key.lives(now)), None) or Unauthorized(WRONG_KEY))
    return found


def rotate(
    connection: Connection,
    secret: bytes,
    account_id: str,
    key_id: str,
    now: int,
    overlap: int,
    draw: Callable[[], str] = draw_key,
) -> tuple[str, Key]:
    """Gives a key a new text, which is returned and kept nowhere; its former one is good for `overlap` milliseconds.

    What the key may do and has spent stays, and a text from before the former one is good no more. Raises Invalid, or
    NotFound where the account has no such living key.
    """
    if not 0 <= overlap <= LONGEST_OVERLAP:
        raise Invalid(Fault("overlap", f"must be 0 to {LONGEST_OVERLAP // DAY} days"))
    mine = select(keys).where(keys.c.id == key_id, keys.c.account_id == account_id)
    row = connection.execute(mine.with_for_update()).one_or_none()
    if row is None or not _key(row).lives(now):
        raise NotFound("There is no such living key of this account.")
    text = draw()
    former = {"former_prefix": row.prefix, "former_hash": row.hash, "former_until": now + overlap}
    after = connection.execute(
        update(keys)
        .where(keys.c.id == key_id)
        .values(prefix=text[:PREFIX], hash=digest(secret, text), **former)
        .returning(keys)
    ).one()
    return text, _key(after)


def revoke(connection: Connection, account_id: str, key_id: str, now: int) -> bool:
    """Ends a key for good; says whether there was a living one."""
    done = connection.execute(
        update(keys)
        .where(keys.c.id == key_id, keys.c.account_id == account_id, keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return done.rowcount > 0


def suspend(connection: Connection, account_id: str, key_id: str, moment: int | None) -> bool:
    """Suspends a key from a moment on, or without one takes it again; says whether that changed anything.

    Raises NotFound where the account has no such key, or it was revoked.
    """
    key = _own(connection, account_id, key_id)
    if (key.suspended_at is None) == (moment is None):
        return False
    connection.execute(update(keys).where(keys.c.id == key_id).values(suspended_at=moment))
    return True


def set_cap(connection: Connection, account_id: str, key_id: str, cap: Credits | None) -> Key:
    """Bounds what a key may ever spend, or with None bounds it no more.

    Raises NotFound, and Invalid where it has spent more than that.
    """
    key = _own(connection, account_id, key_id)
    if cap is not None and cap < key.spent:
        raise Invalid(Fault("cap", f"must be at least {key.spent}, which the key has spent"))
    connection.execute(update(keys).where(keys.c.id == key_id).values(cap=None if cap is None else cap.units))
    return find(connection, key_id)


def listing(connection: Connection, account_id: str) -> list[tuple[Key, str, int]]:
    """An account's keys with prefix and time of making, oldest first."""
    rows = connection.execute(select(keys).where(keys.c.account_id == account_id).order_by(keys.c.created_at))
    return [(_key(row), row.prefix, row.created_at) for row in rows]


def find(connection: Connection, key_id: str) -> Key:
    """The key with this id."""
    return _key(connection.execute(select(keys).where(keys.c.id == key_id)).one())


def _own(connection: Connection, account_id: str, key_id: str) -> Key:
    """A key of the account that was not revoked, which nobody else writes meanwhile. Raises NotFound."""
    theirs = (keys.c.id == key_id) & (keys.c.account_id == account_id) & keys.c.revoked_at.is_(None)
    row = connection.execute(select(keys).where(theirs).with_for_update(key_share=True)).one_or_none()
    if row is None:
        raise NotFound("There is no such living key of this account.")
    return _key(row)


def _is(current: str, former: str | None, until: int | None, mark: str, now: int) -> bool:
    """Whether a hash is the key's, or was until its rotation and still counts. Both are always compared."""
    is_current = hmac.compare_digest(current, mark)
    was_former = hmac.compare_digest(former or "", mark)
    return is_current or (was_former and now < (until or 0))


def _account(row: Row[tuple[object, ...]]) -> Account:
    return Account(row.id, row.email, Credits(row.balance), row.operator, row.suspended_at)


def _key(row: Row[tuple[object, ...]]) -> Key:
    return _read([getattr(row, name) for name in _NAMES])


def _read(values: Sequence[Any]) -> Key:
    """The key of the columns that have its fields' names, in their order."""
    told: dict[str, Any] = dict(zip(_NAMES, values, strict=True))
    told["scopes"] = frozenset(told["scopes"].split())
    told["cap"] = None if told["cap"] is None else Credits(told["cap"])
    told["spent"] = Credits(told["spent"])
    told["networks"] = read_networks(told["networks"].split())
    return Key(**told)
