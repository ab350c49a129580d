"""Providers carry calls out. What can go wrong is of three kinds, because there are three things to do.

ProviderError
├── Rejected     the provider said no: refund, trying again changes nothing
│   ├── OutOfOrder  the provider carries out no such call at the moment: another model may do
│   └── Exhausted   it was asked again and again and always failed: refund, and let it rest
├── Unavailable  nobody was reached, nothing was bought: try again later
└── Unknown      what happened cannot be told: never submit again, look, and tell the operator
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import JsonValue

from phaya.calls import Download, LocalCall, Look, RemoteCall


class ProviderError(Exception):
    """`message` is for the user; `detail` is the provider's own text, for the operator and the log."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail or message


class Rejected(ProviderError):
    """The provider said no. Refund; trying again changes nothing."""

    def __init__(self, message: str, detail: str = "", code: str = "provider_error") -> None:
        super().__init__(message, detail)
        self.code = code


class OutOfOrder(Rejected):
    """The provider said that it carries out no such call at the moment: the model is paused, gone or switched off.

    Surely nothing was created, and it is not the user's fault.
    """


class Exhausted(Rejected):
    """The adapter asked again and again, and the provider failed each time. Its fault, and nobody else's."""


class Unavailable(ProviderError):
    """Nobody was reached, or the provider surely did nothing. Try again after `retry_after` seconds.

    `crowded`: the provider works, but we ask too often.
    """

    def __init__(self, message: str, detail: str = "", retry_after: float = 10.0, *, crowded: bool = False) -> None:
        super().__init__(message, detail)
        self.retry_after = retry_after
        self.crowded = crowded


class Unknown(ProviderError):
    """What happened cannot be told. Never submit again; look, and tell the operator."""


class NotThere(ProviderError):
    """The provider does not know the ticket: not yet (just after a submit), or for good."""


@dataclass(frozen=True)
class Budget:
    """A provider's limit per key: `amount` calls in any `seconds`."""

    amount: int
    seconds: int


class Remote(Protocol):
    """A provider that is told once and then looked at."""

    name: str
    creations: Budget
    looks: Budget

    @property
    def keys(self) -> Sequence[str]:
        """The keys that the provider knows us by; several widen its budgets."""
        ...

    async def submit(self, call: RemoteCall, key: str, callback_url: str | None) -> str:
        """Starts the task and returns its ticket. Raises Rejected, Unavailable or Unknown."""
        ...

    async def look(self, call: RemoteCall, key: str, ticket: str) -> Look:
        """Says where the task stands. Raises NotThere, Unavailable (look again) or Unknown (strange words)."""
        ...

    def callback_ticket(self, body: object) -> str | None:
        """The ticket that a callback's body names, if it names one."""
        ...

    def callback_is_signed(self, headers: Mapping[str, str], ticket: str | None) -> bool:
        """Whether the callback's signature is right; true where no webhook key is configured."""
        ...


@dataclass(frozen=True)
class Balance:
    """Where a key's account at a provider stands, in `unit`. `left` is None where nothing bounds the key that it may
    know of, `spent` where that is not told."""

    left: Decimal | None
    unit: str
    spent: Decimal | None = None


@runtime_checkable
class Prepaid(Protocol):
    """A provider whose account is filled beforehand, and that tells where it stands."""

    async def balances(self) -> Sequence[Balance]:
        """Where each of our keys stands, in their order. Raises ProviderError."""
        ...


Report = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Made:
    """What local work made: files, in the order of the answer's fields, and what is no file.

    `spent` is what a provider says that it charged us, in its own money, as a decimal text.
    """

    files: Sequence[Path]
    facts: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    spent: str | None = None


class Local(Protocol):
    """A provider that works on this machine; its work can be done again without cost."""

    name: str

    async def run(self, call: LocalCall, inputs: Mapping[str, Path], folder: Path, report: Report) -> Made:
        """Does the work in `folder` (private to this run). Raises Rejected or Unavailable.

        `inputs` holds a readable file for each storage key that the call names; `report` takes progress 0..1.
        """
        ...


class Foreseeing(Local, Protocol):
    """Local work that can tell before it starts how much it will make."""

    async def foresee(self, call: Download) -> int | None:
        """The bytes that the result will have at the most, or None where nobody says.

        Raises Rejected where there will be no result, Unavailable where that could not be found out.
        """
        ...
