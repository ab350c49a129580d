"""Real files in place of the example.com links of the catalog's examples."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path
from typing import Any

import orjson
from imageio_ffmpeg import get_ffmpeg_exe  # pyright: ignore[reportMissingTypeStubs]
from PIL import Image

from phaya.storage import Storage

KINDS = {"png": "image/png", "gif": "image/gif", "mp4": "video/mp4", "mp3": "audio/mpeg"}

_FILE = re.compile(r"https://example\.com/[\w./-]+\.(\w+)")


async def fill(storage: Storage) -> None:
    """Puts a picture, a film and a sound, each of three and a half seconds, into a Phaya's storage."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix, kind in KINDS.items():
            file = Path(folder) / f"a.{suffix}"
            await _make(file)
            await storage.put(f"inputs/examples/a.{suffix}", file, kind)


async def _make(file: Path) -> None:
    if file.suffix in (".png", ".gif"):
        Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(file)
        return
    film = ("-f", "lavfi", "-i", "testsrc=s=640x360:r=24:d=3.5") if file.suffix == ".mp4" else ()
    sound = ("-f", "lavfi", "-i", "sine=f=330:d=3.5")
    process = await asyncio.create_subprocess_exec(
        get_ffmpeg_exe(), "-v", "error", *film, *sound, "-pix_fmt", "yuv420p", str(file)
    )
    assert await process.wait() == 0


def real(storage: Storage, text: str) -> str:
    """A text with its example files exchanged for ours."""
    return _FILE.sub(lambda found: storage.link(f"inputs/examples/a.{found[1]}"), text)


def real_example(storage: Storage, example: dict[str, Any]) -> dict[str, Any]:
    """A service's example with its files exchanged for ours."""
    return orjson.loads(real(storage, orjson.dumps(example).decode()))
