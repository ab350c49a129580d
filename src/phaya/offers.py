"""What can be had right now: the tariff, less what is switched off, resting, or has nobody to carry it out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from phaya.breaker import Circuits, Rest
from phaya.calls import LocalCall, RemoteCall, pack
from phaya.catalog.service import Generation
from phaya.catalog.translation import translate
from phaya.clock import SECOND, Clock
from phaya.errors import Closed
from phaya.providers.roster import Roster, circuits
from phaya.tariff import Tariff
from phaya.ways import Way, Ways, pack_ways


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
        shut = [self._shut(way, resting) for _, way in found]
        if all(shut):
            raise min((closed for closed in shut if closed), key=lambda closed: closed.retry_after or 0)
        carried = [one for one, closed in zip(found, shut, strict=True) if not (closed and closed.retry_after == NEVER)]
        (path, call), left = carried[0], carried[1:]
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
            shut = [self._shut(call, resting) for _, call in ways]
            if all(shut):
                found[path] = next(closed for closed in shut if closed)
        for path in self.tariff.terms.keys() - self.tariff.services.keys():
            if closed := self.tariff.closed(path) or self._rested((CHAT,), resting):
                found[path] = closed
        return found

    async def serve_chat(self, path: str) -> None:
        """Raises Closed where the chat provider rests, or what is sold by tokens is off."""
        self.tariff.serve(path)
        if closed := self._rested((CHAT,), await self._breaker.resting()):
            raise closed

    def _found(self, request: Generation) -> Sequence[tuple[str, RemoteCall | LocalCall]]:
        """Each service that may carry the request out, with its call. Raises Closed where there is none."""
        service = type(request)
        stands = self.tariff.terms[service.path].via
        if not stands:
            return [(service.path, request.call())]
        found: list[tuple[str, RemoteCall | LocalCall]] = []
        for stand in stands:
            said = request if stand.service is service else translate(request, stand.service, stand.fixed)
            if said is not None:
                found.append((stand.service.path, said.call()))
        if not found:
            raise Closed(f"{service.path} cannot be made for this request at the moment. Nothing was charged.", NEVER)
        return found

    def _shut(self, call: RemoteCall | LocalCall, resting: Mapping[str, Rest]) -> Closed | None:
        try:
            self._roster.lane(call)
        except Closed as closed:
            return closed
        return self._rested(circuits(call), resting)

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


NEVER = 3600
"""Seconds that `Retry-After` says where only the operator can help."""
CHAT = "openrouter"
