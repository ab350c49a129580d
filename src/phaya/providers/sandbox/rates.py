"""Limits per key, as KIE keeps them: so many calls in any so many seconds, the rest refused and not queued."""

from __future__ import annotations

from collections import OrderedDict, deque

from phaya.clock import Clock

MOST_KEYS = 10_000


class Rate:
    """At most `amount` calls per key in any `seconds`. Refused calls do not count."""

    def __init__(self, amount: int, seconds: float, clock: Clock) -> None:
        self._amount = amount
        self._span = round(seconds * 1000)
        self._clock = clock
        self._taken: OrderedDict[str, deque[int]] = OrderedDict()

    def take(self, key: str) -> bool:
        """Takes one call, or says that there is none left now."""
        now = self._clock.now()
        taken = self._taken.setdefault(key, deque())
        self._taken.move_to_end(key)
        if len(self._taken) > MOST_KEYS:
            self._taken.popitem(last=False)
        while taken and taken[0] <= now - self._span:
            taken.popleft()
        if len(taken) >= self._amount:
            return False
        taken.append(now)
        return True
