"""Requests come in crowds: what comes in while others are being written, or read, goes with the next ones, in one
transaction.

A transaction for each would cost more than all the rest of a request. Nobody is answered before the transaction that
holds what they asked for is durable, and nobody waits for anything but the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Crowd(Generic[T, R]):
    """Those who want the same kind of work done."""

    def __init__(self, work: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], most: int = 500) -> None:
        """`work` does what up to `most` of them want, and answers or refuses each, in their order."""
        self._work = work
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self.working: asyncio.Task[None] | None = None
        """The task that does it, for as long as there is something to do. It goes on although who asked has gone."""

    async def join(self, item: T) -> R:
        """Has it done and answers what came of it. Raises how it was refused, or why all of them failed."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self.working is None:
            self.working = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        while batch := self._waiting[: self._most]:
            del self._waiting[: self._most]
            try:
                outcomes: Sequence[R | Exception] = await self._work([item for item, _ in batch])
            except Exception as trouble:  # noqa: BLE001 - it belongs to everybody of this batch
                outcomes = [trouble] * len(batch)
            for (_, done), outcome in zip(batch, outcomes, strict=True):
                if done.done():
                    continue  # whoever asked has gone
                if isinstance(outcome, Exception):
                    done.set_exception(outcome)
                else:
                    done.set_result(outcome)
        self.working = None
