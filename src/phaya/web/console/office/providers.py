"""Providers: whether each can be used, what rests and why, what of its budget is taken, what failed, and where our
account with it stands, asked live."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from phaya import audit, backlog
from phaya.backlog import Failure
from phaya.breaker import Rest
from phaya.clock import DAY, written
from phaya.errors import Conflict, PhayaError
from phaya.providers import Balance, Prepaid, ProviderError, Remote
from phaya.providers.roster import fingerprint
from phaya.system import System
from phaya.web.console.office.acts import hang
from phaya.web.console.office.makers import HERE, maker_of
from phaya.web.console.visit import Visit

PATIENCE = 3
"""Seconds that a provider may take to tell where our account stands."""


@dataclass(frozen=True)
class Standing:
    """What a provider told of our account, or why it did not. `silent` says that it took too long."""

    balances: Sequence[Balance] = ()
    trouble: str = ""
    silent: bool = False


@dataclass(frozen=True)
class Use:
    """How much of a budget is taken at the moment, by one of our keys."""

    what: str
    key: str
    used: int
    most: int
    seconds: int


@dataclass(frozen=True)
class Shown:
    """A provider on the page. `setting` is what has to be set for it."""

    name: str
    setting: str
    configured: bool
    rests: Mapping[str, Rest]
    uses: Sequence[Use]
    failures: Sequence[Failure]
    standing: Standing | None


def install(router: APIRouter) -> None:
    """The page and its form."""
    hang(router, "/providers", page)
    hang(router, "/providers/wake", wake, "POST")


async def page(visit: Visit) -> Response:
    """Every provider."""
    await visit.admitted()
    return await _page(visit)


async def wake(visit: Visit) -> Response:
    """Ends the rest of a circuit before its time: the next job tries it."""
    phaya, circuit, now = visit.phaya, visit.form.get("circuit", ""), visit.phaya.clock.now()
    try:
        rest = (await phaya.breaker.resting()).get(circuit)
        if rest is None:
            raise Conflict(visit.say("providers.awake"))
        # Circuits are not in every database, so this is written down before it is done, and not together with it.
        details = {"until": written(rest.until), "why": rest.reason}
        actor = visit.signed.account.email
        await phaya.database.write(audit.write, actor, "breaker close", circuit, now, details)
        await phaya.breaker.succeeded(circuit)
    except PhayaError as error:
        return await _page(visit, error.status, error.message)
    phaya.workflow.wake()
    return visit.back("/operator/providers")


async def _page(visit: Visit, status: int = 200, message: str | None = None) -> Response:
    phaya = visit.phaya
    roster, kie, openrouter = phaya.workflow.roster, phaya.workflow.roster.kie, phaya.openrouter
    resting = await phaya.breaker.resting()
    failed = await phaya.database.read(backlog.failures, phaya.clock.now() - DAY)
    kie_stands, openrouter_stands = await asyncio.gather(_standing(kie), _standing(openrouter))
    uses = [] if kie is None else await _uses(phaya, kie)
    known = (
        ("kie", "KIE_API_KEY", kie is not None, uses, kie_stands),
        ("openrouter", "OPENROUTER_API_KEY", openrouter is not None, (), openrouter_stands),
        ("gemini", "GEMINI_API_KEY", roster.gemini is not None, (), None),
        ("transcriber", "PHAYA_TRANSCRIBE_URL", roster.transcribes, (), None),
        (HERE, "PHAYA_DOWNLOAD_PLATFORMS", True, (), None),
    )
    shown = [
        Shown(
            name, setting, configured,
            {circuit: rest for circuit, rest in resting.items() if circuit.partition(" ")[0] == name},
            taken, [one for one in failed if _maker(phaya, one.service) == name], stands,
        )
        for name, setting, configured, taken, stands in known
    ]  # fmt: skip
    return await visit.render("office-providers.html", status, providers=shown, message=message, patience=PATIENCE)


async def _standing(provider: object) -> Standing | None:
    """Where our account with a provider stands; a provider that does not answer keeps nobody waiting."""
    if not isinstance(provider, Prepaid):
        return None
    try:
        async with asyncio.timeout(PATIENCE):
            return Standing(await provider.balances())
    except TimeoutError:
        return Standing(silent=True)
    except ProviderError as error:
        return Standing(trouble=error.detail)


async def _uses(phaya: System, provider: Remote) -> list[Use]:
    budgets = (("creations", provider.creations), ("looks", provider.looks))
    return [
        Use(
            what, fingerprint(key),
            await phaya.limits.spent(f"{provider.name} {what}", fingerprint(key), budget.seconds),
            budget.amount, budget.seconds,
        )
        for key in provider.keys
        for what, budget in budgets
    ]  # fmt: skip


def _maker(phaya: System, path: str) -> str:
    """Who made, or failed to make, a job of a service that may be sold no more."""
    return maker_of(phaya.tariff, path) if path in phaya.tariff.terms else HERE
