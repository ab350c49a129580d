"""Limits on callers and on ourselves: moving windows, exact, shared by everything in this process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from phaya.errors import TooManyRequests

MINUTE = 60


@dataclass(frozen=True, slots=True)
class Quota:
    """Where a key stands in one of its windows, for the RateLimit headers."""

    name: str
    limit: int
    remaining: int
    reset: int  # seconds until the window has its next free place

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The IETF headers of draft-ietf-httpapi-ratelimit-headers."""
        return [
            (b"ratelimit-policy", f'"{self.name}";q={self.limit};w={MINUTE}'.encode()),
            (b"ratelimit", f'"{self.name}";r={self.remaining};t={self.reset}'.encode()),
        ]


class QuotaSpent(TooManyRequests):
    """A key used up one of its windows."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(
            f"This key may make {quota.limit} {quota.name} a minute; try again in {quota.reset} s.",
            quota.reset,
        )
        self.quota = quota


class Limits:
    """The windows of every key and of every provider key."""

    def __init__(self) -> None:
        self._windows = MovingWindowRateLimiter(MemoryStorage())

    async def take(self, key_id: str, name: str, limit: int) -> Quota:
        """Counts one request of a key against `limit` a minute. Raises QuotaSpent."""
        item = RateLimitItemPerSecond(limit, MINUTE)
        taken = await self._windows.hit(item, name, key_id)
        stats = await self._windows.get_window_stats(item, name, key_id)
        reset = max(1, math.ceil(stats.reset_time - time.time()))
        quota = Quota(name, limit, stats.remaining, reset)
        if not taken:
            raise QuotaSpent(quota)
        return quota

    async def spend(self, name: str, provider_key: str, amount: int, seconds: int) -> float:
        """Takes one call of a provider key's budget; else answers how many seconds to wait (0 = taken)."""
        item = RateLimitItemPerSecond(amount, seconds)
        if await self._windows.hit(item, name, provider_key):
            return 0
        stats = await self._windows.get_window_stats(item, name, provider_key)
        return max(0.05, stats.reset_time - time.time())
