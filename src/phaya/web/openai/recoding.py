"""Speech in the formats that OpenAI's clients may ask for, from the WAV that the service makes."""

from __future__ import annotations

import io
import tempfile
import wave
from pathlib import Path

from phaya.decoding.decoder import Decoder

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
    with tempfile.TemporaryDirectory(dir=folder) as place:
        source, into = Path(place) / "sound.wav", Path(place) / "recoded"
        source.write_bytes(sound)
        await decoder.recode(source, into, name)
        return into.read_bytes()
