"""The circuit breaker: what fails repeatedly is rested for a while, then tried by one job before the others.

A circuit is a name: a provider's (`kie`), or that of one of its models (`kie sora-2-text-to-video`).

    closed ─ failures in a row ─▶ resting ─ time ─▶ half open ─ one is let through ─▶ closed, or resting for longer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from phaya.clock import SECOND, Clock

log = structlog.get_logger()

PROBE = 180 * SECOND
"""After so long a trial that told nothing (its process died) is forgotten; no submit takes longer."""


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


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    failed_at: int = 0
    rests: int = 0
    until: int = 0
    probe_until: int = 0
    reason: str = ""


class Breaker:
    """Circuits in the memory of this process."""

    def __init__(self, clock: Clock, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}

    async def wait(self, *names: str) -> float:
        """Seconds until all of these circuits let somebody through; 0 where they do now."""
        return self._wait(names)

    async def admit(self, *names: str) -> float:
        """Like `wait`; where it answers 0, half-open circuits let nobody else through until they hear."""
        wait = self._wait(names)
        if not wait:
            for name in names:
                circuit = self._circuits.get(name)
                if circuit is not None and circuit.rests:
                    circuit.probe_until = self._clock.now() + PROBE
        return wait

    async def succeeded(self, *names: str) -> None:
        """The circuits work: whatever was counted against them is forgotten."""
        for name in names:
            circuit = self._circuits.pop(name, None)
            if circuit is not None and circuit.rests:
                log.info("breaker.closed", circuit=name)

    async def failed(self, name: str, reason: str, *, limit: int) -> None:
        """The circuit failed once more; it rests after `limit` failures in a row, and after a failed trial."""
        now = self._clock.now()
        circuit = self._circuits.setdefault(name, _Circuit())
        if now < circuit.until:
            return  # it was under way before the rest began
        tried = circuit.rests > 0
        if now - circuit.failed_at > self.patience.window * SECOND:
            circuit.failures = 0
        circuit.failures += 1
        circuit.failed_at = now
        if not tried and circuit.failures < limit:
            return
        seconds = min(self.patience.rest * 2.0 ** min(circuit.rests, 30), self.patience.longest)
        circuit.rests += 1
        circuit.failures = 0
        circuit.probe_until = 0
        circuit.until = now + int(seconds * SECOND)
        circuit.reason = reason
        log.error("breaker.opened", circuit=name, seconds=seconds, reason=reason)

    async def resting(self) -> Mapping[str, Rest]:
        """The circuits that are open, with those that wait for their trial's outcome."""
        now = self._clock.now()
        open_until = {name: max(one.until, one.probe_until) for name, one in self._circuits.items()}
        return {name: Rest(until, self._circuits[name].reason) for name, until in open_until.items() if until > now}

    def _wait(self, names: tuple[str, ...]) -> float:
        now = self._clock.now()
        known = [circuit for name in names if (circuit := self._circuits.get(name)) is not None]
        waits = [circuit.until - now for circuit in known]
        # A trial's outcome is awaited: nobody knows how long, so those behind it come back soon.
        waits += [min(circuit.probe_until - now, 2 * SECOND) for circuit in known]
        return max(0, *waits, 0) / SECOND
