"""The official Node client, with only its base address and key changed."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import orjson
import pytest

from conftest import Phaya

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not there"),
]
PROGRAM = Path(__file__).parent / "node"


async def run(*command: str, folder: Path, **environment: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out


async def test_the_node_client_chats_streams_and_calls_tools(phaya: Phaya, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(PROGRAM, folder, ignore=shutil.ignore_patterns("node_modules"))
    await run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=folder)

    said = await run("node", "talk.mjs", folder=folder, OPENAI_BASE_URL=f"{phaya.url}/v1", OPENAI_API_KEY=phaya.key)

    heard = orjson.loads(said)
    assert "Good morning" in heard["chat"] == heard["streamed"]
    assert heard["tool"] == heard["streamedTool"]["name"] == "get_weather"
    assert heard["arguments"] == orjson.loads(heard["streamedTool"]["arguments"])
    assert "city" in heard["arguments"]
    assert "31 degrees" in heard["answered"]
    assert "Good evening" in heard["response"] == heard["told"]
    assert heard["dimensions"] == [4096, 4096]
    assert "phaya-gpt" in heard["models"]
    assert heard["refused"] == {"status": 422, "type": "invalid_request_error", "param": "messages"}
