"""Folders for work in progress."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def fresh_folder(parent: Path) -> AsyncGenerator[Path]:
    """An empty folder below `parent`, gone with the block. It is made and removed in threads: a slow disk keeps nobody
    else waiting. Raises OSError where it cannot be made."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=parent))
    try:
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
