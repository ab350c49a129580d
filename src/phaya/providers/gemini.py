"""Google Gemini reads texts aloud (ai.google.dev, speech generation): one request for each passage.

The reading belongs to the job that asked for it and is joined here. A process that dies in the middle loses the
passages that were read; the next run reads them again, which costs us cents and the user nothing.
"""

from __future__ import annotations

import asyncio
import random
import wave
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp
import orjson
import structlog
from pydantic import JsonValue

from phaya.calls import GeminiSpeech, LocalCall, Passage
from phaya.providers import Exhausted, Made, Rejected, Report
from phaya.providers.gemini_wire import Again, Family, Spoken, family_of, read_answer, refusal, speech_body
from phaya.providers.pcm import SAMPLE_BYTES
from phaya.providers.refusals import NOT_MADE, TRY_LATER
from phaya.providers.timing import Timed
from phaya.providers.transport import BROKEN, asked_pause, fault, start_of, whole_body

log = structlog.get_logger()

LONGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer: eleven minutes of sound are 42 MB in base64."""
ATTEMPTS = 4
"""How often a passage is tried; waiting for a crowded provider does not count."""
PASSAGE_SECONDS = 300.0
"""How long a passage may take, with all its attempts and pauses."""
LARGEST_WAV = 2**32 - 100
"""Bytes that a WAV file can count."""


class Gemini:
    """Gemini behind one key of the operator. `model` decides which contract is spoken.

    `answer_seconds` may pass until an answer is whole (some take minutes), `pause_seconds` before the second
    attempt at a passage; later ones wait longer.
    """

    name = "gemini"

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        key: str,
        model: str,
        *,
        answer_seconds: float = 150,
        pause_seconds: float = 0.5,
    ) -> None:
        self._session = session
        base = base_url.rstrip("/")
        version = "" if base.endswith(("/v1", "/v1beta")) else "/v1beta"
        self._url = f"{base}{version}/models/{model}:generateContent"
        self._key = key
        self._model = model
        self._family: Family = family_of(model)
        self._time = aiohttp.ClientTimeout(total=answer_seconds, connect=10)
        self._pause = pause_seconds
        self._dice = random.Random()  # noqa: S311 - it only spreads moments

    async def run(self, call: LocalCall, inputs: Mapping[str, Path], folder: Path, report: Report) -> Made:
        """Reads all passages into one WAV file in `folder`. Raises Rejected, and Exhausted where Gemini fails.

        The facts are the tokens that the file took (`prompt_tokens`, `audio_tokens`), those of attempts that gave
        nothing (`wasted_tokens`), which the user does not pay, and the model.
        """
        if not isinstance(call, GeminiSpeech):
            raise TypeError(f"Gemini reads no {call.kind}")
        file = folder / "speech.wav"
        prompt = audio = wasted = size = 0
        joined: wave.Wave_write | None = None
        with ExitStack() as stack:
            for number, passage in enumerate(call.passages):
                spoken, lost = await self._read(call, passage)
                sound = spoken.sound
                size += len(sound.samples)
                if joined is None:
                    joined = stack.enter_context(wave.open(str(file), "wb"))
                    joined.setparams((sound.channels, SAMPLE_BYTES, sound.rate, 0, "NONE", ""))
                shape = joined.getframerate(), joined.getnchannels()
                if shape != (sound.rate, sound.channels) or size > LARGEST_WAV:
                    raise Rejected(NOT_MADE, f"passage {number} cannot be joined: {sound.rate} Hz, {size} bytes in all")
                await asyncio.to_thread(joined.writeframes, sound.samples)
                prompt += spoken.prompt_tokens
                audio += spoken.audio_tokens
                wasted += lost
                await report((number + 1) / len(call.passages))
        facts: dict[str, JsonValue] = {
            "prompt_tokens": prompt,
            "audio_tokens": audio,
            "wasted_tokens": wasted,
            "model": self._model,
        }
        return Made([file], facts)

    async def _read(self, call: GeminiSpeech, passage: Passage) -> tuple[Spoken, int]:
        """One passage, with as many attempts as it takes; also the tokens of those that failed."""
        hint, firm, wasted, tried, waited = True, False, 0, 0, 0
        last: Again | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(PASSAGE_SECONDS):
                while tried < ATTEMPTS:
                    body = speech_body(self._family, call, passage, hint=hint, firm=firm)
                    try:
                        return await self._ask(body, passage), wasted
                    except Again as again:
                        last = again
                    log.warning("gemini.again", detail=last.detail, attempt=tried, wasted=last.wasted)
                    tried += not last.crowded
                    waited += 1
                    wasted += last.wasted
                    hint, firm = hint and not last.hint, firm or last.mute
                    if tried < ATTEMPTS:
                        await asyncio.sleep(self._rest(last, waited))
        detail = last.detail if last else f"no answer in {PASSAGE_SECONDS:g} s"
        log.error("gemini.gave_up", detail=detail, wasted=wasted)
        raise (last and last.rejected) or Rejected(TRY_LATER, detail)

    def _rest(self, again: Again, waited: int) -> float:
        """Seconds before the next attempt: what Gemini asked for, else ever longer; spread, so that jobs that
        were turned away together do not come back together."""
        if again.pause is not None:
            return again.pause + self._dice.uniform(0, min(1.0, again.pause / 4))
        return self._pause * 2.0 ** min(waited - 1, 5) * self._dice.uniform(0.5, 1.0)

    async def _ask(self, body: Mapping[str, JsonValue], passage: Passage) -> Spoken:
        """One request. Raises Again or Rejected."""
        with Timed(self.name, "speech", "generate_content", self._model, "speech") as timed:
            try:
                spoken = await self._answer(body, passage)
            except Again as again:
                timed.failed("crowded" if again.crowded else "unavailable")
                raise
            timed.used(spoken.prompt_tokens, spoken.audio_tokens)
            return spoken

    async def _answer(self, body: Mapping[str, JsonValue], passage: Passage) -> Spoken:
        try:
            async with self._session.post(
                self._url,
                data=orjson.dumps(body),
                headers={"x-goog-api-key": self._key, "Content-Type": "application/json"},
                timeout=self._time,
                allow_redirects=False,
            ) as response:
                content = await whole_body(response, LONGEST_ANSWER, self._key)
                status, pause = response.status, asked_pause(response.headers)
        except BROKEN as error:
            raise Again(fault(error), rejected=Exhausted(TRY_LATER, fault(error))) from error
        start = start_of(content[:4096])
        try:
            answer: JsonValue = orjson.loads(content)
        except orjson.JSONDecodeError:
            answer = None
        if status != 200:
            meant = refusal(status, answer, start, pause)
            if isinstance(meant, Rejected):  # our key, our model or our body: the operator's matter
                log.error("gemini.refused", detail=meant.detail)
            raise meant
        if answer is None:
            detail = f"the answer is no JSON: {start}"
            raise Again(detail, rejected=Exhausted(TRY_LATER, detail))
        return read_answer(answer, passage)
