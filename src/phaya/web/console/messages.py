"""The console's words: one file for each language, chosen by a cookie or by the browser's languages."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from starlette.requests import Request

FOLDER = Path(__file__).parent / "messages"
LANGUAGES: Mapping[str, str] = {"en": "English", "th": "ไทย"}
COOKIE = "phaya_language"
_ONE = re.compile(r"(?<![\d.,])1 credits\b")


@cache
def messages(language: str) -> Mapping[str, str]:
    """All messages of a language, by key."""
    return tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


def written(language: str, key: str, values: Mapping[str, object]) -> str:
    """A message with its holes filled; English says `1 credit`."""
    text = messages(language)[key].format(**values)
    return _ONE.sub("1 credit", text) if language == "en" else text


def language_of(request: Request) -> str:
    """The language that was chosen, else the first of the browser's that there is, else English."""
    if (chosen := request.cookies.get(COOKIE, "")) in LANGUAGES:
        return chosen
    wished: list[tuple[float, str]] = []
    for part in request.headers.get("accept-language", "").split(","):
        name, _, weight = part.strip().partition(";q=")
        try:
            wished.append((-float(weight or 1), name.lower().partition("-")[0]))
        except ValueError:
            continue
    return next((name for _, name in sorted(wished, key=lambda one: one[0]) if name in LANGUAGES), "en")
