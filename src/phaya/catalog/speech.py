"""Texts read aloud."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from phaya.calls import GeminiSpeech, Passage
from phaya.catalog.answers import Sound, Words
from phaya.catalog.fields import Aliases, Prompt
from phaya.catalog.passages import is_speakable, passages, usual_seconds
from phaya.catalog.service import Generation, Rates
from phaya.catalog.voices import Voice
from phaya.credits import Credits, credits, per_million

TEXT, AUDIO = "a million text tokens", "a million audio tokens"

# As Gemini's reference of speechConfig spells them; Mandarin is not "zh" there.
LANGUAGES = {"en": "en-US", "th": "th-TH", "ja": "ja-JP", "zh-CN": "cmn-CN", "ko": "ko-KR"}

TOKENS_PER_SECOND = 25
SLOWER = 1.5
# Bounds of what is held: nobody reads three times as slowly as usual, silence at both ends included, and a token is
# at least a byte of text; the reading task around a passage has so many tokens at the most.
SLOWEST, SILENCE_SECONDS, TASK_TOKENS = 3, 4, 128
# A WAV file counts its bytes in 32 bits, which is a day of speech; some of it is left as margin.
LONGEST_HOURS = 18


class TextToSpeech(Generation):
    """Gemini TTS: a text read aloud by one of thirty voices, in any language.

    What is held at the start is a generous bound; the finished job costs the tokens that were used. A text is read
    in passages of about a minute, which are joined into one WAV file (16 bits, 24 kHz, mono).
    """

    path = "text-to-speech"
    verb = "generate"
    answer = Sound
    words = Words.UPPER_PENDING
    rates = {TEXT: credits("17.5"), AUDIO: credits("315")}  # 0.50 and 9.00 USD at 35 THB
    example = {"prompt": "Sawasdee! Welcome to Chiang Mai.", "voice": "Zephyr"}
    minutes = 360  # a whole book takes hours, passage by passage
    seconds = 15

    prompt: Annotated[Prompt, Field(max_length=500_000, description="What to say, word for word, in any language.")]
    voice: Annotated[Voice, Aliases(("voice_id",)), Field(description="Who reads; all voices speak all languages.")] = (
        "Zephyr"
    )
    slow: Annotated[bool, Field(description="Slowly and clearly.")] = False
    language: Annotated[
        Literal["en", "th", "ja", "zh-CN", "ko"] | None,
        Field(description="The text's language; null: found out from the text."),
    ] = None

    @model_validator(mode="after")
    def _can_be_said(self) -> Self:
        if not is_speakable(self.prompt):
            raise ValueError("prompt must hold a letter or a number to say")
        hours = self._usual_seconds(self.prompt) / 3600
        if hours > LONGEST_HOURS:
            raise ValueError(
                f"prompt would take about {math.ceil(hours)} hours to read; at most {LONGEST_HOURS} fit into one file"
            )
        return self

    def price(self, rates: Rates) -> Credits:
        """The most that the reading can use, in tokens; `cost` is what it did use."""
        text = audio = 0
        for passage in self.call().passages:
            text += len(passage.text.encode()) + TASK_TOKENS
            audio += math.ceil((passage.seconds * SLOWEST + SILENCE_SECONDS) * TOKENS_PER_SECOND)
        return per_million(rates[TEXT], text) + per_million(rates[AUDIO], audio)

    def cost(self, rates: Rates, facts: Mapping[str, JsonValue]) -> Credits:
        """The tokens of the passages as they are in the file; attempts that failed are not charged."""
        text, audio = facts.get("prompt_tokens"), facts.get("audio_tokens")
        if not isinstance(text, int) or not isinstance(audio, int):
            return self.price(rates)
        return per_million(rates[TEXT], text) + per_million(rates[AUDIO], audio)

    def call(self) -> GeminiSpeech:
        """The passages that have something to say, one after another."""
        found = [
            Passage(text.strip(), round(self._usual_seconds(text), 3))
            for text in passages(self.prompt)
            if is_speakable(text)
        ]
        return GeminiSpeech(found, self.voice, LANGUAGES[self.language] if self.language else None, self.slow)

    def _usual_seconds(self, text: str) -> float:
        return usual_seconds(text) * (SLOWER if self.slow else 1)


SPEECH = (TextToSpeech,)
