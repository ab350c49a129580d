"""Where results and inputs lie: a folder on this machine, or a bucket that several nodes share."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from phaya.clock import Clock
from phaya.errors import StorageDown
from phaya.links import UNKNOWN_TYPE, Kind, Links, checked, content_type_of, is_key
from phaya.outages import CHECK_SECONDS, PATIENCE, BadStorage, answering, down, failures, why
from phaya.settings import Settings

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore, RetryConfig, S3Store

_CHUNK = 256 * 1024
_BATCH = 500
"""Files that are listed at a time."""
_FOREVER = "public, max-age=31536000, immutable"
_TRIAL = "inputs/trial.bin"
_EXAMPLES = "file:///folder or s3://bucket/prefix"

SLOWEST = 1_000_000
"""Bytes a second that storing a file is waited for at the least."""
TRIAL_BYTES = 4 << 20
"""What must fit into a storage that had no room, before it is said to be ready again."""
PARTS = 3
"""Parts of 5 MB of one file that are sent at a time; each is held in memory."""

# Beside what obstore reads from the environment: each read is bounded, not the whole transfer of a large file.
_CONFIG: Any = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "2h"}
_RETRY: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}


@dataclass(frozen=True)
class Stat:
    """One stored file. `etag` has no quotes; `modified` is in milliseconds since 1970."""

    key: str
    size: int
    content_type: str
    etag: str
    modified: int


class Storage:
    """Files by key. `url` is `file:///folder` or `s3://bucket/prefix`; S3 credentials come from the
    environment, as obstore reads them.

    Stored files never change: a key is written once. Every method that takes a key raises ValueError for
    what can be none, except `head` and `local_path`, which know no such file. What cannot be told because the
    storage does not answer, or not in time, is StorageDown, never a missing file.
    """

    def __init__(
        self,
        url: str,
        served: Callable[[], str] | str,
        links: Kind = "served",
        *,
        public: str | None = None,
        days: float = 14,
        clock: Clock | None = None,
    ) -> None:
        """`served`, `public` and `days` are those of `Links`. Raises BadStorage."""
        self._folder: Path | None = None
        self._bucket = ""
        self._refused = False  # whether a file could not be stored, and none was since
        sign: Callable[[str, timedelta], str] | None = None
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise BadStorage(f"PHAYA_STORAGE_URL must have no ? and no #, as in {_EXAMPLES}.")
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.strip("/"):
            self._folder = Path(unquote(parts.path)).absolute()
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadStorage(f"PHAYA_STORAGE_URL: the folder {self._folder} cannot be made.") from error
        elif parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
            self._bucket = parts.netloc
            from obstore.store import S3Store

            store = S3Store(
                self._bucket, prefix=unquote(parts.path).strip("/") or None, config=_CONFIG, retry_config=_RETRY
            )
            self._store = store
            sign = partial(_sign, store)
        else:
            raise BadStorage(f"PHAYA_STORAGE_URL must be like {_EXAMPLES}; this is neither.")
        if links == "signed" and sign is None:
            raise BadStorage("PHAYA_STORAGE_LINKS=signed needs a bucket: set PHAYA_STORAGE_URL=s3://bucket/prefix.")
        if links == "public" and not public:
            raise BadStorage("PHAYA_STORAGE_LINKS=public needs PHAYA_STORAGE_PUBLIC_URL, the address of the files.")
        self._links = Links(served, links, public=public, sign=sign, days=days, clock=clock)

    @cached_property
    def _store(self) -> ObjectStore:
        """The folder; obstore is loaded with the first file."""
        from obstore.store import LocalStore

        return LocalStore(prefix=self._folder, automatic_cleanup=True)

    async def check(self) -> None:
        """Asks at the start whether files can be listed, stored and linked here. Raises BadStorage."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                if self._folder is not None:
                    if not await asyncio.to_thread(os.access, self._folder, os.R_OK | os.W_OK | os.X_OK):
                        raise BadStorage(f"PHAYA_STORAGE_URL: the folder {self._folder} cannot be read and written.")
                    return
                async for _ in self._found("inputs/ready"):
                    break
                await _obstore().put_async(self._store, "inputs/start.txt", b"Phaya can write here.\n")
                # In a thread, because signing may ask the machine's role for its credentials first.
                await asyncio.to_thread(self._links.learn)
        except (*failures(), StorageDown) as error:
            raise BadStorage(f"PHAYA_STORAGE_URL: the bucket {self._bucket} {why(error)}.") from error

    async def put(self, key: str, path: Path, content_type: str | None = None) -> int:
        """Stores the file at `path`, whole or not at all, and returns its bytes once they are on disk."""
        content_type = content_type or content_type_of(checked(key))
        size = await asyncio.to_thread(os.path.getsize, path)
        try:
            async with answering(PATIENCE + size / SLOWEST, whole=True):
                if self._folder is None:
                    attributes = {"Content-Type": content_type, "Cache-Control": _FOREVER}
                    if content_type == UNKNOWN_TYPE:
                        attributes["Content-Disposition"] = f'attachment; filename="{key.rpartition("/")[2]}"'
                    await _obstore().put_async(self._store, key, path, attributes=attributes, max_concurrency=PARTS)
                else:  # a folder keeps no attributes; the extension says the type
                    await _obstore().put_async(self._store, key, path)
                    await asyncio.to_thread(_flush, self._folder / key)
        except StorageDown:
            self._refused = True
            raise
        self._refused = False
        return size

    async def ready(self) -> None:
        """Asks the storage for something small and, where the last file could not be stored, tries to store one.
        Raises StorageDown."""
        await self._there()
        if self._refused:
            async with answering(CHECK_SECONDS, whole=True):
                await _obstore().put_async(self._store, _TRIAL, bytes(TRIAL_BYTES))
            await self.delete([_TRIAL])
            self._refused = False

    async def _there(self) -> None:
        async with answering(CHECK_SECONDS, whole=True):
            if self._folder is not None:
                await asyncio.to_thread(os.stat, self._folder)
            else:
                await self._batch(self._found("inputs/ready"))

    async def head(self, key: str) -> Stat | None:
        """What is stored under the key, or None."""
        if not is_key(key):
            return None
        try:
            async with answering():
                if self._folder is not None:
                    return await asyncio.to_thread(_stat_file, self._folder / key, key)
                return _stat(await _obstore().head_async(self._store, key))
        except (FileNotFoundError, NotADirectoryError):
            await self._there()  # a bucket that is gone knows no file, either
            return None

    def local_path(self, key: str) -> Path | None:
        """The file itself, where it lies on this machine; it is to be read only."""
        if self._folder is None or not is_key(key):
            return None
        path = self._folder / key
        return path if path.is_file() else None

    async def fetch_to(self, key: str, path: Path) -> int:
        """Copies a stored file to `path` and returns its bytes. Raises FileNotFoundError."""
        checked(key)
        if self._folder is not None:
            await asyncio.to_thread(shutil.copyfile, self._folder / key, path)
        else:
            with await asyncio.to_thread(path.open, "wb") as file:
                async for chunk in self.stream(key):
                    await asyncio.to_thread(file.write, chunk)
        return await asyncio.to_thread(os.path.getsize, path)

    async def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to and without `end`. Raises FileNotFoundError."""
        if end is not None and end <= start:
            return
        options: GetOptions = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        try:
            async with answering():
                result = await _obstore().get_async(self._store, checked(key), options=options)
        except FileNotFoundError:
            await self._there()
            raise
        chunks = aiter(result.stream(min_chunk_size=_CHUNK))
        while True:
            async with answering(whole=True):
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
            yield chunk

    async def begun(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The same once its first bytes are here: what is missing or down is known before an answer begins."""
        chunks = self.stream(key, start, end)
        first = await anext(chunks, None)
        return _chain(first, chunks)

    async def delete(self, keys: Iterable[str]) -> None:
        """Removes files; those that are not there are none to remove."""
        unwanted = [checked(key) for key in keys]
        if self._folder is None:
            for number in range(0, len(unwanted), 1000):  # what S3 takes at a time
                async with answering(whole=True):
                    await _obstore().delete_async(self._store, unwanted[number : number + 1000])
            return
        for key in unwanted:  # one by one, because a folder stops at the first that is missing
            with suppress(FileNotFoundError):
                async with answering():
                    await _obstore().delete_async(self._store, key)

    async def folders(self, prefix: str = "") -> list[str]:
        """The folders right below one, such as `2026` or `2026/11`."""
        async with answering(whole=True):
            if self._folder is not None:
                return await asyncio.to_thread(_below, self._folder, prefix)
            found = await _obstore().list_with_delimiter_async(self._store, prefix or None)  # pyright: ignore[reportUnknownMemberType] - as in `_found`
        return sorted(found["common_prefixes"])

    async def listing(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Every stored file below a folder such as `2026/11`, in no order."""
        if self._folder is not None:
            await self._there()
            files = _walk(self._folder, prefix)
            while some := await self._some(files):
                for file in some:
                    yield file
            return
        batches = self._found(prefix)
        while batch := await self._batch(batches):
            for found in batch:
                yield _stat(found)

    def link(self, key: str, since: int | None = None) -> str:
        """The absolute address of a file that is kept since a moment (now, if none is given); see `Links`."""
        return self._links.link(key, since)

    def key_of(self, url: str) -> str | None:
        """The key of a file that `link` gave the address of; None for any other address."""
        return self._links.key_of(url)

    def _found(self, prefix: str) -> AsyncIterator[Sequence[ObjectMeta]]:
        # Its overload for Arrow tables is typed by a package that we do not use.
        return aiter(_obstore().list(self._store, prefix or None, chunk_size=_BATCH))  # pyright: ignore[reportUnknownMemberType]

    @staticmethod
    async def _some(files: Iterator[Stat]) -> Sequence[Stat]:
        async with answering(whole=True):
            return await asyncio.to_thread(list, islice(files, _BATCH))

    @staticmethod
    async def _batch(batches: AsyncIterator[Sequence[ObjectMeta]]) -> Sequence[ObjectMeta]:
        """The next files of a listing; none at its end."""
        async with answering(whole=True):
            try:
                return await anext(batches)
            except StopAsyncIteration:
                return ()


def storage_of(settings: Settings, public_url: str, clock: Clock | None = None) -> Storage:
    """The storage that the settings name, not yet asked for anything. Raises BadStorage."""
    return Storage(
        settings.storage_url or (settings.data_dir / "media").resolve().as_uri(),
        public_url,
        settings.storage_links,
        public=settings.storage_public_url,
        days=settings.media_days,
        clock=clock,
    )


def _obstore():  # type: ignore[no-untyped-def] - a module
    """Loaded with the first file: 6 MB, which a node with a folder does not need before."""
    import obstore

    return obstore


def _sign(store: S3Store, key: str, lasts: timedelta) -> str:
    try:
        return _obstore().sign(store, "GET", key, lasts)
    except failures() as error:
        raise down(error) from error


async def _chain(first: bytes | None, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first
    async for chunk in rest:
        yield chunk


def _stat(found: ObjectMeta) -> Stat:
    modified = found["last_modified"]
    etag = (found["e_tag"] or "").removeprefix("W/").strip('"')
    return Stat(
        key=found["path"],
        size=found["size"],
        content_type=content_type_of(found["path"]),
        etag=etag or f"{int(modified.timestamp() * 1000):x}-{found['size']:x}",
        modified=int(modified.timestamp() * 1000),
    )


def _stat_file(path: Path, key: str) -> Stat:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(key)
    etag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
    return Stat(key, found.st_size, content_type_of(key), etag, found.st_mtime_ns // 1_000_000)


def _below(folder: Path, prefix: str) -> list[str]:
    try:
        with os.scandir(folder / prefix) as found:
            return sorted(f"{prefix}/{one.name}".lstrip("/") for one in found if one.is_dir())
    except FileNotFoundError:
        folder.stat()  # nothing is stored there, or there is no folder at all
        return []


def _walk(folder: Path, prefix: str) -> Iterator[Stat]:
    """Every whole file below a prefix; obstore marks with a # what it has not written to its end."""
    for parent, _, names in os.walk(folder / prefix, onerror=_unless_gone, followlinks=True):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):  # deleted meanwhile
                if "#" not in name:
                    yield _stat_file(path, path.relative_to(folder).as_posix())


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _flush(path: Path) -> None:
    """Waits until the file and its name are on disk: no finished job loses its result to a power cut."""
    for part in (path, path.parent):
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
