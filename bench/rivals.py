"""What else stands between clients and a chat provider: LiteLLM's proxy and Portkey's gateway.

Each is installed once from its package index into `.cache/bench`, and started as its documentation says, on the same
core as Phaya. They neither keep keys nor money here: LiteLLM has no database, Portkey's open gateway has no books.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import orjson

import machine
from load import Void
from subjects import Subject

PATIENCE = 120
"""Seconds in which a server is to answer."""
CACHE = Path(__file__).parents[1] / ".cache" / "bench"
MASTER = "sk-bench"

LITELLM = """
model_list:
  - model_name: plain
    litellm_params: {{model: openai/bench, api_base: "http://127.0.0.1:{port}/plain/v1", api_key: bench}}
  - model_name: stream
    litellm_params: {{model: openai/bench, api_base: "http://127.0.0.1:{port}/stream/v1", api_key: bench}}
general_settings:
  master_key: {master}
litellm_settings:
  telemetry: false
"""


@contextlib.asynccontextmanager
async def litellm(folder: Path, upstream: int) -> AsyncGenerator[Subject]:
    """LiteLLM's proxy with one worker. Raises Void where it cannot be had."""
    home = CACHE / "litellm"
    if not (home / "bin" / "litellm").exists():
        await _installed(sys.executable, "-m", "venv", str(home))
        await _installed(str(home / "bin" / "pip"), "install", "--quiet", "litellm[proxy]")
    version = (
        await _installed(
            str(home / "bin" / "python"), "-c", "from importlib.metadata import version; print(version('litellm'))"
        )
    ).strip()
    file, port = folder / "litellm.yaml", machine.free_port()
    file.write_text(LITELLM.format(port=upstream, master=MASTER))
    command = [str(home / "bin" / "litellm"), "--config", str(file), "--port", str(port), "--host", "127.0.0.1"]
    command += ["--num_workers", "1", "--telemetry", "False"]
    settings = {
        "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "NO_DOCS": "True",
    }  # fmt: skip
    async with _started(folder / "litellm.log", command, port, "/health/liveliness", settings) as process:
        yield Subject(f"LiteLLM {version}", port, process)


@contextlib.asynccontextmanager
async def portkey(folder: Path) -> AsyncGenerator[Subject]:
    """Portkey's gateway. Raises Void where it cannot be had."""
    home = CACHE / "portkey"
    package = home / "node_modules" / "@portkey-ai" / "gateway"
    if not package.exists():
        home.mkdir(parents=True, exist_ok=True)
        npm = ("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(home))
        await _installed(*npm, "@portkey-ai/gateway")
    about = orjson.loads((package / "package.json").read_bytes())
    port = machine.free_port()
    start = str(package / (about["bin"] if isinstance(about["bin"], str) else next(iter(about["bin"].values()))))
    command = ["node", start, f"--port={port}", "--headless"]
    settings = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
    async with _started(folder / "portkey.log", command, port, "/", settings) as process:
        yield Subject(f"Portkey {about['version']}", port, process)


async def _installed(*command: str) -> str:
    """What an installer prints. Raises Void."""
    if shutil.which(command[0]) is None:
        raise Void(f"{command[0]} is not installed")
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)
    printed, problems = await process.communicate()
    if process.returncode != 0:
        raise Void(f"{command[0]} failed: {problems.decode()[-200:].strip()}")
    return printed.decode()


@contextlib.asynccontextmanager
async def _started(
    log: Path, command: list[str], port: int, ready: str, settings: dict[str, str]
) -> AsyncGenerator[machine.Process]:
    async with machine.spawned(log, command, settings, machine.SERVER) as process:
        try:
            await machine.answered(f"http://127.0.0.1:{port}{ready}", PATIENCE)
        except TimeoutError:
            raise Void(f"{command[0]} does not answer: {log.read_text(errors='replace')[-200:]}") from None
        yield process
