"""Sandbox: whether it answers, and what has to be set so that it does or does not. It is not switched here: who answers
follows from the keys that a node was started with, and jobs that are under way belong to whoever took them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from phaya.web.console.office.acts import hang
from phaya.web.console.visit import Visit


def install(router: APIRouter) -> None:
    """The page."""
    hang(router, "/sandbox", page)


async def page(visit: Visit) -> Response:
    """Where things stand; of keys only whether they are set."""
    settings = visit.phaya.settings
    provider_keys = {
        "KIE_API_KEY": bool(settings.kie_api_key),
        "OPENROUTER_API_KEY": settings.openrouter_api_key is not None,
        "GEMINI_API_KEY": settings.gemini_api_key is not None,
    }
    values = {
        "PHAYA_SANDBOX_PACE": f"{settings.sandbox_pace:g}",
        "PHAYA_SANDBOX_PAUSED": ", ".join(settings.sandbox_paused),
        "PHAYA_SANDBOX_URL": settings.sandbox_url or "",
    }
    return await visit.render("office-sandbox.html", provider_keys=provider_keys, values=values)
