"""What a film or sound is, copied and recoded. Runs in the child that loads PyAV, and nowhere else.

Each function works on files that are open already and tells what it found as plain values. All raise Unreadable where
the file is damaged.
"""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from phaya.decoding.formats import DEMUXERS, FASTEST, SLOWEST, SOUNDS, STREAMS, Unreadable

# PyAV loads it with the first film, when nothing can be loaded any more.
importlib.import_module("av.subtitles.stream")

USUAL = 30
"""Frames a second where a film does not say, or cannot be meant."""

ENCODERS = {
    "mp3": ("mp3", "libmp3lame", "s16p", None),
    "opus": ("ogg", "libopus", "s16", 48_000),
    "aac": ("adts", "aac", "fltp", None),
    "flac": ("flac", "flac", "s16", None),
}
"""FFmpeg's container, encoder, sample format and rate (that of the source, if none) of the sounds that are made."""

_READ = 1  # FFmpeg's AVIO_FLAG_READ


@contextmanager
def _opened(file: BinaryIO, demuxer: str, complaint: str) -> Generator[InputContainer]:
    # The open file is all that the library gets: formats that name other files cannot open them.
    limits = {"format_whitelist": demuxer, "protocol_whitelist": "none"}
    only = None if "," in demuxer else demuxer
    try:
        with av.open(file, "r", format=only, container_options=limits, metadata_errors="ignore") as container:
            yield container
    except MemoryError:
        raise
    except (FFmpegError, EOFError) as error:
        raise Unreadable(complaint) from error


def measure(file: BinaryIO, sniffed: str) -> dict[str, Any]:
    """Reads film or sound to its end; answers pixels (0 for sound), seconds, and whether there is a film."""
    with _opened(file, STREAMS[sniffed], "it is a damaged film or sound") as container:
        films = _films(container)
        tracks = [*films, *container.streams.audio]
        if not tracks or (films and sniffed in SOUNDS):
            raise Unreadable("it holds no film and no sound")
        seconds = _seconds(container, *tracks)
        # The length that a header claims is worth nothing for MP3 and AAC, where it is a guess by the bit rate.
        claimed = (container.duration or 0) / av.time_base
        if sniffed not in ("mp3", "aac") and claimed > seconds * 1.05 + 1:
            raise Unreadable("it is cut short")
        width, height = (films[0].codec_context.width, films[0].codec_context.height) if films else (0, 0)
        return {"width": width, "height": height, "seconds": seconds, "film": bool(films)}


def _films(container: InputContainer) -> list[VideoStream]:
    return [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]


def _seconds(container: InputContainer, *tracks: Any) -> float:
    """How long some tracks play, by their packets."""
    begin, end = Fraction(10**9), Fraction(0)
    for packet in container.demux(*tracks):
        if packet.pts is not None and packet.size:
            begin = min(begin, packet.pts * packet.time_base)
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
    seconds = float(end - max(begin, Fraction(0)))
    if seconds <= 0:
        raise Unreadable("it holds no film and no sound")
    return seconds


def look_at(file: BinaryIO, _: str) -> dict[str, Any]:
    """What an edit must know: a `Clip`, field by field."""
    with _opened(file, DEMUXERS, "it is a damaged film or sound") as clip:
        films, sounds = _films(clip), clip.streams.audio
        if not films and not sounds:
            raise Unreadable("it holds no film and no sound")
        film = films[0] if films else None
        found: dict[str, Any] = {"width": 0, "height": 0, "frames": USUAL, "per": 1, "plays_anywhere": False}
        found |= {"sounds": bool(sounds), "seconds": _seconds(clip, film or sounds[0])}
        return found if film is None else found | _picture(clip, film)


