"""Time as an argument, so that an hour passes in a test without waiting."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol, overload

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock(Protocol):
    """Tells the time in whole milliseconds since 1970 (UTC), as every stored time is."""

    def now(self) -> int:
        """Milliseconds since 1970."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000


@overload
def written(moment: int) -> str: ...
@overload
def written(moment: int | None) -> str | None: ...
def written(moment: int | None) -> str | None:
    """A stored time as people and clients read it: ISO 8601, UTC, milliseconds."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class SharedClock:
    """The clock of a database that several nodes share, as this node knows it, so that all agree when a lease ends.

    Between two looks at it the time that passes is counted by the machine's boot clock, which nobody can set and
    which goes on while the process is stopped or the machine sleeps. Until the first look it is the machine's clock.
    """

    def __init__(self, elapsed: Callable[[], int] | None = None) -> None:
        """`elapsed` counts milliseconds from any beginning."""
        self._elapsed = elapsed or _since_boot
        self._offset = time.time_ns() // 1_000_000 - self._elapsed()

    def now(self) -> int:
        """Milliseconds since 1970, by the shared clock."""
        return self._elapsed() + self._offset

    async def follow(self, told: Callable[[], Awaitable[int]]) -> int:
        """Asks what the shared clock says and goes by it from now on; answers by how many milliseconds it was off.

        An answer took some time to come: the middle of that time is when the clock was read.
        """
        began = self._elapsed()
        theirs = await told()
        offset = theirs - (began + self._elapsed()) // 2
        moved = offset - self._offset
        self._offset = offset
        return moved


def _since_boot() -> int:
    # CLOCK_BOOTTIME is Linux; elsewhere the monotonic clock stands still while the machine sleeps.
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000
