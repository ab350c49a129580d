"""Inputs are fetched, checked and measured before anything is charged."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from phaya.addresses import Fetcher, FetchFailed
from phaya.calls import LocalCall, RemoteCall
from phaya.catalog.fields import Input
from phaya.catalog.service import Generation
from phaya.clock import Clock
from phaya.decoding.decoder import Decoder
from phaya.decoding.findings import Measured
from phaya.decoding.formats import Unreadable
from phaya.errors import Fault, Invalid
from phaya.folders import fresh_folder
from phaya.outages import down, on_our_disk
from phaya.providers import Rejected, Unavailable
from phaya.storage import Storage

G = TypeVar("G", bound=Generation)

Foresee = Callable[[LocalCall | RemoteCall], Awaitable[int | None]]

KINDS = {"image": "a picture (PNG, JPEG, WebP or GIF)", "video": "a video", "audio": "a sound file"}


@dataclass(frozen=True, slots=True)
class _Source:
    field: str
    address: str
    mark: Input


class Intake:
    """Takes a request's inputs in."""

    def __init__(
        self,
        storage: Storage,
        decoder: Decoder,
        fetcher: Fetcher,
        folder: Path,
        clock: Clock,
        foresee: Foresee,
        secret: bytes,
    ) -> None:
        """`foresee` tells how many bytes a download will have at the most; `secret` is the server's."""
        self._storage = storage
        self._decoder = decoder
        self._fetcher = fetcher
        self._folder = folder
        self._clock = clock
        self._foresee = foresee
        self._secret = secret
        folder.mkdir(parents=True, exist_ok=True)

    async def take(self, request: G, *, keep: bool = True) -> G:
        """The request with every input checked and measured, and its addresses exchanged where we keep a copy.

        Local work reads from our storage, so all its inputs are copied there; a remote provider gets public
        addresses as they are, and a link to our copy of a data URL. Without `keep` nothing is copied or exchanged,
        only checked and measured. Raises Invalid, naming the field.
        """
        request = await self._look_ahead(request, keep)
        sources = list(_sources(request))
        if not sources:
            return request
        async with on_our_disk(), fresh_folder(self._folder) as folder:
            found = await asyncio.gather(
                *(
                    self._take(source, folder / str(number), request.local, keep)
                    for number, source in enumerate(sources)
                ),
                return_exceptions=True,
            )
        faults: list[Fault] = []
        for outcome in found:
            if isinstance(outcome, Invalid):
                faults.extend(outcome.faults)
            elif isinstance(outcome, OSError):
                raise down(outcome) from outcome
            elif isinstance(outcome, BaseException):
                raise outcome
        if faults:
            raise Invalid(*faults)
        addresses: dict[tuple[str, str], str] = {}
        lengths: dict[str, float] = {}
        for source, outcome in zip(sources, found, strict=True):
            assert isinstance(outcome, tuple)
            addresses[source.field, source.address] = outcome[0]
            lengths[source.field] = lengths.get(source.field, 0) + outcome[1]
        return request.with_lengths(lengths).with_inputs(addresses)

    async def _look_ahead(self, request: G, keep: bool) -> G:
        """The request with the size of what it downloads. An estimate is given where the site does not answer, too."""
        field = request.page()
        if field is None:
            return request
        try:
            return request.with_size(await self._foresee(request.call()))
        except Rejected as error:
            raise Invalid(Fault(field, error.message, error.code)) from error
        except Unavailable as error:
            if keep:
                raise Invalid(Fault(field, error.message, "input_unreachable")) from error
            return request

    async def _take(self, source: _Source, file: Path, local: bool, keep: bool) -> tuple[str, float]:
        """Where the input is from now on, and how many seconds it lasts."""
        ours = self._storage.key_of(source.address)
        try:
            if ours is not None:
                await self._storage.fetch_to(ours, file)
            elif source.address.startswith("data:"):
                content = _data(source.address)
                if len(content) > source.mark.limit:
                    raise Unreadable(f"it is larger than {source.mark.limit // 1_000_000} MB")
                file.write_bytes(content)
            else:
                await self._fetcher.fetch(source.address, file, limit=source.mark.limit)
            measured = await self._decoder.measure(file)
        except FetchFailed as error:
            raise Invalid(Fault(source.field, f"could not be fetched: {error.message}", "input_unreachable")) from error
        except FileNotFoundError as error:
            raise Invalid(Fault(source.field, "is a link of ours that has expired", "input_unreachable")) from error
        except Unreadable as error:
            raise Invalid(Fault(source.field, f"is not usable: {error}", "input_unreadable")) from error
        if measured.kind not in (source.mark.media, source.mark.otherwise):
            allowed = " or ".join(KINDS[kind] for kind in (source.mark.media, source.mark.otherwise) if kind)
            raise Invalid(Fault(source.field, f"must be {allowed}", "input_unreadable"))
        seconds = measured.seconds or 0
        _check_length(source, seconds)
        if not keep:
            return source.address, seconds
        if local:
            key, _ = await self._keep(source.field, file, measured, animated=source.mark.animated)
            return key, seconds
        if source.address.startswith("data:"):
            key, _ = await self._keep(source.field, file, measured, clean=False)
            return self._storage.link(key), seconds
        return source.address, seconds

    @property
    def folder(self) -> Path:
        """Where files are while they are taken in."""
        return self._folder

    async def keep_upload(self, file: Path) -> tuple[str, Measured]:
        """Keeps a file that a client sent; answers its key and what it is. Raises Invalid."""
        try:
            measured = await self._decoder.measure(file)
        except Unreadable as error:
            raise Invalid(Fault("file", f"is not usable: {error}", "input_unreadable")) from error
        return await self._keep("file", file, measured, clean=False)

    async def _keep(
        self, field: str, file: Path, measured: Measured, *, clean: bool = True, animated: bool = False
    ) -> tuple[str, Measured]:
        """Copies an input to our storage; answers its key and what is there. FFmpeg only ever sees pictures made clean.

        No picture is kept as it was sent: it may tell where it was taken, or be a page or a program as well.
        """
        if measured.kind == "image":
            cleaned = file.with_suffix(".png" if clean else f".{measured.extension}")
            decoder = self._decoder
            cleaning = decoder.clean_animation if animated else decoder.clean_picture
            renewed = cleaning if clean else decoder.renew_picture
            try:
                measured = await renewed(file, cleaned)
            except Unreadable as error:
                raise Invalid(Fault(field, f"is not usable: {error}", "input_unreadable")) from error
            file = cleaned
        month = datetime.fromtimestamp(self._clock.now() / 1000, UTC)
        folder = f"inputs/{month:%Y/%m}"
        # Links need no key. Were the mark that of the content alone, whoever has a file could ask whether anybody here
        # has used it; the month is in it too, so that a link of this month tells nothing of the others.
        mark = hmac.new(self._secret, f"{folder} {await asyncio.to_thread(_digest, file)}".encode(), hashlib.sha256)
        key = f"{folder}/{mark.hexdigest()}.{measured.extension}"
        await self._storage.put(key, file, measured.content_type)
        return key, measured


def _check_length(source: _Source, seconds: float) -> None:
    mark = source.mark
    if (mark.shortest or 0) <= seconds <= (mark.longest or seconds):
        return
    allowed = f"{mark.shortest or 0:g} to {mark.longest:g}" if mark.longest else f"at least {mark.shortest:g}"
    raise Invalid(Fault(source.field, f"must last {allowed} seconds, not {seconds:.1f}", "input_length"))


def _sources(request: Generation) -> list[_Source]:
    sources: list[_Source] = []
    for name, mark in request.inputs().items():
        value = getattr(request, name)
        addresses: list[str] = [value] if isinstance(value, str) else list(value or [])
        sources.extend(_Source(name, address, mark) for address in dict.fromkeys(addresses))
    return sources


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _data(address: str) -> bytes:
    head, comma, body = address.partition(",")
    if not comma:
        raise Unreadable("a data URL needs a comma before its content")
    try:
        return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
    except binascii.Error as error:
        raise Unreadable("its base64 is broken") from error
