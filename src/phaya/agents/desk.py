"""What an agent's calls need of a Phaya, and what they may spend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Protocol

from phaya.agents.tools import Offer, offers
from phaya.client.refusals import ApiError, Unreachable

FRESH = 10.0
"""Seconds for which a list of services is taken as it is: what closes meanwhile says so itself when it is asked for."""


class Api(Protocol):
    """Phaya's REST API with one key, below `/api/v1`. Its methods raise ApiError and Unreachable."""

    async def get(self, path: str) -> dict[str, Any]:
        """A GET."""
        ...

    async def post(self, path: str, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """A POST, with an idempotency key where one is given."""
        ...

    async def keep(self, name: str, content: bytes) -> dict[str, Any]:
        """Keeps a file."""
        ...

    async def fetch(self, url: str, most: int) -> tuple[str, bytes] | None:
        """The type and content of a result of at most so many bytes; None where it is larger, or not to be had here."""
        ...


class Shelf:
    """The services on sale, which are the same for every key: asked for once in a while, by one of all who wait."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` tells seconds that only grow."""
        self._clock = clock
        self._asking = asyncio.Lock()
        self._until = float("-inf")
        self._found: list[dict[str, Any]] = []
        self._offers: dict[str, Offer] = {}

    async def services(self, api: Api) -> list[dict[str, Any]]:
        """The list as the API tells it. Raises ApiError and Unreachable."""
        async with self._asking:
            if self._clock() >= self._until:
                self._found = (await api.get("services"))["services"]
                self._offers = offers(self._found)
                self._until = self._clock() + FRESH
        return self._found

    async def offers(self, api: Api) -> Mapping[str, Offer]:
        """What makes files, by the name of its tool. Raises ApiError and Unreachable."""
        await self.services(api)
        return self._offers


class OverBudget(Exception):
    """The price is more than the budget has left; nothing was asked for."""


class Budget:
    """What a session may spend, in credits; without a limit everything passes.

    A price is set aside before the request and put right after it, so that calls side by side cannot overspend.
    """

    def __init__(self, limit: Decimal | None) -> None:
        self.limit = limit
        self.left = limit
        self._jobs: dict[str, Decimal] = {}
        """What jobs of this session cost at the moment."""

    @asynccontextmanager
    async def hold(self, price: Decimal) -> AsyncGenerator[None]:
        """Sets a price aside for the time of a request. Raises OverBudget."""
        if self.left is None:
            yield
            return
        if price > self.left:
            raise OverBudget(
                f"This would cost {price:f} credits, and the budget of this session has {self.left:f} left of "
                f"{self.limit:f}. Nothing was charged."
            )
        self.left -= price
        try:
            yield
        except ApiError:
            self.left += price
            raise
        except Unreachable as error:
            if not error.sent:  # else it may have been bought, and stays set aside
                self.left += price
            raise
        else:
            self.left += price

    def charge(self, answer: Mapping[str, Any]) -> None:
        """Counts what a create or chat says that it used; an answer that is told again counts once."""
        job = str(answer.get("job_id") or answer.get("id"))
        self._set(job, Decimal(answer["credits_used"]) - Decimal(answer.get("credits_refunded") or 0))

    def see(self, status: Mapping[str, Any]) -> None:
        """Counts what a job of this session gave back."""
        if str(status.get("job_id")) in self._jobs:
            self.charge(status)

    def _set(self, job: str, cost: Decimal) -> None:
        if self.left is not None:
            self.left += self._jobs.get(job, Decimal(0)) - cost
        self._jobs[job] = cost
