"""Where results and inputs lie: a folder on this machine, or a bucket that several nodes share."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore, from_url

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore

# What a browser may show under our name. A file with any other extension is offered as a download only:
# a page or an SVG among the results would run its scripts as ours.
CONTENT_TYPES: Mapping[str, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "mp4": "video/mp4",
    "m4v": "video/x-m4v",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "avi": "video/x-msvideo",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
}
UNKNOWN_TYPE = "application/octet-stream"

_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"
_KEY = re.compile(rf"(?=.{{1,512}}$){_PART}(?:/{_PART})*")
_CHUNK = 256 * 1024
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Stat:
    """One stored file. `etag` has no quotes; `modified` is in milliseconds since 1970."""

    key: str
    size: int
    content_type: str
    etag: str
    modified: int


def key_for(now: int, job_id: str, name: str, extension: str) -> str:
    """The key of a job's file, by the month of `now` (milliseconds since 1970). Raises ValueError."""
    month = datetime.fromtimestamp(now / 1000, UTC)
    return checked(f"{month:%Y}/{month:%m}/{job_id}/{name}.{extension}")


def checked(key: str) -> str:
    """The key, if it can be one: no empty, hidden or climbing parts, plain letters. Raises ValueError."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of a stored file")
    return key


def content_type_of(key: str) -> str:
    """What a file is served as, by its extension alone."""
    return CONTENT_TYPES.get(key.rpartition(".")[2].lower(), UNKNOWN_TYPE)


class Storage:
    """Files by key. `url` is `file:///folder` or `s3://bucket/prefix`; S3 credentials come from the
    environment, as its own tools read them. Links start with `public_url`, which may be known only later.

    Stored files never change: a key is written once. Every method that takes a key raises ValueError for
    what can be none, except `head` and `local_path`, which know no such file.
    """

    def __init__(self, url: str, public_url: Callable[[], str] | str) -> None:
        self._public_url = public_url
        self._folder: Path | None = None
        self._store: ObjectStore
        parts = urlsplit(url)
        if parts.scheme == "file":
            self._folder = Path(unquote(parts.path)).absolute()
            self._store = LocalStore(prefix=self._folder, mkdir=True, automatic_cleanup=True)
        else:
            self._store = from_url(url)

    async def put(self, key: str, path: Path, content_type: str | None = None) -> int:
        """Stores the file at `path`, whole or not at all, and returns its bytes once they are on disk."""
        content_type = content_type or content_type_of(key)
        if self._folder is None:
            attributes: dict[str, str] = {"Content-Type": content_type, "Cache-Control": _FOREVER}
            await obstore.put_async(self._store, checked(key), path, attributes=attributes)
        else:  # a folder keeps no attributes; the extension says the type
            await obstore.put_async(self._store, checked(key), path)
            await asyncio.to_thread(_flush, self._folder / key)
        return await asyncio.to_thread(os.path.getsize, path)

    async def ready(self) -> None:
        """Asks the storage for something small; raises whatever keeps it from answering."""
        async for _ in self.listing("inputs/ready"):
            break

    async def head(self, key: str) -> Stat | None:
        """What is stored under the key, or None."""
        if not _KEY.fullmatch(key):
            return None
        try:
            if self._folder is not None:
                return await asyncio.to_thread(_stat_file, self._folder / key, key)
            return _stat(await obstore.head_async(self._store, key))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def local_path(self, key: str) -> Path | None:
        """The file itself, where it lies on this machine; it is to be read only."""
        if self._folder is None or not _KEY.fullmatch(key):
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
        result = await obstore.get_async(self._store, checked(key), options=options)
        async for chunk in result.stream(min_chunk_size=_CHUNK):
            yield chunk

    async def delete(self, keys: Iterable[str]) -> None:
        """Removes files; those that are not there are none to remove."""
        unwanted = [checked(key) for key in keys]
        if self._folder is None:
            await obstore.delete_async(self._store, unwanted)
            return
        for key in unwanted:  # one by one, because a folder stops at the first that is missing
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)

    async def listing(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Every stored file below a folder such as `2026/11`, in no order."""
        # Its overload for Arrow tables is typed by a package that we do not use.
        found_files = obstore.list(self._store, prefix or None, chunk_size=500)  # pyright: ignore[reportUnknownMemberType]
        async for batch in found_files:
            for found in batch:
                yield _stat(found)

    def link(self, key: str) -> str:
        """The absolute address under which clients fetch the file."""
        return self._prefix() + checked(key)

    def key_of(self, url: str) -> str | None:
        """The key of a file that `link` gave the address of; None for any other address."""
        prefix = self._prefix()
        key = url.removeprefix(prefix)
        return key if url.startswith(prefix) and _KEY.fullmatch(key) else None

    def _prefix(self) -> str:
        public_url = self._public_url if isinstance(self._public_url, str) else self._public_url()
        return public_url.rstrip("/") + "/media/"


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


def _flush(path: Path) -> None:
    """Waits until the file and its name are on disk: no finished job loses its result to a power cut."""
    for part in (path, path.parent):
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
