"""What the operator's pages have in common: who may see them, and how an operator's command is given by a form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fastapi import APIRouter
from starlette.responses import Response

from phaya import operator
from phaya.errors import PhayaError
from phaya.web.console.visit import Visit, add


class Sheet(Protocol):
    """A page that can be shown again with what was wrong."""

    def __call__(self, visit: Visit, status: int = 200, message: str | None = None) -> Awaitable[Response]:
        """The page."""
        ...


def hang(router: APIRouter, path: str, page: Callable[[Visit], Awaitable[Response]], *methods: str) -> None:
    """Hangs in a page below `/operator`."""
    add(router, f"/operator{path}", page, *methods, office=True)


async def act(visit: Visit, command: str, **values: Any) -> dict[str, Any]:
    """Carries out an operator's command in the visitor's name and writes it into the audit log. Raises PhayaError."""
    phaya, actor = visit.phaya, visit.signed.account.email
    asked = {"by": actor[:100], "services": phaya.tariff.paths, **values}
    done = await phaya.database.write(operator.perform, command, phaya.secret, phaya.clock.now(), asked, actor)
    phaya.forget()
    return done


async def ask(visit: Visit, command: str, **values: Any) -> dict[str, Any]:
    """What a command that only reads answers. Raises PhayaError."""
    phaya = visit.phaya
    return await phaya.database.read(operator.perform, command, phaya.secret, phaya.clock.now(), values, "")


async def acted(visit: Visit, page: Sheet, back: str, command: str, **values: Any) -> Response:
    """Carries out a command and goes on to `back`; where it is refused, shows the page again with why."""
    try:
        await act(visit, command, **values)
    except PhayaError as error:
        return await page(visit, error.status, error.message)
    return visit.back(back)


def typed(visit: Visit, name: str) -> str | None:
    """What was typed into a field that may be left empty."""
    return visit.form.get(name, "").strip() or None
