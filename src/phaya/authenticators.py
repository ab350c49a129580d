"""The second step of signing in: codes of an authenticator app (TOTP, RFC 6238), and recovery codes in its place.

An app's secret is sealed (AES-GCM) under the secret of this Phaya and for its account; of recovery codes there are
digests only. A code is taken once. See docs/decisions/0029-a-second-step.md.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from phaya import codes
from phaya.clock import MINUTE, SECOND
from phaya.errors import Conflict, TooManyRequests
from phaya.schema import authenticators, recovery_codes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP = 30
"""Seconds for which an app shows a code."""
DIGITS = 6
DRIFT = 1
"""Steps by which an app's clock may differ from ours, either way."""
RECOVERY = 10
"""Recovery codes that are made at a time."""
FREE = 10
"""Wrong codes in a row after which each next one is waited for: a minute, then twice as long each time."""
LONGEST_WAIT = 10
"""How often the wait doubles: up to 17 hours, so that nobody tries more than two codes a day."""
NONCE = 12

ON = "The second step is on already."
NOT_BEGUN = "The second step was not set up here. Begin again."


@dataclass(frozen=True, slots=True)
class Authenticator:
    """An account's app that is asked for: since when, how many recovery codes are left, and when the last wrong code
    came."""

    since: int
    recovery: int
    missed_at: int | None


def draw() -> bytes:
    """A fresh secret of an app: 160 bits, as the RFC recommends."""
    return secrets.token_bytes(20)


def seal(secret: bytes, account_id: str, seed: bytes) -> bytes:
    """An app's secret as it is stored: it opens with the same `secret` and for the same account only."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(NONCE)
    return nonce + AESGCM(_sealing_key(secret)).encrypt(nonce, seed, account_id.encode())


def unseal(secret: bytes, account_id: str, sealed: bytes) -> bytes | None:
    """The app's secret; None where it was sealed with another `secret` or for another account."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(_sealing_key(secret)).decrypt(sealed[:NONCE], sealed[NONCE:], account_id.encode())
    except InvalidTag:
        return None


def address(seed: bytes, email: str, issuer: str) -> str:
    """The `otpauth:` address that an app reads from a picture."""
    return _totp(seed).get_provisioning_uri(email, issuer)


