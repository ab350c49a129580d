"""Passwords: hashed with argon2id, off the event loop, and few at a time. One hash takes 64 MB and tens of milliseconds
of a core, so that a crowd at the door could otherwise take all there is of both."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from phaya.errors import Fault, Invalid, Overloaded

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST, LONGEST = 10, 200
"""Characters of a password."""
AT_ONCE = 2
"""Hashes at a time in one process."""
QUEUE = 32
"""Who may wait for one; more are refused."""

T = TypeVar("T")


def hashed(password: str) -> str:
    """A password as it is stored; takes tens of milliseconds. Raises Invalid."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Invalid(Fault("password", f"must have {SHORTEST} to {LONGEST} characters"))
    return _hasher().hash(password)


def fits(stored: str | None, password: str) -> bool:
    """Whether a password is the stored one; takes tens of milliseconds, also where there is none to compare with."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(stored or _nobody(), password[: LONGEST + 1]) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than are used today."""
    return _hasher().check_needs_rehash(stored)


@cache
def _hasher() -> PasswordHasher:
    """Loaded with the first password: a Phaya that is an API only sees none."""
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobody() -> str:
    return _hasher().hash(secrets.token_hex(16))


class Hashing:
    """Where passwords are hashed."""

    def __init__(self, at_once: int = AT_ONCE, queue: int = QUEUE) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + queue
        self._here = 0

    async def run(self, work: Callable[..., T], *args: str | None) -> T:
        """Does `work` in a thread when its turn has come. Raises Overloaded where too many wait already."""
        if self._here >= self._most:
            raise Overloaded()
        self._here += 1
        try:
            async with self._free:
                return await asyncio.to_thread(work, *args)
        finally:
            self._here -= 1
