"""Results are ours: what a provider or this server made is checked and copied to our storage before a job is
completed, and links point there."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
from pydantic import JsonValue

from phaya.addresses import Fetcher, FetchFailed
from phaya.calls import (
    Download,
    Finished,
    GeminiSpeech,
    LastFrame,
    LocalCall,
    MergeAudios,
    MergeAudioVideo,
    MergeVideos,
    OverlayGif,
    StillToVideo,
    Subtitle,
    Transcribe,
)
from phaya.catalog.answers import Kept
from phaya.catalog.service import Generation
from phaya.credits import Credits
from phaya.decoding.decoder import Decoder
from phaya.decoding.formats import Unreadable
from phaya.errors import Overloaded, StorageDown
from phaya.folders import fresh_folder
from phaya.jobs import Job
from phaya.links import key_for
from phaya.outages import down
from phaya.providers import Local, Report
from phaya.storage import TRIAL_BYTES, Storage
from phaya.tariff import Tariff, read_rates, standard
from phaya.ways import unpack_ways

LARGEST = 2_000_000_000
"""Bytes of one result at the most."""
KEEP_SECONDS = 150
AWAY = "our storage of files does not answer"
NO_ROOM = "it cannot be written to our disk"
CHUNK = 500
DISCARD_SECONDS = 5
"""How long work that failed waits for what it stored to be deleted; the sweep finds the rest."""


class Unkept(Exception):
    """A result could not be fetched or stored, or is not what was asked for. `hopeless`: trying again is of no use;
    `ours`: our storage is away, so that it is worth waiting for."""

    def __init__(self, message: str, *, hopeless: bool = False, ours: bool = False) -> None:
        super().__init__(message)
        self.hopeless = hopeless
        self.ours = ours


class Results:
    """Brings results home and tells where they are."""

    def __init__(
        self, storage: Storage, decoder: Decoder, fetcher: Fetcher, folder: Path, tariff: Tariff | None = None
    ) -> None:
        """`folder` holds work in progress; it may be emptied while no process runs."""
        self.storage = storage
        self._decoder = decoder
        self._fetcher = fetcher
        self._folder = folder
        self._tariff = tariff or standard()
        self._full = False  # whether something could not be written to `folder`, and nobody has tried since
        folder.mkdir(parents=True, exist_ok=True)

    async def ready(self) -> None:
        """Sees whether results can be kept: asks the storage and, where something did not fit on our disk on the way
        there, tries to write. Raises StorageDown."""
        await self.storage.ready()
        if self._full:
            try:
                await asyncio.to_thread(_try_to_write, self._folder)
            except OSError as error:
                raise down(error) from error
            self._full = False

    @asynccontextmanager
    async def _ours(self) -> AsyncGenerator[None]:
        """What our storage, or the disk on the way there, cannot do is Unkept for a while, and told to the operator."""
        try:
            yield
        except StorageDown as error:
            raise Unkept(AWAY, ours=True) from error
        except OSError as error:
            self._full = True
            down(error)
            raise Unkept(NO_ROOM, ours=True) from error

    @staticmethod
    def pack(found: Finished) -> str:
        """What a provider made, as text for the job's row."""
        return orjson.dumps({"urls": list(found.urls), "facts": dict(found.facts)}).decode()

    async def keep(self, job: Job) -> str:
        """Copies a finished job's files to our storage; answers the row's `results`. Raises Unkept."""
        assert job.outcome is not None
        outcome = orjson.loads(job.outcome)
        async with self._ours(), fresh_folder(self._folder) as folder:
            try:
                async with asyncio.timeout(KEEP_SECONDS):
                    files: list[Path] = []
                    for number, url in enumerate(outcome["urls"], 1):
                        file = folder / f"{number}"
                        await self._fetcher.fetch(url, file, limit=LARGEST)
                        files.append(file)
                    return await self._store(job, files, outcome["facts"])
            except FetchFailed as error:
                raise Unkept(error.message) from error
            except TimeoutError as error:
                raise Unkept("it took too long to fetch") from error

    async def make(self, job: Job, call: LocalCall, provider: Local, report: Report) -> tuple[str, str | None]:
        """Does local work and keeps what it made; answers the row's `results` and what the provider charged us.

        Raises Rejected, Unavailable (from the provider) or Unkept.
        """
        async with self._ours(), fresh_folder(self._folder) as folder:
            inputs: dict[str, Path] = {}
            for number, key in enumerate(dict.fromkeys(_inputs(call))):
                inputs[key] = folder / f"input{number}"
                await self.storage.fetch_to(key, inputs[key])
            made = await provider.run(call, inputs, folder, report)
            return await self._store(job, made.files, made.facts), made.spent

    async def _store(self, job: Job, files: Sequence[Path], facts: Mapping[str, JsonValue]) -> str:
        service = self._tariff.services.get(job.service)
        if service is None:
            raise Unkept("the service is not offered any more", hopeless=True)
        _check_complete(service, len(files), facts)
        stored: list[dict[str, JsonValue]] = []
        sound: str | None = None
        begun: list[str] = []

        async def put(name: str, extension: str, file: Path, content_type: str) -> tuple[str, int]:
            # Each claim raises the row's revision, so nobody writes over the files of the claim that counts.
            key = key_for(job.created_at, job.id, f"{job.rev}-{name}", extension)
            begun.append(key)
            return key, await self.storage.put(key, file, content_type)

        try:
            for number, file in enumerate(files, 1):
                try:
                    found = await self._decoder.measure(file)
                except Overloaded as error:
                    raise Unkept("nothing can be decoded at the moment", ours=True) from error
                except Unreadable as error:
                    raise Unkept(f"the provider's file cannot be read ({error})", hopeless=service.local) from error
                if not service.answer.admits(found.kind):
                    raise Unkept(f"the provider sent a file of kind {found.kind}", hopeless=service.local)
                key, size = await put(str(number), found.extension, file, found.content_type)
                stored.append({"key": key, "type": found.content_type, "bytes": size})
                if number == 1 and service.remembered(job.request).wants_sound_track():
                    track = file.with_suffix(".m4a")
                    if await self._decoder.sound_track(file, track):
                        sound, _ = await put("sound", "m4a", track, "audio/mp4")
        except BaseException:
            await self._discard(begun)
            raise
        return orjson.dumps({"files": stored, "sound": sound, "facts": dict(facts)}).decode()

    async def discard(self, kept: str) -> None:
        """Deletes what `keep` or `make` stored for a claim that turned out to be lost."""
        await self._discard(keys_of(kept))

    async def _discard(self, keys: Sequence[str]) -> None:
        with suppress(StorageDown, TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                await self.storage.delete(keys)

    def cost(self, job: Job, kept: str) -> Credits:
        """What a finished job costs by what came of it, at the rates of its creation; never more than was held.

        Where another service stood in, the price that the user saw stays: the facts are not of its kind.
        """
        service = self._tariff.services[job.service]
        facts = orjson.loads(kept)["facts"]
        ways = unpack_ways(job.ways)
        if service.cost is Generation.cost or (ways and ways.current != job.service):
            return job.price
        rates = read_rates(job.rates) if job.rates else self._tariff.rates(job.service)
        return min(job.price, service.remembered(job.request).cost(rates, facts))

    def told(self, job: Job) -> Kept | None:
        """A job's results as links, or None where there are none (yet, or any more)."""
        if job.results is None:
            return None
        results = orjson.loads(job.results)
        links = [self.storage.link(file["key"], job.ended_at) for file in results["files"]]
        kinds = [file["type"].partition("/")[0] for file in results["files"]]
        sound = results["sound"] and self.storage.link(results["sound"], job.ended_at)
        return Kept(links, sound, results["facts"], kinds)

    async def forget(self, old: Sequence[Job]) -> None:
        """Deletes the files of some jobs; those that are gone already are none to delete."""
        await self.storage.delete([key for job in old for key in keys_of(job.results)])

    async def forget_inputs(self, before: int) -> None:
        """Deletes the copies of inputs that were last taken in before a moment, as many at a time as are listed."""
        old: list[str] = []
        async for stat in self.storage.listing("inputs"):
            if stat.modified < before:
                old.append(stat.key)
            if len(old) == CHUNK:
                await self.storage.delete(old)
                old.clear()
        await self.storage.delete(old)


def _try_to_write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(TRIAL_BYTES))


