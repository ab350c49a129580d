"""The process is told to stop: how long what is under way may take from then on. It is gone within ten seconds.

0 s   nobody waits for a job any more, and no job is claimed
4 s   chats that are still being streamed are ended by an event that says so, and settled by what was said
5 s   requests that have no answer yet are refused
6 s   moves of jobs are broken off; renders are left to the next node, or the next start
9 s   what had to be written is written
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

STREAMS = 4.0
REQUESTS = 5
MOVES = 6.0
ASKING = 7.0
"""Until then it is asked what a chat has used that was ended early; after that, our own count has to do."""
ERRANDS = 9.0


class Parting:
    """Whether this process is about to stop, and since when. Seconds are counted from there."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._told = asyncio.Event()
        self._limits: dict[asyncio.Timeout, float] = {}
        self._heard: list[Callable[[], None]] = []

    @property
    def begun(self) -> bool:
        """Whether it is so."""
        return self._since is not None

    def on_begin(self, call: Callable[[], None]) -> None:
        """Has something called when the process is told to stop."""
        self._heard.append(call)

    def begin(self) -> None:
        """The process is told to stop. Once is enough."""
        if self._since is not None:
            return
        self._since = asyncio.get_running_loop().time()
        self._told.set()
        for limit, seconds in self._limits.items():
            limit.reschedule(self._since + seconds)
        for call in self._heard:
            call()

    def left(self, seconds: float) -> float:
        """How many of these seconds are left."""
        if self._since is None:
            return seconds
        return max(0.0, self._since + seconds - asyncio.get_running_loop().time())

    @contextlib.asynccontextmanager
    async def within(self, seconds: float) -> AsyncGenerator[None]:
        """Bounds what is done inside, once the process is told to stop. Raises TimeoutError."""
        async with asyncio.timeout(None if self._since is None else self.left(seconds)) as limit:
            self._limits[limit] = seconds
            try:
                yield
            finally:
                del self._limits[limit]

    async def until(self, seconds: float, events: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The events that come in time."""
        while True:
            try:
                async with self.within(seconds):
                    event = await anext(events, None)
            except TimeoutError:
                return
            if event is None:
                return
            yield event

    async def pause(self, seconds: float, until: float) -> bool:
        """Sleeps; answers whether there is time for more, which ends `until` seconds after the process was told."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self._told.wait()
        if self._since is None:
            return True
        await asyncio.sleep(min(end, self._since + until) - loop.time())
        return self.left(until) > 0
