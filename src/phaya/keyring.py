"""The keys that have called lately, so that a request need not ask the database who calls.

What another node changes of a key counts here within a second; what this one changes, at once, through `forget`.
Money does not rely on it: a charge looks at the key once more, in its own transaction.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from phaya import keys
from phaya.clock import SECOND, Clock
from phaya.crowd import Crowd
from phaya.database import Database
from phaya.keys import Key

FRESH = SECOND
"""Milliseconds for which what was read of a key is taken to be so."""
MOST = 10_000
"""Keys that are remembered."""


class Keyring:
    """Finds the key that a text is."""

    def __init__(self, database: Database, secret: bytes, clock: Clock) -> None:
        self._database = database
        self._secret = secret
        self._clock = clock
        self._asking = Crowd[str, Key](self._ask)
        self._known: dict[bytes, tuple[Key, int]] = {}
        self._forgets = 0

    async def find(self, text: str) -> Key:
        """The living key with this text. Raises Unauthorized, in the same words whatever is wrong with it."""
        # By its HMAC, as in the database: how long the search takes tells nothing of a key.
        mark = hmac.digest(self._secret, text.encode(errors="replace"), "sha256")
        now = self._clock.now()
        if (known := self._known.get(mark)) is not None:
            key, read_at = known
            if 0 <= now - read_at < FRESH and key.lives(now):
                return key
        forgets = self._forgets
        key = await self._asking.join(text)
        if forgets == self._forgets:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[mark] = key, now
        return key

    def forget(self) -> None:
        """A key was changed by this process: all are asked for anew."""
        self._forgets += 1
        self._known.clear()

    async def _ask(self, texts: Sequence[str]) -> Sequence[Key | Exception]:
        return await self._database.read(keys.authenticate_all, self._secret, texts, self._clock.now())
