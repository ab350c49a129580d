"""Speech in the formats that OpenAI's clients may ask for, from the WAV that the service makes."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # PyAV is loaded with the first film or sound: an idle server does without its 18 MB
    import av


@dataclass(frozen=True, slots=True)
class Form:
    """A format: its Content-Type, and FFmpeg's container, encoder and sample format and rate where it is encoded."""

    content_type: str
    container: str = ""
    encoder: str = ""
    sample: str = ""
    rate: int | None = None


FORMS = {
    "mp3": Form("audio/mpeg", "mp3", "libmp3lame", "s16p"),
    "opus": Form("audio/ogg", "ogg", "libopus", "s16", 48_000),
    "aac": Form("audio/aac", "adts", "aac", "fltp"),
    "flac": Form("audio/flac", "flac", "flac", "s16"),
    "wav": Form("audio/wav"),
    "pcm": Form("audio/pcm"),
}


def recoded(sound: bytes, name: str) -> bytes:
    """The WAV file in another format; `pcm` is its bare samples."""
    import av

    form = FORMS[name]
    if name == "wav":
        return sound
    if name == "pcm":
        with wave.open(io.BytesIO(sound)) as told:
            return told.readframes(told.getnframes())
    into = io.BytesIO()
    with av.open(io.BytesIO(sound), "r") as source, av.open(into, "w", format=form.container) as target:
        spoken = source.streams.audio[0]
        # PyAV's types do not know what its containers hold.
        stream = target.add_stream(form.encoder, rate=form.rate or spoken.rate, layout="mono")  # pyright: ignore[reportUnknownMemberType]
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(format=form.sample, layout="mono", rate=stream.rate, frame_size=_frame(stream))
        for frame in [*source.decode(spoken), None]:
            for even in resampler.resample(frame):
                target.mux(stream.encode(even))  # pyright: ignore[reportUnknownMemberType]
        target.mux(stream.encode(None))  # pyright: ignore[reportUnknownMemberType]
    return into.getvalue()


def _frame(stream: av.AudioStream) -> int | None:
    """How many samples the encoder takes at a time; any number where it does not say."""
    stream.codec_context.open()
    return stream.codec_context.frame_size or None
