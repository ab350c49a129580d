"""Child processes and threads that end when their caller does, and files that appear only when complete."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from imageio_ffmpeg import get_ffmpeg_exe  # pyright: ignore[reportMissingTypeStubs] (it has none)

Result = TypeVar("Result")

LAST_WORDS = 2000


class StudioError(Exception):
    """A picture, film or song could not be made; the message ends with the child's last words."""


def ffmpeg() -> str:
    """Where FFmpeg is: a current one comes with imageio-ffmpeg."""
    return get_ffmpeg_exe()


async def run(arguments: Sequence[str | Path], stdin: bytes = b"") -> None:
    """Runs a program without a shell and waits for its end. Cancelling kills it.

    Raises StudioError where it fails, with the end of what it wrote to stderr.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await process.communicate(stdin or None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = errors[-LAST_WORDS:].decode(errors="replace").strip()
        raise StudioError(f"{Path(arguments[0]).name} ended with code {process.returncode}: {said}")


async def threaded(function: Callable[[], Result]) -> Result:
    """Runs the function in a thread. A cancelled caller still waits for it: a thread cannot be stopped."""
    work = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


@asynccontextmanager
async def workshop(path: Path) -> AsyncGenerator[Path, None]:
    """A folder beside `path` for what is needed on the way; it goes in any case.

    The result is made under `path.name` in it, and takes its place at the end.
    """
    folder = Path(tempfile.mkdtemp(prefix=".studio-", dir=path.parent))
    try:
        yield folder
        await threaded(lambda: (folder / path.name).replace(path))
    finally:
        await threaded(lambda: shutil.rmtree(folder, ignore_errors=True))