def keys_of(results: str | None) -> list[str]:
    """The keys of the files that a row's `results` name."""
    told = orjson.loads(results or "{}")
    return [*(file["key"] for file in told.get("files", [])), *([told["sound"]] if told.get("sound") else [])]


def size_of(results: str) -> int:
    """How many bytes the files have that a row's `results` name."""
    return sum(int(file["bytes"]) for file in orjson.loads(results)["files"])


def _check_complete(service: type[Generation], files: int, facts: Mapping[str, JsonValue]) -> None:
    """Raises Unkept for a success that holds nothing of what the service sells."""
    if service.answer.media != "text":
        if not files:
            raise Unkept("the provider finished without a file", hopeless=True)
    elif None in service.answer.spell(Kept((), None, facts)).values():
        raise Unkept("the provider finished without an answer", hopeless=True)


def _inputs(call: LocalCall) -> Sequence[str]:
    match call:
        case StillToVideo():
            return [call.image, *([call.music] if call.music else [])]
        case MergeAudioVideo():
            return [call.video, call.audio]
        case MergeVideos():
            return call.videos
        case MergeAudios():
            return call.audios
        case OverlayGif():
            return [call.video, call.gif]
        case LastFrame():
            return [call.video]
        case Transcribe() | Subtitle():
            return [call.media]
        case GeminiSpeech() | Download():
            return []
