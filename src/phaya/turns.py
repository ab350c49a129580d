"""Turns: when those may ask that a provider's budget has no room for now.

Each is given a moment of its own, one after another as fast as the budget allows, so that a crowd is not asked
about again and again while it waits. A turn is a plan and no right: the budget still decides when it has come.
"""

from __future__ import annotations

import random

from phaya.clock import MINUTE, SECOND

LONGEST = 10 * MINUTE
"""The last turn that is handed out. Who would come later is spread over the second half of this time and asks again,
so that nobody sleeps for hours because of others who have meanwhile gone."""


class Turns:
    """The queues of this process, by name. Nothing is held for those who wait but the last moment given out."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._last: dict[str, float] = {}

    def take(self, name: str, now: int, wait: float, rate: float) -> int:
        """The next free moment of a queue (milliseconds since 1970) that moves at `rate` a second.

        None is earlier than `wait` seconds from now.
        """
        moment = max(now + wait * SECOND, self._last.get(name, 0) + SECOND / rate)
        if moment > now + LONGEST:
            return now + int(self._dice.uniform(LONGEST / 2, LONGEST))
        self._last[name] = moment
        return int(moment)
