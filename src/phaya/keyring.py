"""The keys that have called lately, so that a request need not ask the database who calls.

What another node changes of a key counts here within a second; what this one changes, at once, through `forget`.
Money does not rely on it: a charge looks at the key once more, in its own transaction.
"""

from __future__ import annotations

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
        self._known: dict[str, tuple[Key, int]] = {}
        self._swept = clock.now()
        self._forgets = 0

    def held(self, text: str, now: int) -> Key | None:
        """The living key with this text, if it was found a moment ago."""
        known = self._known.get(text)
        if known is not None and 0 <= now - known[1] < FRESH and known[0].lives(now):
            return known[0]
        return None

    async def find(self, text: str) -> Key:
        """The living key with this text. Raises Unauthorized, in the same words whatever is wrong with it."""
        now = self._clock.now()
        if (key := self.held(text, now)) is not None:
            return key
        self._sweep(now)
        forgets = self._forgets
        key = await self._asking.join(text)
        if forgets == self._forgets:  # else it was changed since, and this may be how it was before
            self._known[text] = key, now
        return key

    def forget(self) -> None:
        """A key was changed by this process: all are asked for anew."""
        self._forgets += 1
        self._known.clear()

    def _sweep(self, now: int) -> None:
        """Forgets once a second what is too old to count: no text of a key is held for longer than it is of use."""
        if not 0 <= now - self._swept < FRESH or len(self._known) >= MOST:
            self._swept = now
            self._known = {text: known for text, known in self._known.items() if 0 <= now - known[1] < FRESH}
        if len(self._known) >= MOST:
            self._known.clear()

    async def _ask(self, texts: Sequence[str]) -> Sequence[Key | Exception]:
        return await self._database.read(keys.authenticate_all, self._secret, texts, self._clock.now())
