"""Google Gemini's API, as far as it speaks: `generateContent` whole and streamed, and the list of models.

Each model answers in its own shape, as seen in 2026: 2.5 and 3.1 bare samples under two spellings of L16, 3.8
a whole WAV file when asked for one answer and bare samples in a stream. Every key is good but an empty one.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import tempfile
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import orjson
import structlog
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from phaya.providers.sandbox.endings import ending_of, unmarked
from phaya.providers.sandbox.gemini_rules import (
    LONGEST_SPEECH,
    MODELS,
    Model,
    Reading,
    Refused,
    read_request,
    usual_seconds,
)
from phaya.providers.sandbox.records import Records, first_time
from phaya.providers.sandbox.wire import BadBody, NoAnswer, json_answer, json_body
from phaya.providers.sandbox.workshop import StudioError, run

log = structlog.get_logger()

RATE, TOKENS_PER_SECOND = 24_000, 25
ANSWER_SECONDS = 0.1
"""Seconds of waiting for each second of sound, at pace 1."""
READERS = 2
NARRATOR = Path(__file__).with_name("narration.py")
KINDS = {"2.5": "audio/L16;codec=pcm;rate=24000", "3.1": "audio/l16; rate=24000; channels=1", "v38": "audio/wav"}

INTERNAL = "An internal error has occurred. Please retry or report in the troubleshooting guide."
CROWDED = "You exceeded your current quota, please check your plan and billing details. Please retry in 1s."
BAD_KEY = "API key not valid. Please pass a valid API key."


class Gemini:
    """The doors of Gemini."""

    def __init__(self, records: Records, folder: Path, pace: float) -> None:
        self._records = records
        self._folder = folder
        self._pace = pace
        self._reading = asyncio.Semaphore(READERS)
        self._garbage: dict[str, int] = {}

    def routes(self) -> list[Route]:
        """Both versions' paths; `{action}` is the model's name and the verb."""
        found: list[Route] = []
        for version in ("v1beta", "v1"):
            found.append(Route(f"/{version}/models/{{action}}", _open(self.generate), methods=["POST"]))
            found.append(Route(f"/{version}/models", _open(self.models), methods=["GET"]))
        return found

    async def models(self, request: Request) -> Response:
        """`GET /v1beta/models`."""
        listed = [
            {
                "name": f"models/{name}",
                "displayName": name,
                "inputTokenLimit": 8192,
                "outputTokenLimit": LONGEST_SPEECH,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for name in MODELS
        ]
        return json_answer({"models": listed})

    async def generate(self, request: Request) -> Response:
        """`POST /v1beta/models/{model}:generateContent`, or `:streamGenerateContent?alt=sse`."""
        name, _, verb = str(request.path_params["action"]).partition(":")
        model = MODELS.get(name)
        if model is None or verb not in ("generateContent", "streamGenerateContent"):
            told = f"models/{name} is not found for API version v1beta, or is not supported for generateContent."
            raise Refused(404, "NOT_FOUND", told)
        reading = read_request(model, await json_body(request))
        early = await self._ending(model, reading)
        if early is not None:
            return early
        words = unmarked(reading.words)
        seconds = usual_seconds(words)
        if seconds * TOKENS_PER_SECOND > LONGEST_SPEECH:
            return json_answer(_answer(model, reading, None, LONGEST_SPEECH, "OTHER"))
        await asyncio.sleep((ending_of(reading.text).slow or 0) + ANSWER_SECONDS * seconds * self._pace)
        samples = await self._read_aloud(words, reading.voice, seconds)
        used = round(len(samples) / 2 / RATE * TOKENS_PER_SECOND)
        if verb == "generateContent":
            sound = _wav(samples) if model.family == "v38" else samples
            return json_answer(_answer(model, reading, (KINDS[model.family], sound), used, "STOP"))
        return _stream(model, reading, samples, used)

    async def _ending(self, model: Model, reading: Reading) -> Response | None:
        """The answer that the text's markers chose, where it is not the good one. Raises Refused."""
        ending, text = ending_of(reading.text), reading.text
        if "fail" in ending:
            raise Refused(500, "INTERNAL", INTERNAL)
        if "refuse" in ending:
            raise Refused(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
        if "429" in ending and await first_time(self._records, "gemini", text):
            raise _crowded(model)
        if "reject" in ending:
            usage: JsonValue = {"promptTokenCount": reading.prompt_tokens, "totalTokenCount": reading.prompt_tokens}
            feedback: JsonValue = {"blockReason": "PROHIBITED_CONTENT"}
            return json_answer({"promptFeedback": feedback, "usageMetadata": usage, "modelVersion": model.name})
        if "drop" in ending and await first_time(self._records, "gemini drop", text):
            return NoAnswer()
        if "midfail" in ending and await first_time(self._records, "gemini midfail", text):
            return json_answer(_answer(model, reading, None, 40, "OTHER"))
        if "garbage" in ending:
            turn = self._garbage[text] = (self._garbage.get(text, -1) + 1) % 3
            if turn == 2:
                return HTMLResponse("<html><title>Error 502 (Server Error)</title></html>", 200)
            return json_answer({"candidates": []} if turn == 0 else _answer(model, reading, None, 0, "STOP"))
        return None

    async def _read_aloud(self, words: str, voice: str, seconds: float) -> bytes:
        """Lets the narrator read. Isolated (-I), as the orchestra plays."""
        async with self._reading:
            with tempfile.TemporaryDirectory(prefix=".narration-", dir=self._folder) as folder:
                path = Path(folder) / "samples"
                asked = {"path": str(path), "text": words, "voice": voice, "seconds": seconds}
                try:
                    await run([sys.executable, "-I", NARRATOR], stdin=json.dumps(asked).encode())
                except StudioError as error:
                    log.exception("sandbox.narration.failed")
                    raise Refused(500, "INTERNAL", INTERNAL) from error
                return path.read_bytes()


def _open(door: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def behind(request: Request) -> Response:
        try:
            if not (request.headers.get("x-goog-api-key") or request.query_params.get("key")):
                info: JsonValue = {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                }
                raise Refused(400, "INVALID_ARGUMENT", BAD_KEY, [info])
            return await door(request)
        except BadBody as error:
            told = f"Invalid JSON payload received. {error}"
            return json_answer(Refused(400, "INVALID_ARGUMENT", told).body(), 400)
        except Refused as refused:
            return json_answer(refused.body(), refused.code)

    return behind


def _crowded(model: Model) -> Refused:
    violation: JsonValue = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model",
        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel",
        "quotaDimensions": {"location": "global", "model": model.name},
        "quotaValue": "10",
    }
    details: list[JsonValue] = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"},
    ]
    return Refused(429, "RESOURCE_EXHAUSTED", CROWDED, details)


