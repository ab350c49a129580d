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

import stock
from conftest import Phaya, running

pytestmark = pytest.mark.anyio

# A download's page names another site's film, which no test may fetch.
PAGES = [
    page for page in sorted((Path(__file__).parents[1] / "docs/services").glob("*.md")) if page.stem != "video-download"
]
each_page = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])

_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> dict[str, str]:
    return dict(_BLOCK.findall(page.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    """A Phaya of plenty, with a file of each kind in its storage."""
    async with running(tmp_path_factory.mktemp("shop")) as phaya:
        phaya.key = await phaya.new_key("100000", account="shop@phaya.example")
        await stock.fill(phaya.system.results.storage)
        yield phaya


async def run(shop: Phaya, *command: str) -> str:
    environment = os.environ | {"PHAYA_BASE": f"{shop.url}/api/v1", "PHAYA_API_KEY": shop.key}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, problems = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, problems.decode()
    return printed.decode().strip()


@each_page
async def test_the_curl_example_ends_well(shop: Phaya, page: Path) -> None:
    printed = orjson.loads(await run(shop, "bash", "-euc", stock.real(shop.system.results.storage, blocks(page)["sh"])))

    assert printed["success"] is True
    assert printed.get("state", "completed") == "completed", printed.get("error")


@each_page
async def test_the_python_example_prints_the_result(shop: Phaya, page: Path) -> None:
    code = blocks(page).get("python")
    if code is None:
        pytest.skip("chat is answered at once; its page has one example")

    printed = await run(shop, sys.executable, "-c", stock.real(shop.system.results.storage, code))

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
