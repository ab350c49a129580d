"""Sound as samples: signed 16 bits, little-endian. What a provider sends is looked at, never trusted by its name.

Gemini's L16 is little-endian against the media type's own rule, its spellings differ from model to model
("audio/L16;codec=pcm;rate=24000", "audio/l16; rate=24000; channels=1"), and newer models send whole WAV files,
sometimes under the old name (2026).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

RATE = 24_000
SAMPLE_BYTES = 2

_RATE = re.compile(r"\brate\s*=\s*\"?([1-9]\d{3,5})", re.IGNORECASE)
_CHANNELS = re.compile(r"\bchannels\s*=\s*\"?([1-8])\b", re.IGNORECASE)
_PCM, _EXTENSIBLE = 1, 0xFFFE


class NotSound(Exception):
    """The bytes are no sound that can be joined with others; the message says why."""


@dataclass(frozen=True)
class Sound:
    """Samples without a header."""

    samples: bytes
    rate: int = RATE
    channels: int = 1

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.samples) / (SAMPLE_BYTES * self.channels * self.rate)


def read_sound(content: bytes, kind: str) -> Sound:
    """A part of an answer as samples; `kind` is its MIME type, which counts only where there is no header.

    Raises NotSound where it is neither a 16-bit WAV nor bare samples.
    """
    if content[:4] in (b"RIFF", b"RF64"):
        sound = _read_wav(content)
        while sound.samples[:4] == b"RIFF" and sound.samples[8:12] == b"WAVE":  # a header put before a header
            sound = _read_wav(sound.samples)
        return sound
    family = kind.partition(";")[0].strip().lower()
    if family and not re.search(r"l16|pcm|raw|wav|octet-stream", family):
        raise NotSound(f"it is {family[:60]}")
    rate, channels = _RATE.search(kind), _CHANNELS.search(kind)
    return _whole(content, int(rate[1]) if rate else RATE, int(channels[1]) if channels else 1)


def joined(sounds: list[Sound]) -> Sound:
    """One sound after the other, sample by sample. Raises NotSound where their shapes differ."""
    if not sounds:
        raise NotSound("there is none")
    first = sounds[0]
    if any((sound.rate, sound.channels) != (first.rate, first.channels) for sound in sounds):
        raise NotSound("its parts differ in rate or channels")
    return Sound(b"".join(sound.samples for sound in sounds), first.rate, first.channels)


def _read_wav(content: bytes) -> Sound:
    """The samples of a WAV file. Streams write 0 or the largest number where they do not know their length."""
    shape: tuple[int, int] | None = None
    place = 12
    while place + 8 <= len(content):
        name, size = content[place : place + 4], struct.unpack_from("<I", content, place + 4)[0]
        body = place + 8
        if name == b"fmt " and body + 16 <= len(content):
            form, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", content, body)
            if (
                form not in (_PCM, _EXTENSIBLE)
                or bits != 8 * SAMPLE_BYTES
                or not channels
                or not 1000 <= rate < 1_000_000
            ):
                raise NotSound(f"it is a WAV of format {form} with {bits} bits, {channels} channels, {rate} Hz")
            shape = rate, channels
        if name == b"data":
            if shape is None:
                raise NotSound("it is a WAV without a format")
            end = body + size if 0 < size <= len(content) - body else len(content)
            return _whole(content[body:end], *shape)
        place = body + size + size % 2
    raise NotSound("it is a WAV without samples")


def _whole(samples: bytes, rate: int, channels: int) -> Sound:
    if len(samples) % (SAMPLE_BYTES * channels):
        raise NotSound("it is cut inside a sample")
    return Sound(samples, rate, channels)
