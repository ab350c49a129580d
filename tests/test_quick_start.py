"""The README's quick start works as it stands, with only the address and the key changed."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from conftest import Phaya
from readme import quick_start

pytestmark = pytest.mark.anyio


async def run(phaya: Phaya, *command: str) -> str:
    environment = os.environ | {"PHAYA_BASE": f"{phaya.url}/api/v1", "PHAYA_API_KEY": phaya.key}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, problems = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, problems.decode()
    return printed.decode().strip()


@pytest.mark.parametrize(("block", "ending"), [("image", ".png"), ("film", ".mp4")])
async def test_the_curl_blocks_end_with_a_link_to_the_result(phaya: Phaya, block: str, ending: str) -> None:
    link = await run(phaya, "bash", "-euc", quick_start()[block])

    assert link.endswith(ending)
    async with phaya.session.get(link) as answer:
        assert answer.status == 200


async def test_the_chat_block_is_answered(phaya: Phaya) -> None:
    assert '"content":' in await run(phaya, "bash", "-euc", quick_start()["chat"])


async def test_the_python_block_prints_picture_film_and_answer(phaya: Phaya) -> None:
    printed = await run(phaya, sys.executable, "-c", quick_start()["python"])

    picture, film, *answer = printed.splitlines()
    assert picture.endswith(".png")
    assert film.endswith(".mp4")
    assert "Say hello in Thai" in " ".join(answer)