def code_at(seed: bytes, now: int) -> str:
    """What an app with this secret shows at a moment."""
    return _totp(seed).generate(now // SECOND).decode()


def find(connection: Connection, account_id: str) -> Authenticator | None:
    """The app that an account is asked for; None where it has none that is on."""
    mine = authenticators.c.account_id == account_id
    row = connection.execute(select(authenticators).where(mine, authenticators.c.confirmed_at.is_not(None)))
    if (found := row.one_or_none()) is None:
        return None
    left = select(func.count()).where(recovery_codes.c.account_id == account_id)
    return Authenticator(found.confirmed_at, connection.execute(left).scalar_one(), found.missed_at)


def begin(connection: Connection, account_id: str, sealed: bytes, now: int) -> None:
    """Keeps the sealed secret of an app that is being set up, in place of one that was not confirmed. Raises Conflict
    where the second step is on."""
    mine = authenticators.c.account_id == account_id
    connection.execute(delete(authenticators).where(mine, authenticators.c.confirmed_at.is_(None)))
    try:
        with connection.begin_nested():
            connection.execute(insert(authenticators).values(account_id=account_id, sealed=sealed, created_at=now))
    except IntegrityError:
        raise Conflict(ON) from None


def begun(connection: Connection, secret: bytes, account_id: str) -> bytes:
    """The secret of the app that is being set up, to be shown again. Raises Conflict where none is."""
    mine = authenticators.c.account_id == account_id
    sealed = connection.execute(
        select(authenticators.c.sealed).where(mine, authenticators.c.confirmed_at.is_(None))
    ).scalar()
    seed = None if sealed is None else unseal(secret, account_id, sealed)
    if seed is None:
        raise Conflict(NOT_BEGUN)
    return seed


def confirm(
    connection: Connection, secret: bytes, account_id: str, code: str, once: str, now: int
) -> Sequence[str] | None:
    """Turns the second step on with a first code, and makes recovery codes; None where the code is wrong.

    `once` names the form: sent again, it is answered with the same recovery codes. Raises Conflict where nothing was
    begun, or another form was quicker.
    """
    row = _locked(connection, account_id)
    if row is None:
        raise Conflict(NOT_BEGUN)
    if row.confirmed_at is not None:
        if (shown := shown_before(connection, secret, account_id, once)) is None:
            raise Conflict(ON)
        return shown
    step = _step(unseal(secret, account_id, row.sealed), code, now)
    if step is None:
        return None
    connection.execute(
        update(authenticators)
        .where(authenticators.c.account_id == account_id)
        .values(confirmed_at=now, last_step=step, misses=0, missed_at=None)
    )
    return renew(connection, secret, account_id, once)


def spend(connection: Connection, secret: bytes, account_id: str, code: str, now: int) -> bool:
    """Takes a code of the app, or a recovery code, for the only time; false where it is wrong, used or run out, which
    is counted. Raises TooManyRequests where too many wrong ones came before: then no code of the app is looked at.
    """
    row = _locked(connection, account_id)
    if row is None or row.confirmed_at is None:
        return False
    mine = authenticators.c.account_id == account_id
    recovered = delete(recovery_codes).where(
        recovery_codes.c.account_id == account_id, recovery_codes.c.hash == _digest(secret, account_id, code)
    )
    if connection.execute(recovered).rowcount:  # nobody guesses one, so they need not wait
        connection.execute(update(authenticators).where(mine).values(misses=0))
        return True
    if row.misses >= FREE and (wait := row.missed_at + _wait(row.misses) - now) > 0:
        seconds = -(-wait // SECOND)
        raise TooManyRequests(f"Too many wrong codes came in; try again in {seconds} s.", seconds)
    step = _step(unseal(secret, account_id, row.sealed), code, now)
    if step is None or step <= row.last_step:
        connection.execute(update(authenticators).where(mine).values(misses=row.misses + 1, missed_at=now))
        return False
    connection.execute(update(authenticators).where(mine).values(last_step=step, misses=0))
    return True


def renew(connection: Connection, secret: bytes, account_id: str, once: str) -> Sequence[str]:
    """Makes recovery codes, which are kept nowhere; former ones are good no more."""
    made = _derived(secret, account_id, once)
    connection.execute(delete(recovery_codes).where(recovery_codes.c.account_id == account_id))
    rows = [{"account_id": account_id, "hash": digest} for digest in _digests(secret, account_id, made)]
    connection.execute(insert(recovery_codes), rows)
    return made


def shown_before(connection: Connection, secret: bytes, account_id: str, once: str) -> Sequence[str] | None:
    """The recovery codes that this very form has made, while all of them are good."""
    made = _derived(secret, account_id, once)
    mine = select(recovery_codes.c.hash).where(recovery_codes.c.account_id == account_id)
    return made if set(connection.execute(mine).scalars()) == set(_digests(secret, account_id, made)) else None


def remove(connection: Connection, account_id: str) -> bool:
    """Turns the second step off; whether it was on."""
    was_on = find(connection, account_id) is not None
    for table in (recovery_codes, authenticators):
        connection.execute(delete(table).where(table.c.account_id == account_id))
    return was_on


def _locked(connection: Connection, account_id: str) -> Row[Any] | None:
    """An account's row, which nobody else reads so until the transaction ends."""
    return connection.execute(
        select(authenticators).where(authenticators.c.account_id == account_id).with_for_update()
    ).one_or_none()


def _step(seed: bytes | None, code: str, now: int) -> int | None:
    """The step that a code belongs to, of those that are near enough."""
    typed = "".join(code.split()).encode()
    if seed is None:
        return None
    totp, here = _totp(seed), now // SECOND // STEP
    near = range(here - DRIFT, here + DRIFT + 1)
    fitting = [step for step in near if hmac.compare_digest(totp.generate(step * STEP), typed)]
    return fitting[-1] if fitting else None


def _totp(seed: bytes) -> TOTP:
    """Loaded when the first code is asked for: most servers need it rarely."""
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.twofactor.totp import TOTP

    return TOTP(seed, DIGITS, SHA1(), STEP)  # noqa: S303 - what apps compute; HMAC needs no resistance to collisions


def _wait(misses: int) -> int:
    return MINUTE << min(misses - FREE, LONGEST_WAIT)


def _sealing_key(secret: bytes) -> bytes:
    return hmac.digest(secret, b"the secrets of authenticators", hashlib.sha256)


def _derived(secret: bytes, account_id: str, once: str) -> list[str]:
    return [codes.derived(secret, f"recovery of {account_id}: {once}", number) for number in range(RECOVERY)]


def _digests(secret: bytes, account_id: str, made: Iterable[str]) -> list[str]:
    return [_digest(secret, account_id, code) for code in made]


def _digest(secret: bytes, account_id: str, code: str) -> str:
    """What stands for a recovery code in the database."""
    return hmac.new(secret, f"recovery {account_id} {codes.plain(code)}".encode(), hashlib.sha256).hexdigest()
