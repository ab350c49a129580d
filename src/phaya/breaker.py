"""The circuit breaker: what fails repeatedly is rested for a while, then tried by one job before the others.

A circuit is a name: a provider's (`kie`), or that of one of its models (`kie sora-2-text-to-video`).

    closed ─ failures in a row ─▶ resting ─ time ─▶ half open ─ one is let through ─▶ closed, or resting for longer

What is known of the circuits may be shared by several nodes: see circuits.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from phaya.clock import SECOND, Clock
from phaya.errors import Apart

log = structlog.get_logger()

PROBE = 180 * SECOND
"""After so long a trial that told nothing (its process died) is forgotten; no submit takes longer."""
FRESH = 1 * SECOND
"""For so long a node goes by what it last read of the shared circuits."""


@dataclass(frozen=True)
class Patience:
    """When a circuit opens and for how long. Times are seconds.

    `failures` are those in a row that rest a provider, each at most `window` after the one before; `refusals`
    those that rest a model which the provider says is paused or gone. Each rest is twice as long as the last
    one, from `rest` up to `longest`.
    """

    failures: int = 6
    refusals: int = 2
    window: float = 120
    rest: float = 30
    longest: float = 900


@dataclass(frozen=True, slots=True)
class Rest:
    """A circuit that is open until a moment (milliseconds since 1970), and why."""

    until: int
    reason: str


class Circuits(Protocol):
    """What the engine and the doors ask of a breaker. The state may live in this process or be shared."""

    async def wait(self, *names: str) -> float:
        """Seconds until all of these circuits let somebody through; 0 where they do now."""
        ...

    async def admit(self, *names: str) -> float:
        """Like `wait`; where it answers 0 the caller is let through, and must tell how it went."""
        ...

    async def succeeded(self, *names: str) -> None:
        """The circuits work."""
        ...

    async def failed(self, name: str, reason: str, *, limit: int) -> None:
        """The circuit failed once more; it rests after `limit` failures in a row."""
        ...

    async def resting(self) -> Mapping[str, Rest]:
        """The circuits that are open, with those that wait for their trial's outcome."""
        ...


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is remembered of a circuit from its first failure to its next success. Times are milliseconds since 1970."""

    failures: int = 0
    failed_at: int = 0
    rests: int = 0
    until: int = 0
    probe_until: int = 0
    reason: str = ""

    def wait(self, now: int) -> int:
        """Milliseconds until it lets somebody through; 0 or less where it does now."""
        # A trial's outcome is awaited: nobody knows how long, so those behind it come back soon.
        return max(self.until - now, min(self.probe_until - now, 2 * SECOND))

    def admitted(self, now: int) -> Circuit:
        """After it let somebody through: half open, it lets nobody else through until it hears."""
        return replace(self, probe_until=now + PROBE) if self.rests else self

    def failed(self, now: int, reason: str, limit: int, patience: Patience) -> Circuit:
        """After one more failure: it rests from the `limit`th in a row on, and after a failed trial."""
        if now < self.until:
            return self  # it was under way before the rest began
        failures = 1 if now - self.failed_at > patience.window * SECOND else self.failures + 1
        if not self.rests and failures < limit:
            return replace(self, failures=failures, failed_at=now)
        seconds = min(patience.rest * 2.0 ** min(self.rests, 30), patience.longest)
        return Circuit(failed_at=now, rests=self.rests + 1, until=now + int(seconds * SECOND), reason=reason)


Known = Mapping[str, Circuit]
Step = Callable[[Known], Mapping[str, Circuit | None]]
"""From what is known of some circuits to what changes in them; None forgets one. It may be asked more than once."""


class Shelf(Protocol):
    """Where circuits are kept for several nodes. Raises Apart where it cannot be reached."""

    async def known(self) -> Known:
        """Every circuit that something is remembered of."""
        ...

    async def change(self, names: tuple[str, ...], step: Step) -> Known:
        """Changes these circuits as if nobody else did at that moment; answers what is known of them afterwards."""
        ...


class Breaker:
    """Circuits in the memory of this process, or on a shelf that is shared.

    Looking goes by what was read from the shelf at most FRESH ago, and costs one reading for all circuits; only
    failures, trials and forgetting write. While the shelf cannot be reached, this process goes by what it knows.
    """

    def __init__(self, clock: Clock, patience: Patience | None = None, shelf: Shelf | None = None) -> None:
        self.patience = patience or Patience()
        self._clock = clock
        self._shelf = shelf
        self._known: dict[str, Circuit] = {}
        self._read_at: int | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changes = 0

    async def wait(self, *names: str) -> float:
        """Seconds until all of these circuits let somebody through; 0 where they do now."""
        await self._refresh()
        return _longest(names, self._known, self._clock.now())

    async def admit(self, *names: str) -> float:
        """Like `wait`; where it answers 0, half-open circuits let nobody else through until they hear."""
        wait = await self.wait(*names)
        if wait or not any(self._known[name].rests for name in names if name in self._known):
            return wait
        now = self._clock.now()

        def enter(known: Known) -> Mapping[str, Circuit | None]:
            # Others may have entered since the circuits were read.
            nonlocal wait
            wait = _longest(names, known, now)
            return {} if wait else {name: circuit.admitted(now) for name, circuit in known.items()}

        await self._change(names, enter)
        return wait

    async def succeeded(self, *names: str) -> None:
        """The circuits work: whatever was counted against them is forgotten."""
        counted = tuple(name for name in names if name in self._known)
        if not counted:
            return
        closed = [name for name in counted if self._known[name].rests]
        await self._change(counted, lambda known: dict.fromkeys(known))
        for name in closed:
            log.info("breaker.closed", circuit=name)

    async def failed(self, name: str, reason: str, *, limit: int) -> None:
        """The circuit failed once more; it rests after `limit` failures in a row, and after a failed trial."""
        now = self._clock.now()
        opened = False

        def fail(known: Known) -> Mapping[str, Circuit | None]:
            nonlocal opened
            before = known.get(name, Circuit())
            after = before.failed(now, reason, limit, self.patience)
            opened = after.rests > before.rests
            return {name: after}

        await self._change((name,), fail)
        if opened:
            seconds = (self._known[name].until - now) / SECOND
            log.error("breaker.opened", circuit=name, seconds=seconds, reason=reason)

    async def resting(self) -> Mapping[str, Rest]:
        """The circuits that are open, with those that wait for their trial's outcome."""
        await self._refresh()
        now = self._clock.now()
        open_until = {name: max(one.until, one.probe_until) for name, one in self._known.items()}
        return {name: Rest(until, self._known[name].reason) for name, until in open_until.items() if until > now}

    async def _refresh(self) -> None:
        """Reads the shelf where the last reading is old; whoever comes meanwhile waits for the same reading."""
        now = self._clock.now()
        if self._shelf is None:
            return
        if self._reading is None and not (self._read_at is not None and 0 <= now - self._read_at < FRESH):
            self._read_at = now
            # For all who wait, not for the request that came first.
            self._reading = asyncio.create_task(self._read(self._shelf), context=Context())
        if self._reading is not None:
            await asyncio.shield(self._reading)

    async def _read(self, shelf: Shelf) -> None:
        changes = self._changes
        try:
            known = await shelf.known()
        except Apart:
            return
        finally:
            self._reading = None
        if changes == self._changes:  # else what was changed meanwhile is newer than what was read
            self._known = dict(known)

    async def _change(self, names: tuple[str, ...], step: Step) -> None:
        self._changes += 1
        if self._shelf is not None:
            try:
                known = await self._shelf.change(names, step)
            except Apart:
                pass
            else:
                self._keep(dict.fromkeys(names) | dict(known))
                return
        self._keep(step({name: self._known[name] for name in names if name in self._known}))

    def _keep(self, changes: Mapping[str, Circuit | None]) -> None:
        self._changes += 1
        for name, circuit in changes.items():
            if circuit is None:
                self._known.pop(name, None)
            else:
                self._known[name] = circuit


def _longest(names: tuple[str, ...], known: Known, now: int) -> float:
    waits = [circuit.wait(now) for name in names if (circuit := known.get(name)) is not None]
    return max(0, *waits, 0) / SECOND
