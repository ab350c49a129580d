"""The children that decode one sort of file: started with the first, kept for the next, ended when idle or worn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from phaya.clock import Clock
from phaya.decoding.findings import Answer, Garbled
from phaya.decoding.formats import Moving, Unreadable
from phaya.decoding.process import Bounds, Child, Ended, Loads
from phaya.errors import Overloaded, StorageDown

log = structlog.get_logger()
T = TypeVar("T")

AT_ONCE = 2
"""Files of one sort that are decoded at a time; more wait for their turn."""
BROKEN = "it could not be read"


class Crew:
    """Up to two children that load the same library."""

    def __init__(self, loads: Loads, clock: Clock, bounds: Bounds, program: Sequence[str]) -> None:
        self._loads: Loads = loads
        self._clock = clock
        self._bounds = bounds
        self._program = program
        self._places = asyncio.Semaphore(AT_ONCE)
        self._idle: list[Child] = []
        self._busy: set[Child] = set()

    @property
    def children(self) -> list[int]:
        """The numbers of its processes."""
        return [child.pid for child in (*self._idle, *self._busy)]

    async def ask(self, work: str, form: str, files: Sequence[int], read: Callable[[Answer], T]) -> T:
        """Has one order carried out; `read` reads what was found, and raises Garbled where that cannot be.

        Raises Unreadable, Moving, StorageDown, or Overloaded where no child can be started.
        """
        async with self._places:
            while True:
                child, fresh = await self._child()
                try:
                    outcome = _outcome(await child.ask(work, form, files), read)
                except Ended as error:
                    code = await self._end(child)
                    if not error.asked and not fresh:  # it went while it was idle
                        continue
                    log.warning("decoder.ended", work=work, form=form, code=code)
                    raise Unreadable(BROKEN) from error
                except Garbled as error:
                    await self._end(child)
                    log.warning("decoder.garbled", work=work, form=form, error=str(error))
                    raise Unreadable(BROKEN) from error
                except TimeoutError as error:
                    await self._end(child)
                    log.warning("decoder.stuck", work=work, form=form)
                    raise Unreadable("it takes too long to read") from error
                except BaseException:
                    await self._end(child)
                    raise
                await self._keep(child)
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

    async def tidy(self) -> None:
        """Ends who has been idle for too long."""
        since = self._clock.now() - self._bounds.idle
        old = [child for child in self._idle if child.idle_since <= since]
        self._idle = [child for child in self._idle if child not in old]
        for child in old:
            await self._end(child)

    async def close(self) -> None:
        """Ends all; who still asks hears that the file cannot be read."""
        while self._idle:
            await self._end(self._idle.pop())
        for child in self._busy:
            child.kill()
        while self._busy:
            await asyncio.sleep(0.01)

    async def _child(self) -> tuple[Child, bool]:
        """One to ask, and whether it is new. The last one that worked is taken, so that others may become idle."""
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                self._busy.add(child)
                return child, False
            await self._end(child)
        try:
            child = await Child.start(self._loads, self._bounds, self._program)
        except (Ended, Garbled, TimeoutError, OSError) as error:
            log.error("decoder.unstarted", loads=self._loads, error=str(error) or type(error).__name__)
            raise Overloaded from error
        self._busy.add(child)
        return child, True

    async def _keep(self, child: Child) -> None:
        if child.spent:
            await self._end(child)
            return
        self._busy.discard(child)
        child.idle_since = self._clock.now()
        self._idle.append(child)

    async def _end(self, child: Child) -> int:
        try:
            return await child.end()
        finally:
            self._busy.discard(child)


def _outcome(answer: Answer, read: Callable[[Answer], T]) -> T | Unreadable | Moving | StorageDown:
    """What was found, or what is to be raised. Raises Garbled."""
    if "unreadable" in answer:
        return Unreadable(answer.text("unreadable"))
    if "moving" in answer:
        return Moving()
    if "full" in answer:
        return StorageDown()
    if "failed" in answer:
        log.warning("decoder.failed", error=answer.text("failed"))
        return Unreadable(BROKEN)
    return read(answer.part("found"))
