"""What the server asks about files that others made, and asks children to find out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar, cast

from phaya.clock import Clock, SystemClock
from phaya.decoding.crew import Crew
from phaya.decoding.findings import LARGEST_SIDE, Answer, Clip, Contents, Garbled, Kind, Measured
from phaya.decoding.formats import HEAD, PICTURES, PIXELS, SOUNDS, STREAMS, Moving, Unreadable, extension_of, sniff
from phaya.decoding.process import CHILD, Bounds
from phaya.links import CONTENT_TYPES

TIDY_SECONDS = 10
T = TypeVar("T")


class Decoder:
    """Finds out what files are and writes them anew. Children are started with the first file, and go when idle.

    Beside what its methods say, they raise Overloaded where no child can be started, and StorageDown where there is no
    room for what is written. A file by which a child ends, or that takes it too long or too much memory, is Unreadable.
    """

    def __init__(
        self, clock: Clock | None = None, bounds: Bounds | None = None, program: Sequence[str] = CHILD
    ) -> None:
        """`program` is what is started as a child."""
        clock, bounds = clock or SystemClock(), bounds or Bounds()
        self._pictures = Crew("pictures", clock, bounds, program)
        self._streams = Crew("streams", clock, bounds, program)
        # All frames of one animation take up to 0.8 gigabytes, so never those of two.
        self._motion = asyncio.Lock()
        self._tidying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def children(self) -> list[int]:
        """The numbers of the processes that decode."""
        return [*self._pictures.children, *self._streams.children]

    async def measure(self, path: Path) -> Measured:
        """What the file is; a picture is decoded, sound and film are read to their end.

        Raises Unreadable where it is none of the formats that Phaya takes, is damaged, or too large to decode.
        """
        head = _head(path)
        sniffed = sniff(head)
        if sniffed in PICTURES:
            return await self._ask("measure", sniffed, path, lambda found: _picture(found, path, sniffed))
        return await self._ask("measure", sniffed, path, lambda found: _stream(found, path, head))

    async def clean_picture(self, path: Path, into: Path) -> Measured:
        """Writes the picture anew, as a plain PNG: upright, first frame, white behind transparency, sRGB.

        No side is longer than 8192 pixels. Nothing but its pixels is left of the original. Raises Unreadable.
        """
        return await self._written("clean", path, into, "png")

    async def clean_animation(self, path: Path, into: Path) -> Measured:
        """Writes the picture anew, as a PNG that moves where it moved (APNG), transparency kept. Raises Unreadable."""
        async with self._motion:
            return await self._written("clean_frames", path, into, "png")

    async def renew_picture(self, path: Path, into: Path) -> Measured:
        """Writes the picture anew in its own format: upright, in sRGB, moving where it moved, transparency kept.

        Nothing but its pixels is left: no place where it was taken, no second format behind or between them. Raises
        Unreadable.
        """
        try:
            return await self._written("renew", path, into)
        except Moving:
            async with self._motion:
                return await self._written("renew_frames", path, into)

    async def sound_track(self, video: Path, into: Path) -> bool:
        """Copies the AAC track of an mp4 into an m4a file, as it is; false where the film has none.

        Raises Unreadable where `video` is no film that Phaya takes.
        """
        sniffed = sniff(_head(video))
        if sniffed not in STREAMS:
            raise Unreadable("it is not a film")

        def read(found: Answer) -> bool:
            return found.truth("found") and _is(into, "mp4")

        there = await self._ask("sound_track", sniffed, video, read, into)
        if not there:
            into.unlink()
        return there

    async def look_at(self, path: Path) -> Clip:
        """What an edit must know of a film or sound. Raises Unreadable where it is none."""
        return await self._ask("look_at", "", path, Answer.clip)

    async def contents(self, film: Path) -> Contents:
        """What an mp4 that was rendered here holds. Raises Unreadable where it is none."""
        return await self._ask("contents", "", film, Answer.contents)

    async def recode(self, sound: Path, into: Path, form: str) -> None:
        """Writes a WAV file as one of `streams.ENCODERS`. Raises Unreadable where it is none."""
        await self._ask("recode", form, sound, lambda _: None, into)

    async def tidy(self) -> None:
        """Ends the children that have been idle for too long; done by itself every now and then."""
        await self._pictures.tidy()
        await self._streams.tidy()

    async def close(self) -> None:
        """Ends all children."""
        if self._tidying is not None:
            self._tidying.cancel()
            with suppress(asyncio.CancelledError):
                await self._tidying
        await self._pictures.close()
        await self._streams.close()

    async def _written(self, work: str, path: Path, into: Path, form: str | None = None) -> Measured:
        """What is written is of a form, or else of the picture's own."""
        sniffed = sniff(_head(path))
        if sniffed not in PICTURES:
            raise Unreadable("it is not a picture")

        def read(found: Answer) -> Measured:
            _is(into, form or sniffed)
            return _picture(found, into, form or sniffed)

        return await self._ask(work, sniffed, path, read, into)

    async def _ask(self, work: str, form: str, path: Path, read: Callable[[Answer], T], into: Path | None = None) -> T:
        """Both files are opened here: a child opens nothing."""
        crew = self._pictures if form in PICTURES else self._streams
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._keep_tidy())
        with path.open("rb") as file:
            if into is None:
                return await crew.ask(work, form, [file.fileno()], read)
            try:
                with into.open("w+b") as made:
                    return await crew.ask(work, form, [file.fileno(), made.fileno()], read)
            except BaseException:
                into.unlink(missing_ok=True)
                raise

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await self.tidy()
            if not self.children:
                return


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _is(path: Path, form: str) -> bool:
    """Whether a child wrote what it was asked for, by its first bytes. Raises Garbled where it did not."""
    try:
        if sniff(_head(path)) == form:
            return True
    except Unreadable as error:
        raise Garbled(error.message) from error
    raise Garbled(f"no {form}")


def _picture(found: Answer, path: Path, extension: str) -> Measured:
    width, height = found.whole("width", 1, LARGEST_SIDE), found.whole("height", 1, LARGEST_SIDE)
    if width * height > PIXELS:
        raise Garbled("pixels")
    return Measured("image", CONTENT_TYPES[extension], extension, width, height, 0.0, path.stat().st_size)


def _stream(found: Answer, path: Path, head: bytes) -> Measured:
    sniffed, film, seconds = sniff(head), found.truth("film"), found.seconds()
    if (film and sniffed in SOUNDS) or not seconds:
        raise Garbled("film" if seconds else "seconds")
    extension = extension_of(head, sniffed, film=film)
    width, height = found.whole("width", 0, LARGEST_SIDE), found.whole("height", 0, LARGEST_SIDE)
    kind = cast("Kind", "video" if film else "audio")
    return Measured(kind, CONTENT_TYPES[extension], extension, width, height, seconds, path.stat().st_size)
