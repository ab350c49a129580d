"""The transcription route of OpenAI: words that nobody said, but with the times of the sound that was sent.

What is heard follows from the sound itself, so that it is the same each time: a sentence of four words for about
every two seconds, only while the sound is not silent.
"""

from __future__ import annotations

import io
import itertools
import math
import sys
import wave
from array import array
from collections.abc import Iterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phaya.providers.sandbox.wire import bearer, json_answer

_SENTENCES = {
    "thai": (
        ("สวัสดี", "ครับ", "ทุก", "คน"),
        ("วันนี้", "เรา", "จะ", "ไป", "เที่ยว", "ทะเล"),
        ("น้ำ", "ใส", "มาก", "และ", "ลม", "เย็น", "สบาย"),
        ("อย่า", "ลืม", "กด", "ติดตาม", "นะ", "ครับ"),
    ),
    "english": (
        ("Hello", "and", "welcome", "everyone."),
        ("Today", "we", "travel", "to", "the", "sea."),
        ("The", "water", "is", "clear", "and", "the", "wind", "is", "cool."),
        ("Do", "not", "forget", "to", "follow", "us."),
    ),
}
_NAMES = {"en": "english", "english": "english"}
_WORD_SECONDS = 0.4
_QUIET = 30
"""Loudness (of 32768) below which a tenth of a second is silent."""


class Transcription:
    """The route."""

    def routes(self) -> list[Route]:
        """Its address, as below OpenAI's."""
        return [Route("/v1/audio/transcriptions", self._transcribe, methods=["POST"])]

    async def _transcribe(self, request: Request) -> Response:
        if bearer(request) is None and request.headers.get("authorization"):
            return _refused("Incorrect API key provided.", "invalid_api_key", 401)
        try:
            async with request.form(max_files=1, max_fields=20) as form:
                file, language = form.get("file"), str(form.get("language") or "th")
                if not isinstance(file, UploadFile) or not form.get("model"):
                    return _refused("you must provide a model parameter and a file", "missing_required_parameter")
                content = await file.read()
                asked = [str(value) for value in form.getlist("timestamp_granularities[]")] or ["segment"]
                verbose = form.get("response_format") == "verbose_json"
        except HTTPException as error:
            return _refused(error.detail, "invalid_request_error")
        try:
            seconds, loud = await run_in_threadpool(_listen, content)
        except (wave.Error, EOFError):
            return _refused("Invalid file format.", "invalid_request_error")
        name = _NAMES.get(language.lower(), "thai")
        answer = _answer(name, seconds, loud, asked)
        return json_answer(answer if verbose else {"text": answer["text"]})


def _refused(message: str, code: str, status: int = 400) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return json_answer({"error": error}, status)


def _listen(content: bytes) -> tuple[float, list[bool]]:
    """How long a WAV of 16 bits lasts, and which tenths of its seconds sound. Raises wave.Error or EOFError."""
    with wave.open(io.BytesIO(content)) as sound:
        rate, channels = sound.getframerate(), sound.getnchannels()
        if sound.getsampwidth() != 2:
            raise wave.Error("not 16 bits")
        samples = array("h", sound.readframes(sound.getnframes()))
    if sys.byteorder == "big":
        samples.byteswap()
    step = max(1, rate * channels // 10)
    tenths = (samples[place : place + step : 7] for place in range(0, len(samples), step))
    loud = [sum(map(abs, tenth)) / len(tenth) > _QUIET for tenth in tenths]
    return len(samples) / channels / rate, loud


def _answer(language: str, seconds: float, loud: list[bool], asked: list[str]) -> dict[str, Any]:
    words: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    gap = "" if language == "thai" else " "
    for sentence in _said(language, seconds, loud):
        begin, end = sentence[0]["start"], sentence[-1]["end"]
        text = gap.join(word["word"] for word in sentence)
        segments.append({"id": len(segments), "seek": 0, "start": begin, "end": end, "text": f" {text}"})
        words += sentence
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": language,
        "duration": round(seconds, 2),
        "text": " ".join(segment["text"].strip() for segment in segments),
    }
    if "segment" in asked:
        answer["segments"] = segments
    if "word" in asked:
        answer["words"] = words
    return answer


def _said(language: str, seconds: float, loud: list[bool]) -> Iterator[list[dict[str, Any]]]:
    """Sentences for the sounding part, from its beginning to its end."""
    if not any(loud):
        return
    now, last = loud.index(True) / 10, min(seconds, (len(loud) - loud[::-1].index(True)) / 10)
    for words in itertools.cycle(_SENTENCES[language]):
        fitting = min(len(words), math.ceil((last - now) / _WORD_SECONDS))
        if fitting < 1 or last - now < 0.05:
            return
        said: list[dict[str, Any]] = []
        for word in words[:fitting]:
            end = min(last, now + _WORD_SECONDS)
            said.append({"word": word, "start": round(now, 2), "end": round(end, 2)})
            now = end
        yield said
        now += _WORD_SECONDS
