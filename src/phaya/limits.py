"""Limits on callers and on ourselves: moving windows, exact to the millisecond.

A **meter** is a name under which calls are counted. It lives in this process, or where several nodes share it: see
meters.py.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, text

from phaya import wire
from phaya.clock import SECOND, Clock, SystemClock
from phaya.errors import TooManyRequests
from phaya.metrics import BUDGET_EMPTY, BUDGET_LIMIT, BUDGET_SPENT, REFUSED

MINUTE = 60

_FORGET = text("DELETE FROM meters WHERE stamps[cardinality(stamps)] < CAST(:before AS bigint) << 20")


class Quota(NamedTuple):
    """Where a key stands in one of its windows, for the RateLimit headers."""

    name: str
    limit: int
    remaining: int
    reset: int  # seconds until the window has its next free place

    @property
    def lines(self) -> bytes:
        """The IETF headers of draft-ietf-httpapi-ratelimit-headers, as they are sent."""
        name, limit, remaining, reset = self
        return (
            f'ratelimit-policy: "{name}";q={limit};w={MINUTE}\r\nratelimit: "{name}";r={remaining};t={reset}\r\n'
        ).encode()

    @property
    def headers(self) -> list[wire.Header]:
        """The same as headers."""
        return wire.headers(self.lines)


class QuotaSpent(TooManyRequests):
    """A key used up one of its windows."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(
            f"This key may make {quota.limit} {quota.name} a minute; try again in {quota.reset} s.",
            quota.reset,
        )
        self.quota = quota


class Reading(NamedTuple):
    """What a meter says of one call: whether it was counted, how many more have room, and in how many milliseconds
    the oldest leaves the window."""

    taken: bool
    left: int
    wait: int


class Meters(Protocol):
    """Where calls are counted. A call counts from its moment until exactly one window later."""

    @property
    def place(self) -> str:
        """Where that is, for the operator."""
        ...

    @property
    def alone_since(self) -> int | None:
        """Since when (milliseconds since 1970) the shared place has not answered and each node counts for itself."""
        ...

    async def count(self, name: str, most: int, seconds: int) -> Reading:
        """Counts one call, if fewer than `most` were counted in the last `seconds`."""
        ...

    async def used(self, name: str, seconds: int) -> int:
        """How many calls were counted in the last `seconds`, without counting one."""
        ...


class Windows:
    """Meters in the memory of this process."""

    place = "in this process"
    alone_since = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._meters: dict[str, deque[int]] = {}
        self._longest = 0
        self._swept = clock.now()

    async def count(self, name: str, most: int, seconds: int) -> Reading:
        """Counts one call, if fewer than `most` were counted in the last `seconds`."""
        now, window = self._clock.now(), seconds * SECOND
        if window > self._longest:
            self._longest = window
        if now - self._swept >= MINUTE * SECOND:
            self._sweep(now)
        stamps = self._meters.get(name)
        if stamps is None:
            stamps = self._meters[name] = deque()
        elif stamps[-1] > now:  # a machine's clock may be set back
            now = stamps[-1]
        while stamps and stamps[0] <= now - window:
            stamps.popleft()
        room = most - len(stamps)
        if room <= 0:
            return Reading(False, 0, stamps[0] + window - now)
        stamps.append(now)
        return Reading(True, room - 1, stamps[0] + window - now)

    async def used(self, name: str, seconds: int) -> int:
        """How many calls were counted in the last `seconds`, without counting one."""
        over = self._clock.now() - seconds * SECOND
        return sum(stamp > over for stamp in self._meters.get(name, ()))

    @property
    def kept(self) -> int:
        """How many meters there are."""
        return len(self._meters)

    def _sweep(self, now: int) -> None:
        """Forgets the meters in which nothing counts any more."""
        self._swept = now
        over = now - self._longest
        self._meters = {name: stamps for name, stamps in self._meters.items() if stamps[-1] > over}


class Limits:
    """The windows of every key and of every provider key."""

    def __init__(self, meters: Meters | None = None) -> None:
        """Without `meters`, this process counts for itself."""
        self.meters = Windows(SystemClock()) if meters is None else meters

    async def take(self, key_id: str, name: str, limit: int) -> Quota:
        """Counts one request of a key against `limit` a minute. Raises QuotaSpent."""
        reading = await self.meters.count(f"{name} {key_id}", limit, MINUTE)
        quota = Quota(name, limit, reading.left, max(1, -(-reading.wait // SECOND)))
        if not reading.taken:
            REFUSED.labels(name).inc()
            raise QuotaSpent(quota)
        return quota

    async def spend(self, name: str, provider_key: str, amount: int, seconds: int) -> float:
        """Takes one call of a provider key's budget; else answers how many seconds to wait (0 = taken)."""
        reading = await self.meters.count(f"{name} {provider_key}", amount, seconds)
        BUDGET_LIMIT.labels(name, provider_key).set(amount / seconds)
        (BUDGET_SPENT if reading.taken else BUDGET_EMPTY).labels(name, provider_key).inc()
        return 0 if reading.taken else max(0.05, reading.wait / SECOND)

    async def spent(self, name: str, provider_key: str, seconds: int) -> int:
        """How many calls of a provider key's budget were taken in the last `seconds`."""
        return await self.meters.used(f"{name} {provider_key}", seconds)


def forget_meters(connection: Connection, before: int) -> int:
    """Deletes the meters that counted nothing since a moment; answers how many. Other databases have none."""
    if connection.dialect.name != "postgresql":
        return 0
    return connection.execute(_FORGET, {"before": before}).rowcount
