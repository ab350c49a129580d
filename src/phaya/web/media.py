"""Files of clients' own, and how busy the place is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from python_multipart.exceptions import MultipartParseError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from phaya import allowances, jobs
from phaya.clock import DAY
from phaya.errors import Fault, Invalid, TooLarge
from phaya.folders import fresh_folder
from phaya.outages import on_our_disk
from phaya.system import System
from phaya.web.answers import Json
from phaya.web.caller import Caller, Phaya, Polling, Requesting
from phaya.web.openapi import plain_docs
from phaya.web.paths import API

ENVELOPE = 64_000
"""Bytes of a multipart body beside the file."""
MOST_FIELDS = 20
FRESH = 1.0
"""Seconds for which the counts of the queue are good."""
_CHUNK = 1 << 20

_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


def routes() -> APIRouter:
    """Upload and queue, below `media/`."""
    router = APIRouter(prefix=API, tags=["Media"])
    tally = _Tally()

    @router.post("/media/upload", operation_id="media_upload", openapi_extra=_UPLOAD, responses=plain_docs())
    async def upload(request: Request, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Keeps a picture, film or sound for a while; its `url` is good as any input."""
        caller.need("media/upload", "generate")
        return Json(await keep_file(request, phaya, caller))

    @router.get("/media/queue/stats", operation_id="media_queue_stats", responses=plain_docs())
    async def stats(phaya: Phaya, caller: Polling) -> Json:  # pyright: ignore[reportUnusedFunction]
        """How many jobs of all accounts wait and are worked on, by lane: `render` is done on this server."""
        found = await tally.counts(phaya)
        lanes = {lane: {"queued": 0, "processing": 0} | counts for lane, counts in found.items()}
        total = {state: sum(counts[state] for counts in lanes.values()) for state in ("queued", "processing")}
        return Json({"success": True, **total, "lanes": lanes})

    return router


async def keep_file(request: Request, phaya: System, caller: Caller) -> dict[str, object]:
    """Keeps the file of a multipart form and tells what it is. Raises Invalid, TooLarge, or StorageFull where the
    caller's account has no room for it."""
    workflow = phaya.workflow
    async with on_our_disk(), fresh_folder(phaya.intake.folder) as folder:
        file = folder / "upload"
        await _receive(request, file, phaya.settings.upload_bytes)
        size, now = file.stat().st_size, phaya.clock.now()
        await phaya.database.write(
            allowances.take_in, caller.account_id, size, workflow.allowance, now, workflow.media_days
        )  # fmt: skip
        key, found = await phaya.intake.keep_upload(file)
    return {
        "success": True,
        "url": phaya.results.storage.link(key),
        "media": found.kind,
        "content_type": found.content_type,
        "bytes": found.bytes,
        "width": found.width,
        "height": found.height,
        "seconds": round(found.seconds, 3),
        "expires_at": phaya.written(phaya.clock.now() + int(phaya.settings.media_days * DAY)),
    }


class _Tally:
    """The counts of the queue, taken once in a while however many ask: counting reads every open job."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, int]] = {}
        self._fresh_until = 0.0
        self._counting = asyncio.Lock()

    async def counts(self, phaya: System) -> dict[str, dict[str, int]]:
        """Jobs that have not ended, by lane and state."""
        async with self._counting:
            if time.monotonic() >= self._fresh_until:
                self._found = await phaya.database.read(jobs.count_busy)
                self._fresh_until = time.monotonic() + FRESH
            return self._found


async def _receive(request: Request, file: Path, largest: int) -> None:
    """Writes the form's file to disk. Raises TooLarge, or Invalid where there is none."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Invalid(Fault("file", "must be sent as multipart/form-data"))

    async def bounded() -> AsyncGenerator[bytes]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > largest + ENVELOPE:
                raise _too_large(largest)
            yield chunk

    try:
        form = await MultiPartParser(request.headers, bounded(), max_files=1, max_fields=MOST_FIELDS).parse()
    except (MultiPartException, MultipartParseError, KeyError) as error:
        raise Invalid(Fault("body", f"is no readable multipart form: {error}", "multipart_invalid")) from None
    try:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise Invalid(Fault("file", "is required, as a file", "missing"))
        if (sent.size or 0) > largest:
            raise _too_large(largest)
        await run_in_threadpool(_copy, sent, file)
    finally:
        await form.close()


def _too_large(largest: int) -> TooLarge:
    return TooLarge(f"The file has more than {largest / 1e6:g} MB.")


def _copy(sent: UploadFile, file: Path) -> None:
    sent.file.seek(0)
    with file.open("wb") as target:
        while chunk := sent.file.read(_CHUNK):
            target.write(chunk)
