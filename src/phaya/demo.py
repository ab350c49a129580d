"""`phaya demo`: a server of its own, and Phaya's main job done through the public API, for everybody to look at."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from phaya.client import ApiError, Wire

console = Console(width=None if sys.stdout.isatty() else 120)
ACCOUNT = "demo@phaya.example"
START = "100"
READY_SECONDS = 30


class DemoFailed(Exception):
    """Something did not go as Phaya promises."""


async def run(out: Path) -> int:
    """Runs the demo; answers the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="phaya-demo-") as folder:
        environment = _environment(Path(folder))
        try:
            async with _server(environment, out / "server.log") as base:
                made = orjson.loads(
                    await _phaya(environment, "keys", "create", "--account", ACCOUNT, "--name", "demo",
                                 "--credits", START, "--rate", "600", "--json")
                )  # fmt: skip
                console.print(f"A key for {ACCOUNT}, with {START} credits: {made['key'][:11]}…\n")
                async with Wire(base, made["key"]) as client:
                    await _show(client, out)
            console.print((await _phaya(environment, "check")).decode().strip())
        except (DemoFailed, ApiError) as error:
            console.print(f"\n[red]The demo failed: {error}[/red]  The server's log is {out / 'server.log'}.")
            return 1
    console.print(f"\n[green]The demo ended well.[/green] The results are in {out}/")
    return 0


def _environment(folder: Path) -> dict[str, str]:
    """This environment without provider keys: the demo spends nothing anywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return kept | {"PHAYA_DATA_DIR": str(folder / "data"), "PHAYA_LOG_LEVEL": "info"}


@contextlib.asynccontextmanager
async def _server(environment: Mapping[str, str], log: Path) -> AsyncGenerator[str]:
    """Starts `phaya serve` on a free port; gives the native base address."""
    command = (sys.executable, "-m", "phaya", "serve", "--port", "0")
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=file, stderr=file)
    try:
        yield f"{await _ready(process, log)}/api/v1"
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _ready(process: asyncio.subprocess.Process, log: Path) -> str:
    """Waits until the server says that it is ready, and where."""
    for _ in range(READY_SECONDS * 10):
        if process.returncode is not None:
            raise DemoFailed("the server did not start")
        for line in log.read_text(errors="replace").splitlines():
            if '"phaya.ready"' in line:
                return str(orjson.loads(line)["url"])
        await asyncio.sleep(0.1)
    raise DemoFailed(f"the server was not ready after {READY_SECONDS} s")


async def _phaya(environment: Mapping[str, str], *arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "phaya", *arguments, env=environment, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise DemoFailed(f"'phaya {' '.join(arguments[:2])}' ended with {process.returncode}")
    return printed


async def _show(client: Wire, out: Path) -> None:
    columns = (
        TextColumn("{task.description}", table_column=Column(min_width=29, no_wrap=True)),
        BarColumn(12),
        TextColumn("{task.fields[word]}", table_column=Column(min_width=10)),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", table_column=Column(ratio=1)),
    )
    with Progress(*columns, console=console) as progress:
        shop = _Shop(client, out, progress)
        picture, song = await asyncio.gather(
            shop.make("An image", "text-to-image", "generate", "image.png",
                      prompt="A lighthouse above a calm sea at dawn", aspect_ratio="16:9"),
            shop.make("A song (two tracks)", "text-to-music", "generate", "song.mp3",
                      prompt="A gentle song about rain on tin roofs", style="acoustic pop", title="Rain"),
        )  # fmt: skip
        await asyncio.gather(
            shop.make("A Sora film", "sora2-text-to-video", "create", "film.mp4",
                      prompt="A dragon flies over a snowy valley at sunrise", n_frames="10"),
            shop.make("A film from the image", "seedance-video", "create", "seedance.mp4",
                      prompt="The sea begins to move", input_urls=[picture["image_url"]], resolution="480p",
                      duration="4", generate_audio=True),
            shop.make("A clip rendered from the image", "image-to-video", "create", "clip.mp4",
                      image_url=picture["image_url"], music_url=song["audio_url"], duration=5,
                      zoom={"mode": "center"}),
            shop.fail("A film that fails", "sora2-text-to-video", prompt="A film that never was [fail]"),
        )  # fmt: skip
        answer = await shop.chat("A chat", "Say hello in Thai and tell me what Phaya does.")
    console.print(f"\nPhaya-GPT said: {answer['message']['content']}\n", highlight=False)
    await _statement(client)


class _Shop:
    """Buys things, each with a line of progress."""

    def __init__(self, client: Wire, out: Path, progress: Progress) -> None:
        self._client = client
        self._out = out
        self._progress = progress

    async def make(self, label: str, service: str, verb: str, file: str, **body: Any) -> dict[str, Any]:
        """Creates a job, waits for it and saves its result."""
        line = self._progress.add_task(label, total=1.0, word="", note="")
        status = await self._follow(service, await self._client.post(f"{service}/{verb}", body), line)
        if status["state"] != "completed":
            raise DemoFailed(f"{label}: {status['error']}")
        size = await self._client.download(status["result_url"], self._out / file)
        note = f"{status['credits_used']:g} credits, {self._out / file} ({size / 1e6:.1f} MB)"
        self._progress.update(line, completed=1.0, note=note)
        return status

    async def fail(self, label: str, service: str, **body: Any) -> None:
        """Creates a job that fails, and sees its credits come back."""
        line = self._progress.add_task(label, total=1.0, word="", note="")
        status = await self._follow(service, await self._client.post(f"{service}/create", body), line)
        if status["state"] != "failed" or status["credits_refunded"] != status["credits_used"]:
            raise DemoFailed(f"{label}: it should have failed with a refund, but is {status['state']}")
        note = f"{status['credits_refunded']:g} credits came back: {status['error']}"
        self._progress.update(line, completed=1.0, note=note)

    async def chat(self, label: str, question: str) -> dict[str, Any]:
        """Asks Phaya-GPT."""
        line = self._progress.add_task(label, total=1.0, word="talking", note="")
        answer = await self._client.post(
            "phaya-gpt/chat/completions", {"messages": [{"role": "user", "content": question}]}
        )
        used = Decimal(str(answer["credits_used"]))
        self._progress.update(line, completed=1.0, word="answered", note=f"{used:f} credits")
        return answer

    async def _follow(self, service: str, created: Mapping[str, Any], line: TaskID) -> dict[str, Any]:
        status: dict[str, Any] = {}
        async for status in self._client.follow(service, created["job_id"], pause=0.5):
            self._progress.update(line, completed=status["progress"], word=status["state"])
        return status


async def _statement(client: Wire) -> None:
    history = (await client.get("user/credits/history"))["history"]
    table = Table("statement", "credits", "job", title="The ledger")
    for entry in reversed(history):
        amount = Decimal(str(entry["amount"]))
        job = (entry["job_id"] or "")[-8:]  # ids begin with the moment
        table.add_row(f"{entry['reason']} {entry['service'] or entry['note']}", f"{amount:+f}", job)
    balance = Decimal(str((await client.get("user/credits"))["credits_balance"]))
    table.add_section()
    table.add_row("balance", f"{balance:f}", "")
    console.print(table)
    total = sum((Decimal(str(entry["amount"])) for entry in history), Decimal(0))
    if total != balance:
        raise DemoFailed(f"the entries add up to {total}, the balance is {balance}")