def _picture(clip: InputContainer, film: VideoStream) -> dict[str, Any]:
    context = film.codec_context
    ratio = film.sample_aspect_ratio or Fraction(1)
    width, height = round(context.width * float(ratio)), context.height
    context.thread_count = 2  # each reserves address space, which is bounded
    clip.seek(0)
    turned = next((frame.rotation for frame in clip.decode(film)), 0)
    if turned % 180:
        width, height = height, width
    rate = film.average_rate or film.guessed_rate
    if rate is None or not SLOWEST <= rate <= FASTEST:
        rate = Fraction(USUAL)
    kept = "mp4" in clip.format.name and context.name == "h264" and context.pix_fmt == "yuv420p" and not turned
    return {
        "width": width,
        "height": height,
        "frames": rate.numerator,
        "per": rate.denominator,
        "plays_anywhere": kept,
    }


def contents(file: BinaryIO, _: str) -> dict[str, Any]:
    """What a film that was rendered here holds: `Contents`, field by field."""
    with _opened(file, "mov", "it is no film") as film:
        if not film.streams.video:
            raise Unreadable("it is no film")
        codecs = " ".join(stream.codec_context.name for stream in film.streams)
        pictures = sum(1 for packet in film.demux(video=0) if packet.size)
        return {"codecs": codecs, "pictures": pictures, "seconds": (film.duration or 0) / av.time_base}


def sound_track(file: BinaryIO, into: BinaryIO, sniffed: str) -> dict[str, Any]:
    """Copies the AAC track of an mp4 into an m4a file, as it is; answers whether there is one."""
    with _opened(file, STREAMS[sniffed], "it is a damaged film") as source:
        track = next((one for one in source.streams.audio if one.codec_context.name == "aac"), None)
        if track is None:
            return {"found": False}

        def again(_url: str, flags: int, _options: object) -> _Place:
            # The index is put before the sound by reading back what was written, at a place of its own.
            return _Place(into.fileno(), reads=bool(flags & _READ))

        options = {"movflags": "+faststart"}
        with av.open(_Place(into.fileno()), "w", format="ipod", options=options, io_open=again) as target:
            # Both calls take options that PyAV leaves without a type.
            copy = target.add_stream_from_template(track)  # pyright: ignore[reportUnknownMemberType]
            for packet in source.demux(track):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)  # pyright: ignore[reportUnknownMemberType]
        return {"found": True}


class _Place(io.RawIOBase):
    """An open file with a place of its own in it: two of them read and write without moving each other."""

    def __init__(self, descriptor: int, *, reads: bool = False) -> None:
        self._descriptor = descriptor
        self._reads = reads
        self._at = 0

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return not self._reads

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        content = os.pread(self._descriptor, size if size >= 0 else 1 << 20, self._at)
        self._at += len(content)
        return content

    def write(self, content: Any, /) -> int:
        written = os.pwrite(self._descriptor, content, self._at)
        self._at += written
        return written

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = offset + (os.fstat(self._descriptor).st_size if start is None else start)
        return self._at

    def tell(self) -> int:
        return self._at


def recode(file: BinaryIO, into: BinaryIO, form: str) -> dict[str, Any]:
    """Writes a WAV file as one of `ENCODERS`."""
    container, encoder, sample, rate = ENCODERS[form]
    with _opened(file, "wav", "it is a damaged sound") as source, av.open(into, "w", format=container) as target:
        spoken = source.streams.audio[0]
        # PyAV's types do not know what its containers hold.
        stream = target.add_stream(encoder, rate=rate or spoken.rate, layout="mono")  # pyright: ignore[reportUnknownMemberType]
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(format=sample, layout="mono", rate=stream.rate, frame_size=_frame(stream))
        for frame in [*source.decode(spoken), None]:
            for even in resampler.resample(frame):
                target.mux(stream.encode(even))  # pyright: ignore[reportUnknownMemberType]
        target.mux(stream.encode(None))  # pyright: ignore[reportUnknownMemberType]
    return {}


def _frame(stream: av.AudioStream) -> int | None:
    """How many samples the encoder takes at a time; any number where it does not say."""
    stream.codec_context.open()
    return stream.codec_context.frame_size or None


READING: dict[str, Callable[[BinaryIO, str], dict[str, Any]]] = {
    "measure": measure,
    "look_at": look_at,
    "contents": contents,
}
WRITING: dict[str, Callable[[BinaryIO, BinaryIO, str], dict[str, Any]]] = {"sound_track": sound_track, "recode": recode}
"""What the server may ask for."""
