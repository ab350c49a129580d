"""The money of a call that lasts as long as its request: the ceiling is held before it, the exact cost stays after
it, whatever happens in between. Chats and embeddings, at every door, are paid for here and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import orjson
import structlog

from phaya.calls import Chat
from phaya.clock import MINUTE
from phaya.closings import Closing, Wordless, end_job
from phaya.credits import NOTHING, Credits
from phaya.errors import Closed, Fault, Invalid, PhayaError
from phaya.idempotency import Answer, Stamp
from phaya.jobs import Job, Lost, State, Step
from phaya.providers import ProviderError, Rejected, Unavailable, Unknown
from phaya.providers.openrouter import Usage
from phaya.system import System
from phaya.web.caller import Caller

log = structlog.get_logger()

TRIES = 3
LONGEST_PAUSE = 5.0
"""Seconds that a user is kept waiting for a busy provider before an honest 503."""

T = TypeVar("T")


class BadAnswer(PhayaError):
    """The provider failed after it was asked."""

    status = 502
    code = "provider_error"


class Tab:
    """What one caller owes for one call."""

    def __init__(
        self,
        phaya: System,
        service: str,
        minutes: float,
        ceiling: Credits,
        cost: Callable[[Usage], Credits],
        field: str,
        stamp: Stamp | None = None,
    ) -> None:
        """`minutes` is how long the call may last, `field` what is named where the provider refuses the request.

        With a stamp, the same request is answered once more instead of being paid for twice.
        """
        self._phaya = phaya
        self._service = service
        self._minutes = minutes
        self._ceiling = ceiling
        self._cost = cost
        self._field = field
        self.stamp = stamp
        self._job: Job | None = None
        self.used: Credits | None = None
        """What the call costs, once that is known."""
        self.closing = False
        """Whether its end is being written, or was."""

    @property
    def job(self) -> Job:
        """The call's row, once its ceiling is held."""
        assert self._job is not None
        return self._job

    async def hold(self, caller: Caller) -> None:
        """Takes the ceiling. Raises NotEnoughCredits, or Closed while the service is off or its provider rests; and
        Taken, Reused, InProgress or NotKept where the request, or its key, was sent before.

        The row carries no word of the request. It is claimed for as long as the call may last; if this process
        dies, the claim runs out and the worker returns the credits.
        """
        phaya = self._phaya
        await phaya.offers.serve_chat(self._service)
        request = Wordless(idempotency_key=self.stamp and self.stamp.key)
        self._job = phaya.workflow.draft(
            caller.account_id,
            caller.key.id,
            self._service,
            request,
            Chat({}),
            self._ceiling,
            self._minutes,
            step=Step.TALKING,
            state=State.PROCESSING,
            claimed=True,
            next_at=phaya.clock.now() + int((self._minutes + 2) * MINUTE),
        )
        await phaya.workflow.open(self._job, stamp=self.stamp)

    async def ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks the provider, patiently while it is busy, and not at all while it rests. Raises ProviderErrors."""
        return await self._phaya.offers.chatting(lambda: patiently(ask))

    def reckon(self, usage: Usage) -> Credits:
        """What the call costs by its usage, never more than was held."""
        self.used = min(self._cost(usage), self.job.price)
        return self.used

    async def settle(
        self, usage: Usage, generation: str | None, tell: Callable[[Credits], Answer], *, guessed: bool = False
    ) -> Answer:
        """Closes the call at its exact cost and answers what `tell` makes of the balance after it.

        Where the request has a key, the answer is kept in the same transaction: there is no moment in which the call
        was paid and its answer is lost.
        """
        exact, used = self._cost(usage), self.reckon(usage)
        trouble = "the provider told no usage; tokens were counted here" if guessed else None
        if exact > used:
            trouble = f"the usage cost {exact}, more than the {used} that was held"
        if trouble:
            log.warning("call.settled_oddly", job=self.job.id, trouble=trouble)
        facts = {"usage": tokens(usage), "generation": generation}
        values = {
            "results": orjson.dumps({"files": [], "sound": None, "facts": facts}).decode(),
            "ticket": generation,
            "spent": usage.cost,
            "trouble": trouble,
            "progress": 1000,
        }
        self.closing = True
        phaya = self._phaya
        try:
            closing = Closing(self.job, phaya.clock.now(), used, values, self.stamp, tell)
            left, answer = await phaya.workflow.close(closing)
            phaya.workflow.ended(self.job, State.COMPLETED)
        except Lost:
            log.error("call.outlived_its_claim", job=self.job.id)
            left, answer = await phaya.balance(self.job.account_id), None
        return answer or tell(left)

    async def give_up(self, error: BaseException) -> BaseException:
        """The call ends before its first word: everything goes back. Answers what to raise."""
        detail = error.detail if isinstance(error, ProviderError) else repr(error)
        self.used, self.closing = NOTHING, True
        values: dict[str, object] = {"error": "The model could not answer.", "trouble": detail}
        if isinstance(error, Unknown | asyncio.CancelledError):
            # It may be made and billed to us. Nobody can look for it, so an operator is told.
            values |= {"error_code": "unknown", "step": Step.WATCHING, "next_at": None}
        else:
            values |= {"error_code": "provider_error"}
        await asyncio.shield(self._phaya.errand(self._fail(values)))
        if not isinstance(error, ProviderError):
            return error
        log.warning("call.failed", job=self.job.id, detail=detail)
        if isinstance(error, Rejected):
            return Invalid(Fault(self._field, error.message, error.code))
        if isinstance(error, Unavailable):
            return Closed(f"{error.message} Nothing was charged.", max(1, round(error.retry_after)))
        return BadAnswer(f"{error.message} Nothing was charged.")

    async def _fail(self, values: Mapping[str, object]) -> None:
        now = self._phaya.clock.now()
        try:
            await self._phaya.database.write(end_job, self.job, now, State.FAILED, NOTHING, values)
            self._phaya.workflow.ended(self.job, State.FAILED)
        except Lost:
            log.error("call.outlived_its_claim", job=self.job.id)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again, before the first token only, while the provider says that it is busy."""
    for attempt in range(1, TRIES + 1):
        try:
            return await ask()
        except Unavailable as error:
            if attempt == TRIES or error.retry_after > LONGEST_PAUSE:
                raise
            await asyncio.sleep(error.retry_after)
    raise AssertionError("unreachable")


def tokens(usage: Usage) -> dict[str, int]:
    """The usage as clients read it."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def dry_run(body: object) -> bool:
    """Whether a body asks for its price only. Raises Invalid."""
    dry = body.get("dry_run", False) if isinstance(body, dict) else False  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if dry not in (True, False, None):
        raise Invalid(Fault("dry_run", "must be true or false"))
    return dry is True


async def quote(
    phaya: System, caller: Caller, service: str, ceiling: Credits, warnings: list[str]
) -> dict[str, object]:
    """The most that a call can cost; nothing is held and nobody is asked."""
    balance = await phaya.balance(caller.account_id)
    return {
        "success": True,
        "dry_run": True,
        "service": service,
        "credits": ceiling,
        "credits_used": NOTHING,
        "credits_balance": balance,
        "affordable": balance >= ceiling,
        "message": f"This would hold {ceiling} credits and cost what it used of them; nothing was charged.",
        "warnings": warnings,
    }
