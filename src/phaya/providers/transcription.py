"""Speech to text by any server that speaks OpenAI's transcription route (`POST …/audio/transcriptions`).

Such servers differ in what they tell: words with times, segments with times, or text alone; some refuse to be
asked for words. Whatever comes is read as far as it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson
from pydantic import JsonValue

from phaya.providers import Rejected, Unavailable
from phaya.providers.timing import Timed
from phaya.providers.transport import BROKEN, asked_pause, fault, start_of, whole_body

LONGEST_ANSWER = 32 * 1024 * 1024
_SECONDS = 300.0
_NOT_UNDERSTOOD = "The transcriber's answer could not be understood."


@dataclass(frozen=True)
class Span:
    """Something said, from `start` to `end`, in seconds."""

    text: str
    start: float
    end: float

    def later(self, seconds: float) -> Span:
        """The same, so many seconds later."""
        return Span(self.text, self.start + seconds, self.end + seconds)

    def told(self) -> dict[str, JsonValue]:
        """As clients read it."""
        return {"start": round(self.start, 3), "end": round(self.end, 3), "text": self.text}


@dataclass(frozen=True)
class Heard:
    """What was heard: whole, in sentences, and word by word where the transcriber tells words."""

    text: str
    segments: tuple[Span, ...]
    words: tuple[Span, ...]


class Transcription:
    """A transcriber at `url`, OpenAI's base address (`https://api.openai.com/v1`) or the whole of the route's."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None, model: str) -> None:
        self._session = session
        self._url = url if url.endswith("/transcriptions") else f"{url}/audio/transcriptions"
        self._key = key
        self._model = model
        self._tells_words = True

    async def hear(self, sound: Path, seconds: float, language: str | None) -> Heard:
        """What is said in a sound file of so many seconds. Raises Rejected or Unavailable."""
        status, body = await self._timed(sound, language, words=self._tells_words)
        if status in (400, 422) and self._tells_words and b"granularit" in body:
            self._tells_words = False
            status, body = await self._timed(sound, language, words=False)
        if status != 200:
            raise Rejected("The speech could not be transcribed.", f"transcriber: {status} {start_of(body)}")
        try:
            answer: object = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Unavailable(_NOT_UNDERSTOOD, start_of(body)) from error
        if not isinstance(answer, dict) or not isinstance(cast("dict[str, Any]", answer).get("text"), str):
            raise Unavailable(_NOT_UNDERSTOOD, start_of(body))
        return read_heard(cast("dict[str, Any]", answer), seconds)

    async def _timed(self, sound: Path, language: str | None, *, words: bool) -> tuple[int, bytes]:
        with Timed("transcriber", "transcribe", "transcribe", self._model, "text"):
            return await self._ask(sound, language, words=words)

    async def _ask(self, sound: Path, language: str | None, *, words: bool) -> tuple[int, bytes]:
        form = aiohttp.FormData()
        form.add_field("model", self._model)
        form.add_field("response_format", "verbose_json")
        if language:
            form.add_field("language", language)
        for granularity in ("word", "segment") if words else ():
            form.add_field("timestamp_granularities[]", granularity)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        with sound.open("rb") as file:
            form.add_field("file", file, filename="speech.wav", content_type="audio/wav")
            try:
                async with self._session.post(
                    self._url,
                    data=form,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=_SECONDS),
                ) as answer:
                    body = await whole_body(answer, LONGEST_ANSWER, self._key or "")
                    status, told = answer.status, answer.headers
            except BROKEN as error:
                raise Unavailable("The transcriber cannot be reached at the moment.", fault(error)) from error
        if status in (401, 403, 404, 408, 429) or status >= 500:  # the operator's matter, or one that passes
            pause = asked_pause(told) or 10.0
            raise Unavailable("The transcriber is not available.", f"{status} {start_of(body)}", retry_after=pause)
        return status, body


def read_heard(answer: Mapping[str, Any], seconds: float) -> Heard:
    """A transcriber's answer about a sound of so many seconds."""
    text = str(answer["text"]).strip()
    segments, words = _spans(answer.get("segments"), "text"), _spans(answer.get("words"), "word")
    if not words:  # some servers hang the words on their segments
        parts: list[Any] = [part.get("words") for part in _objects(answer.get("segments"))]
        words = [span for part in parts for span in _spans(part, "word")]
    if not segments and text:
        begin = words[0].start if words else 0.0
        segments = [Span(text, begin, words[-1].end if words else seconds)]
    return Heard(
        text, tuple(_within(span, seconds) for span in segments), tuple(_within(span, seconds) for span in words)
    )


def _objects(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [cast("dict[str, Any]", one) for one in cast("list[object]", value) if isinstance(one, dict)]


def _spans(value: object, name: str) -> list[Span]:
    found: list[Span] = []
    for one in _objects(value):
        text, start, end = one.get(name), one.get("start"), one.get("end")
        if isinstance(text, str) and text.strip() and isinstance(start, int | float) and isinstance(end, int | float):
            found.append(Span(text.strip(), float(start), max(float(start), float(end))))
    return sorted(found, key=lambda span: span.start)


def _within(span: Span, seconds: float) -> Span:
    """Transcribers place words beyond the end of a sound at times."""
    start = min(max(span.start, 0.0), seconds)
    return Span(span.text, start, min(max(span.end, start), seconds))