def _answer(
    model: Model, reading: Reading, sound: tuple[str, bytes] | None, used: int, finish: str | None
) -> dict[str, JsonValue]:
    parts: list[JsonValue] = []
    if sound is not None:
        parts.append({"inlineData": {"mimeType": sound[0], "data": base64.b64encode(sound[1]).decode()}})
    candidate: dict[str, JsonValue] = {"index": 0, "content": {"role": "model", "parts": parts} if parts else {}}
    if finish is not None:
        candidate["finishReason"] = finish
    usage: dict[str, JsonValue] = {
        "promptTokenCount": reading.prompt_tokens,
        "candidatesTokenCount": used,
        "totalTokenCount": reading.prompt_tokens + used,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": reading.prompt_tokens}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": used}],
    }
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": model.name,
        "responseId": uuid4().hex[:22],
    }


def _stream(model: Model, reading: Reading, samples: bytes, used: int) -> Response:
    """Events of at most a second of bare samples, with CRLF and without `[DONE]`; the last one tells the usage."""
    kind = KINDS["2.5"] if model.family == "v38" else KINDS[model.family]
    pieces = [samples[start : start + 2 * RATE] for start in range(0, len(samples), 2 * RATE)]
    events = [
        _answer(model, reading, (kind, piece), used, "STOP" if number == len(pieces) else None)
        for number, piece in enumerate(pieces, 1)
    ]
    body = b"".join(b"data: " + orjson.dumps(event) + b"\r\n\r\n" for event in events)
    return Response(body, media_type="text/event-stream")


def _wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, RATE, 0, "NONE", ""))
        sound.writeframes(samples)
    return file.getvalue()
