"""What keeps the storage from answering: every wait for it is bounded, and every failure has one name."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog

from phaya.errors import StorageDown
from phaya.metrics import STORAGE_FAILURES

log = structlog.get_logger()

PATIENCE = 30
"""Seconds that the storage may take for one small thing, a chunk of a file for instance."""
CHECK_SECONDS = 15


class BadStorage(Exception):
    """The settings of the storage have a mistake, or nobody answers there. The message is one sentence."""


def failures() -> tuple[type[Exception], ...]:
    """What is raised where a storage does not answer. obstore's own words are known only once it was loaded."""
    exceptions = sys.modules.get("obstore.exceptions")
    return (OSError,) if exceptions is None else (OSError, exceptions.BaseError)  # a time-out is an OSError


@asynccontextmanager
async def answering(seconds: float = PATIENCE, *, whole: bool = False) -> AsyncGenerator[None]:
    """Bounds a wait for the storage, and calls whatever keeps it from answering StorageDown.

    A missing file is told as it is, unless the `whole` storage is asked: then its bucket or folder is what misses.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except (FileNotFoundError, NotADirectoryError) as error:
        if not whole:
            raise
        raise down(error) from error
    except failures() as error:
        raise down(error) from error


@asynccontextmanager
async def on_our_disk() -> AsyncGenerator[None]:
    """Calls whatever our own disk cannot do StorageDown, for files that are on their way into the storage."""
    try:
        yield
    except OSError as error:
        raise down(error) from error


def down(error: Exception) -> StorageDown:
    """Logs what keeps the storage from answering; the caller is told no more than that."""
    STORAGE_FAILURES.inc()
    log.warning("storage.down", detail=_line(error))
    return StorageDown()


def _line(error: BaseException) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__)[:300]


def why(error: BaseException) -> str:
    """What is wrong with a bucket or folder, for whoever set it."""
    told = str(error)
    if "NoSuchBucket" in told or isinstance(error, FileNotFoundError):
        return "does not exist"
    if "169.254." in told:
        return "needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError") or "403 Forbidden" in told:
        return "refuses these credentials, which must be allowed to list, read, write and delete"
    if "builder error" in told:
        return "is at an http address, which needs AWS_ALLOW_HTTP=true"
    if isinstance(error, TimeoutError):
        return f"did not answer within {CHECK_SECONDS} seconds"
    return f"cannot be reached; see AWS_ENDPOINT_URL and AWS_REGION ({_line(error).rpartition(' - ')[2]})"
