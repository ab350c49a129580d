"""Who can read a text aloud; no key needed."""

from __future__ import annotations

from fastapi import APIRouter

from phaya.catalog.speech import TextToSpeech
from phaya.catalog.voices import VOICES
from phaya.web.answers import Json
from phaya.web.paths import API


def routes() -> APIRouter:
    """The voices of text-to-speech."""
    router = APIRouter(prefix=API)

    @router.get(f"/{TextToSpeech.path}/voices", tags=[TextToSpeech.name()], operation_id="voices")
    async def voices() -> Json:  # pyright: ignore[reportUnusedFunction]
        """Every voice with its character. All of them speak all languages."""
        return Json({"voices": [{"name": name, "description": word.capitalize()} for name, word in VOICES.items()]})

    return router
