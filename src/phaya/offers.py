"""What can be had right now: the tariff, less what is switched off, resting, or has nobody to carry it out."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from phaya.breaker import Circuits, Rest
from phaya.calls import LocalCall, RemoteCall, pack
from phaya.catalog.service import Generation
from phaya.catalog.translation import translate
from phaya.clock import SECOND, Clock
from phaya.errors import Closed
from phaya.providers import ProviderError, Rejected, Unavailable
from phaya.providers.roster import Roster, circuits
from phaya.tariff import Stand, Tariff
from phaya.ways import Way, Ways, pack_ways

T = TypeVar("T")

NEVER = 3600
"""Seconds that `Retry-After` says where only the operator can help."""
CHAT = "openrouter"
"""The circuit of everything that OpenRouter answers."""


class Offers:
    """Finds the ways in which a request can be carried out. Raises Closed before anybody is charged."""

    def __init__(self, tariff: Tariff, roster: Roster, breaker: Circuits, clock: Clock) -> None:
        self.tariff = tariff
        self._roster = roster
        self._breaker = breaker
        self._clock = clock

    async def ways(self, request: Generation) -> tuple[RemoteCall | LocalCall, str | None]:
        """The call to begin with, and the ways as a job's row keeps them, where there are others than its own.

        Raises Closed where every one of them is closed.
        """
        service = type(request)
        found = self._found(request)
        resting = await self._breaker.resting()
        shut = [closed for _, call in found if (closed := self._rested(circuits(call), resting))]
        if len(shut) == len(found):
            raise min(shut, key=lambda closed: closed.retry_after or 0)
        (path, call), left = found[0], found[1:]
        if not left and path == service.path:
            return call, None
        return call, pack_ways(Ways(path, tuple(Way(other, pack(one)) for other, one in left)))

    async def check(self, request: Generation) -> None:
        """Raises Closed where the request cannot be had right now, before its inputs are fetched and measured."""
        await self.ways(_measured(request))

    async def closures(self) -> Mapping[str, Closed]:
        """The services that cannot be had right now, judged by their examples, with the reason."""
        resting = await self._breaker.resting()
        found: dict[str, Closed] = {}
        for path, service in self.tariff.services.items():
            if closed := self.tariff.closed(path):
                found[path] = closed
                continue
            try:
                ways = self._found(_measured(service.model_validate(dict(service.example))))
            except Closed as error:
                found[path] = error
                continue
            shut = [closed for _, call in ways if (closed := self._rested(circuits(call), resting))]
            if len(shut) == len(ways):
                found[path] = shut[0]
        for path in self.tariff.terms.keys() - self.tariff.services.keys():
            if closed := self.tariff.closed(path) or self._rested((CHAT,), resting):
                found[path] = closed
        return found

    async def serve_chat(self, path: str) -> None:
        """Raises Closed where the chat provider rests, or what is sold by tokens is off."""
        self.tariff.serve(path)
        if closed := self._rested((CHAT,), await self._breaker.resting()):
            raise closed

    async def chatting(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks the chat provider, unless it rests (then Unavailable is raised), and remembers how it went."""
        limit = self.tariff.patience.failures
        if wait := await self._breaker.admit(CHAT):
            raise Unavailable("The chat provider rests after repeated failures.", retry_after=wait)
        try:
            answer = await ask()
        except Rejected:
            await self._breaker.succeeded(CHAT)
            raise
        except ProviderError as error:
            if not (isinstance(error, Unavailable) and error.crowded):
                await self._breaker.failed(CHAT, error.message, limit=limit)
            raise
        await self._breaker.succeeded(CHAT)
        return answer

    def _found(self, request: Generation) -> Sequence[tuple[str, RemoteCall | LocalCall]]:
        """Each service that may carry the request out, with its call. Raises Closed where there is none."""
        service = type(request)
        stands = self.tariff.terms[service.path].via or (Stand(service),)
        found: list[tuple[str, RemoteCall | LocalCall]] = []
        closed: Closed | None = None
        for stand in stands:
            said = request if stand.service is service else translate(request, stand.service, stand.fixed)
            if said is None:
                continue
            call = said.call()
            try:
                self._roster.lane(call)
            except Closed as error:
                closed = error
            else:
                found.append((stand.service.path, call))
        if found:
            return found
        raise closed or Closed(
            f"{service.path} cannot be made for this request at the moment. Nothing was charged.", NEVER
        )

    def _rested(self, names: Sequence[str], resting: Mapping[str, Rest]) -> Closed | None:
        rests = [rest for name in names if (rest := resting.get(name)) is not None]
        if not rests:
            return None
        longest = max(rests, key=lambda rest: rest.until)
        seconds = max(1, math.ceil((longest.until - self._clock.now()) / SECOND))
        return Closed(f"{longest.reason} Try again in {seconds} seconds. Nothing was charged.", seconds)


def _measured(request: Generation) -> Generation:
    """The request as if its inputs lasted a second each: who carries it out does not depend on that."""
    return request.with_lengths(dict.fromkeys(request.inputs(), 1.0))
