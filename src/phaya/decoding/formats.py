"""What a file is, by its first bytes; never by its name or by what a server said about it.

A file is sniffed against a list of known beginnings and then opened as that format only: a playlist, a script
or a page that is named like a picture is refused before any decoder has a look at it.
"""

from __future__ import annotations

HEAD = 64
"""Bytes of a file's beginning by which it is known."""

PICTURES = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "webp": "WEBP", "avif": "AVIF"}
"""What Pillow calls the formats of pictures."""

STREAMS = {
    "mp4": "mov",
    "mkv": "matroska",
    "avi": "avi",
    "mp3": "mp3",
    "wav": "wav",
    "aac": "aac",
    "ogg": "ogg",
    "flac": "flac",
}
"""What FFmpeg calls the formats of films and sounds."""

DEMUXERS = ",".join(STREAMS.values())
"""All of them, as FFmpeg takes a list."""

SOUNDS = frozenset({"mp3", "wav", "aac", "ogg", "flac"})
"""Formats that hold no film."""

PIXELS = 50_000_000
"""Of a picture at the most."""

SLOWEST, FASTEST = 10, 60
"""Frames a second of films as they are edited."""


class Unreadable(Exception):
    """`message` says what is wrong with the file: "it is cut short"."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Moving(Exception):
    """The picture moves, so that it may take much memory: who asks waits for a turn, and asks for an animation."""


def sniff(head: bytes) -> str:
    """The format: a key of `PICTURES` or `STREAMS`. Raises Unreadable."""
    if not head:
        raise Unreadable("it is empty")
    match head[:4], head[4:8], head[8:12]:
        case b"\x89PNG", b"\r\n\x1a\n", _:
            return "png"
        case b"GIF8", _, _:
            return "gif"
        case b"RIFF" | b"RF64", _, (b"WEBP" | b"WAVE" | b"AVI ") as form:
            return {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi"}[form]
        case _, b"ftyp", b"avif" | b"avis":
            return "avif"
        case _, b"ftyp", b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1":
            raise Unreadable("it is a HEIC picture; send it as JPEG or PNG")
        case _, b"ftyp" | b"moov" | b"mdat" | b"wide", _:
            return "mp4"
        case b"\x1aE\xdf\xa3", _, _:
            return "mkv"
        case b"OggS", _, _:
            return "ogg"
        case b"fLaC", _, _:
            return "flac"
        case _:
            pass
    if head[:3] == b"\xff\xd8\xff":
        return "jpg"
    # A frame of MPEG sound begins with eleven set bits; the layer tells MP3 (01) from AAC in ADTS (00).
    if head[:3] == b"ID3" or (head[0] == 0xFF and head[1:] and head[1] & 0xE6 == 0xE2):
        return "mp3"
    if head[0] == 0xFF and head[1:] and head[1] & 0xF6 == 0xF0:
        return "aac"
    raise Unreadable("it is not a picture, film or sound of a known format")


def extension_of(head: bytes, sniffed: str, *, film: bool) -> str:
    """What a file of a sniffed format is called; `film` says whether it holds one."""
    if sniffed == "mkv":
        return "webm" if b"webm" in head else "mkv"
    if sniffed != "mp4":
        return sniffed
    if not film:
        return "m4a"
    if head[4:8] != b"ftyp" or head[8:12] == b"qt  ":
        return "mov"
    return "m4v" if head[8:11] == b"M4V" else "mp4"
