"""Between the password and the second step of signing in: a proof that the password was given, which the form of the
second step carries. Nothing is stored for it."""

from __future__ import annotations

import hashlib
import hmac

from sqlalchemy import Connection

from phaya import logins
from phaya.clock import MINUTE
from phaya.errors import Unauthorized
from phaya.logins import Login

LASTING = 5 * MINUTE
"""For how long the second step is waited for."""


def proof(secret: bytes, login: Login, now: int) -> str:
    """What proves for a while that the password of a login was given; another password makes it void."""
    until = now + LASTING
    return f"{login.account_id}.{until}.{_seal(secret, login, until)}"


def proven(connection: Connection, secret: bytes, given: str, now: int) -> Login:
    """The login whose password was given. Raises Unauthorized."""
    account_id, _, rest = given.partition(".")
    until, _, seal = rest.partition(".")
    login = logins.of_account(connection, account_id)
    ends = int(until) if until.isascii() and until.isdigit() and len(until) < 18 else 0
    if login is None or not hmac.compare_digest(seal.encode(), _seal(secret, login, ends).encode()) or now >= ends:
        raise Unauthorized("Sign in first.")
    return login


def _seal(secret: bytes, login: Login, until: int) -> str:
    told = f"password given {login.account_id} {login.changed_at} {until}"
    return hmac.new(secret, told.encode(), hashlib.sha256).hexdigest()
