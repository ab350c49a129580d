"""How busy this process is, and when it is too busy to take more: it says so at once, instead of letting everybody wait
until they give up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LAG = 1.0
"""Seconds that the event loop may usually be late before new work is refused."""
TICK = 0.25
"""Seconds between two looks at how late it is."""


class Load:
    """Requests in work, and how late the event loop is."""

    def __init__(self, most: int, waiting: Callable[[], int], late_seconds: float = LAG) -> None:
        """`most` is how many requests are worked on at a time; those that `waiting` counts only wait for a job. The
        event loop may be `late_seconds` late."""
        self._late = late_seconds
        self._most = most
        self._waiting = waiting
        self.requests = 0
        """Requests that have come and are not answered."""
        self.lag = 0.0
        """Seconds that the event loop was late lately."""
        self.refused = 0
        """Requests that were refused since the start."""

    @property
    def working(self) -> int:
        """Requests in work, without those that only wait for a job."""
        return self.requests - self._waiting()

    @property
    def late(self) -> bool:
        """Whether even reading is too much."""
        return self.lag > 2 * self._late

    def full(self, *, reading: bool) -> bool:
        """Whether one more is too much. Reading, which is cheap and ends waiting, has twice the room."""
        room = 2 if reading else 1
        return self.lag > self._late * room or self.working >= self._most * room

    @property
    def told(self) -> str:
        """How it is, for the operator."""
        return "overloaded" if self.full(reading=False) else "ready"

    async def watch(self) -> None:
        """Measures, until cancelled, how late the loop is: half of what it was, and what it is now if that is more."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(TICK)
            self.lag = max(loop.time() - before - TICK, self.lag / 2)
