"""Every example of every reference page runs as it stands; only example.com's files are exchanged for real ones."""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import av
import orjson
import pytest
from imageio_ffmpeg import get_ffmpeg_exe  # pyright: ignore[reportMissingTypeStubs]
from PIL import Image

from conftest import Phaya, running

pytestmark = pytest.mark.anyio

PAGES = sorted((Path(__file__).parents[1] / "docs/services").glob("*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])

_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"https://example\.com/[\w./-]+\.(\w+)")


def blocks(page: Path) -> dict[str, str]:
    return dict(_BLOCK.findall(page.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    """A Phaya of plenty, with a file of each kind in its storage."""
    folder = tmp_path_factory.mktemp("files")
    async with running(tmp_path_factory.mktemp("shop")) as phaya:
        phaya.key = await phaya.new_key("100000", account="shop@phaya.example")
        storage = phaya.system.results.storage
        for name, kind in (
            ("a.png", "image/png"),
            ("a.mp4", "video/mp4"),
            ("a.mp3", "audio/mpeg"),
            ("a.gif", "image/gif"),
        ):
            await make(folder / name)
            await storage.put(f"inputs/examples/{name}", folder / name, kind)
        yield phaya


async def make(file: Path) -> None:
    """A picture, or three and a half seconds of film or sound."""
    if file.suffix in (".png", ".gif"):
        Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(file)
        return
    film = ("-f", "lavfi", "-i", "testsrc=s=640x360:r=24:d=3.5") if file.suffix == ".mp4" else ()
    process = await asyncio.create_subprocess_exec(
        get_ffmpeg_exe(),
        "-v",
        "error",
        *film,
        "-f",
        "lavfi",
        "-i",
        "sine=f=330:d=3.5",
        "-pix_fmt",
        "yuv420p",
        str(file),
    )
    assert await process.wait() == 0


async def run(shop: Phaya, *command: str) -> str:
    environment = os.environ | {"PHAYA_BASE": f"{shop.url}/api/v1", "PHAYA_API_KEY": shop.key}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, problems = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, problems.decode()
    return printed.decode().strip()


def real(shop: Phaya, code: str) -> str:
    storage = shop.system.results.storage
    return _FILE.sub(lambda found: storage.link(f"inputs/examples/a.{found[1]}"), code)


@each_page
async def test_the_curl_example_ends_well(shop: Phaya, page: Path) -> None:
    printed = orjson.loads(await run(shop, "bash", "-euc", real(shop, blocks(page)["sh"])))

    assert printed["success"] is True
    assert printed.get("state", "completed") == "completed", printed.get("error")


@each_page
async def test_the_python_example_prints_the_result(shop: Phaya, page: Path) -> None:
    code = blocks(page).get("python")
    if code is None:
        pytest.skip("chat is answered at once; its page has one example")

    printed = await run(shop, sys.executable, "-c", real(shop, code))

    if printed.startswith("http"):
        async with shop.session.get(printed) as answer:
            assert answer.status == 200
            content = await answer.read()
        assert len(content) > 100
        if printed.endswith(".mp4"):
            with av.open(io.BytesIO(content), "r") as film:
                assert film.streams.video
    else:
        assert printed
        assert "error" not in printed.lower()
