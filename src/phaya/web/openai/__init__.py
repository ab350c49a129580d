"""The OpenAI-style door: its official clients work here with only the base address and the key changed.

The same routes hang below `/v1`, `/api/v1` and the bare root, since base addresses are written in all three ways.
Money, jobs and services are those of the native door.
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from phaya.web.openai import conversation, films, pictures, responses, sounds
from phaya.web.openapi import openai_docs

TAG = "OpenAI"


def install(app: FastAPI) -> None:
    """Hangs the routes in at their three places; the documents show the first."""
    for number, prefix in enumerate(("/v1", "/api/v1", "")):
        router = APIRouter(prefix=prefix, tags=[TAG], responses=openai_docs(), include_in_schema=number == 0)
        for part in (conversation, responses, pictures, sounds, films):
            part.install(router)
        app.router.routes.extend(router.routes)
