"""The running Phaya: its parts, put together by app.py and used by the doors."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

from phaya import ledger
from phaya.board import Board
from phaya.brake import Brake
from phaya.breaker import Circuits
from phaya.checkout import Checkout
from phaya.clock import Clock, written
from phaya.credits import Credits
from phaya.database import Database
from phaya.decoding.decoder import Decoder
from phaya.errors import Closed
from phaya.figures import Census
from phaya.intake import Intake
from phaya.keyring import Keyring
from phaya.limits import Limits
from phaya.load import Load
from phaya.lookout import Lookout
from phaya.offers import Offers
from phaya.parting import Parting
from phaya.passwords import Hashing
from phaya.providers.openrouter import OpenRouter
from phaya.results import Results
from phaya.settings import Settings
from phaya.tariff import Tariff
from phaya.watchman import Outlook
from phaya.workflow import Workflow


@dataclass(frozen=True)
class System:
    """What a door needs to answer."""

    settings: Settings
    public_url: str
    secret: bytes
    clock: Clock
    database: Database
    keyring: Keyring
    limits: Limits
    results: Results
    intake: Intake
    decoder: Decoder
    workflow: Workflow
    openrouter: OpenRouter | None
    tariff: Tariff
    breaker: Circuits
    offers: Offers
    lookout: Lookout
    board: Board
    checkout: Checkout
    census: Census
    outlook: Outlook
    brake: Brake
    load: Load
    hashing: Hashing
    parting: Parting
    errands: set[asyncio.Task[Any]] = field(default_factory=set[asyncio.Task[Any]])

    def chat_provider(self) -> OpenRouter:
        """Who answers chats. Raises Closed where nobody can."""
        if self.openrouter is None:
            raise Closed("Chat needs OpenRouter, and this Phaya has no OPENROUTER_API_KEY.", 3600)
        return self.openrouter

    def errand(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs work that must be done although its request is over; `close` waits for it."""
        task = asyncio.create_task(work)
        self.errands.add(task)
        task.add_done_callback(self.errands.discard)
        return task

    def forget(self) -> None:
        """An operator has changed keys or jobs: nothing that was read before counts any more."""
        self.keyring.forget()
        self.board.clear()

    async def live(self) -> list[dict[str, Any]]:
        """What a digest is told that only a running node knows."""
        return [asdict(item) for item in await self.outlook.items()]

    async def balance(self, account_id: str) -> Credits:
        """What an account can spend."""
        return await self.database.read(ledger.balance, account_id)

    written = staticmethod(written)
