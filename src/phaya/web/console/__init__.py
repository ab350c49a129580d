"""The web console at `/`: pages of our own over the same functions that the API calls. See docs/console.md."""

from __future__ import annotations

from fastapi import APIRouter

from phaya.web.console import (
    assets,
    chat,
    create,
    credits,
    gallery,
    jobs,
    keys,
    office,
    reference,
    security,
    signing,
    webhooks,
)


def routes() -> APIRouter:
    """Every page, outside of the OpenAPI document."""
    router = APIRouter()
    for part in (assets, signing, create, gallery, jobs, chat, keys, credits, webhooks, reference, security, office):
        part.install(router)
    return router
