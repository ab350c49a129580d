"""The way to a Redis or Valkey that may be gone at any time: nothing waits for it for long, and nothing needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import structlog

from phaya.clock import MINUTE, SECOND, Clock
from phaya.errors import Apart

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

log = structlog.get_logger()

PATIENCE = 0.25
"""Seconds for a connection to become free, for one to be made, and for an answer."""
PAUSE = 1 * SECOND
"""Between two attempts at a server that is gone. One caller makes the attempt, the others do not wait for it."""
CONNECTIONS = 16
"""Each serves thousands of questions a second; more would only have to be made when many callers come at once."""


class Link:
    """Connections to one server, and since when it has not answered."""

    def __init__(self, url: str, clock: Clock, *, patience: float = PATIENCE) -> None:
        """`url` is `redis://` or `rediss://`; nothing is connected yet. Raises ValueError."""
        # Loaded only where there is a Redis: it brings 24 MB, and the SDK of OpenTelemetry where that is installed.
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.maint_notifications import MaintNotificationsConfig

        self._failures = RedisError, OSError, TimeoutError
        self._clock = clock
        self._again = 0
        self._told = -MINUTE
        self._address = urlsplit(url).hostname
        self.away_since: int | None = None
        pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - its options are untyped
            url,
            max_connections=CONNECTIONS,
            timeout=patience,
            socket_timeout=patience,
            socket_connect_timeout=patience,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            driver_info=None,  # one question less for each new connection
            # Announced moves of a managed server would lengthen the time-outs.
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        self.client: Redis = Redis.from_pool(pool)

    async def ask(self, work: Callable[[], Awaitable[T]]) -> T:
        """What the server answers to `work`, which may have been done even where this raises Apart."""
        now = self._clock.now()
        if self.away_since is not None:
            if now < self._again:
                raise Apart
            self._again = now + PAUSE
        try:
            answer = await work()
        except self._failures as error:
            self._lost(error)
            raise Apart from error
        if self.away_since is not None:
            log.warning("redis.back", server=self._address, since=self.away_since)
            self.away_since = None
        return answer

    def script(self, text: str) -> Callable[..., Awaitable[Any]]:
        """A script that the server keeps; it is called with `keys` and `args`."""
        return self.client.register_script(text)

    async def close(self) -> None:
        """Lets go of every connection."""
        await self.client.aclose()

    def _lost(self, error: Exception) -> None:
        now = self._clock.now()
        self._again = now + PAUSE
        if self.away_since is None:
            self.away_since = now
        if now - self._told >= MINUTE:
            self._told = now
            # Never the address as given: it may hold a password.
            log.error("redis.away", server=self._address, detail=f"{type(error).__name__}: {error}"[:300])
