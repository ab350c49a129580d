"""Slows those who guess keys. After so many wrong ones in a minute nothing more that comes from their address is looked
up, but for keys that were found good here before: a neighbour behind the same address goes on working.

Each process counts for itself and holds no more than a fixed number of addresses and keys.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict, deque

from phaya.clock import MINUTE, SECOND, Clock
from phaya.errors import TooManyRequests

MOST = 10_000
"""Addresses, and keys that were good, that are remembered; the longest unseen are forgotten first."""


class Brake:
    """Wrong keys by address, in a moving window of a minute."""

    def __init__(self, clock: Clock, allowed: int, *, most: int = MOST) -> None:
        """`allowed` is how many wrong keys an address may send in a minute, `most` how much is remembered."""
        self._clock = clock
        self._allowed = allowed
        self._most = most
        self._wrong: OrderedDict[str, deque[int]] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._salt = secrets.token_bytes(16)

    def check(self, address: str, text: str) -> None:
        """Lets a key from this address be looked up. Raises TooManyRequests after too many wrong ones."""
        stamps = self._wrong.get(address)
        if stamps is None:
            return
        now = self._clock.now()
        while stamps and not 0 <= now - stamps[0] < MINUTE:
            stamps.popleft()
        if not stamps:
            del self._wrong[address]
        elif len(stamps) >= self._allowed and self._mark(text) not in self._good:
            wait = max(1, -(-(stamps[0] + MINUTE - now) // SECOND))
            raise TooManyRequests(
                f"Too many wrong keys came from this address ({self._allowed} a minute are let through); "
                f"try again in {wait} s.",
                wait,
            )

    def wrong(self, address: str) -> None:
        """A key from this address was none."""
        stamps = self._wrong.setdefault(address, deque(maxlen=self._allowed))
        stamps.append(self._clock.now())
        self._wrong.move_to_end(address)
        if len(self._wrong) > self._most:
            self._wrong.popitem(last=False)

    def right(self, text: str) -> None:
        """A key was good."""
        mark = self._mark(text)
        self._good[mark] = None
        self._good.move_to_end(mark)
        if len(self._good) > self._most:
            self._good.popitem(last=False)

    @property
    def kept(self) -> int:
        """How many addresses are remembered."""
        return len(self._wrong)

    def _mark(self, text: str) -> bytes:
        """What stands for a key's text here, so that none is kept in memory."""
        return hashlib.blake2b(text.encode(), digest_size=16, key=self._salt).digest()
