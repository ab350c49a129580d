"""Speech in the formats that OpenAI's clients may ask for, from the WAV that the service makes."""

from __future__ import annotations

import asyncio
import io
import wave
from pathlib import Path

from phaya.decoding.decoder import Decoder
from phaya.folders import fresh_folder

FORMS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""Content types, by the names of formats."""


async def recoded(decoder: Decoder, folder: Path, sound: bytes, name: str) -> bytes:
    """The WAV file in another format; `pcm` is its bare samples. `folder` holds work in progress."""
    if name == "wav":
        return sound
    if name == "pcm":
        with wave.open(io.BytesIO(sound)) as told:
            return told.readframes(told.getnframes())
    async with fresh_folder(folder) as place:
        source, into = place / "sound.wav", place / "recoded"
        await asyncio.to_thread(source.write_bytes, sound)
        await decoder.recode(source, into, name)
        return await asyncio.to_thread(into.read_bytes)
