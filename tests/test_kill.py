"""`kill -9` of a real server at random instants under load: no accepted job lost, none bought twice, every
failed one paid back once.

Fifty kills: `PHAYA_KILLS=50 .venv/bin/pytest tests/test_kill.py -s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

pytestmark = pytest.mark.anyio

KILLS = int(os.environ.get("PHAYA_KILLS", "8"))
SEED = int(os.environ.get("PHAYA_SEED", "0")) or random.randrange(1 << 30)
START = 100_000
ENDINGS = ("", "", "", "[fail]", "[drop]", "[twice]", "[slow 1.5]", "[reject] [twice]", "[drop] [fail]")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@dataclass
class Run:
    """Two processes: a Phaya that is killed, and the sandbox as a provider that is not."""

    folder: Path
    dice: random.Random
    port: int = field(default_factory=free_port)
    sandbox_port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None
    key: str = ""
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    prompts: list[str] = field(default_factory=list[str])
    unanswered: int = 0
    embedded: bool = False

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PHAYA", "KIE", "OPENR"))}
        common = {
            "PHAYA_DATA_DIR": str(self.folder / "data"),
            "PHAYA_ALLOWED_NETWORKS": "127.0.0.0/8",
            "PHAYA_DEADLINE_SCALE": str(1 / 45),  # a picture's 15 minutes become 20 seconds
            "PHAYA_SANDBOX_PACE": "0.2",
        }
        if self.embedded:
            return clean | common
        return (
            clean
            | common
            | {
                "KIE_BASE_URL": f"http://127.0.0.1:{self.sandbox_port}",
                "KIE_API_KEY": ",".join(f"key{n}" for n in range(10)),  # ten keys widen the provider's budget
            }
        )

    async def spawn(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        log = (self.folder / f"{arguments[0]}.log").open("ab")
        with log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "phaya", *arguments, env=self.environment | environment, stdout=log, stderr=log
            )

    async def phaya(self, *arguments: str) -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "phaya", *arguments, env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        return process.returncode or 0, printed

    async def start(self, session: aiohttp.ClientSession) -> None:
        self.process = await self.spawn("serve", "--port", str(self.port))
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def load(self, session: aiohttp.ClientSession) -> None:
        """Creates jobs without end; what was answered with 200 must never be lost."""
        while True:
            prompt = f"{len(self.prompts)} {self.dice.choice(ENDINGS)}"
            self.prompts.append(prompt)
            headers = {"Authorization": f"Bearer {self.key}"}
            try:
                url = f"http://127.0.0.1:{self.port}/api/v1/text-to-image/generate"
                async with session.post(url, json={"prompt": prompt}, headers=headers) as answer:
                    body = await answer.json()
                    assert answer.status == 200, body
                    self.accepted[body["job_id"]] = prompt
            except (aiohttp.ClientError, OSError):
                self.unanswered += 1
            await asyncio.sleep(self.dice.uniform(0.02, 0.15))

    async def jobs(self, session: aiohttp.ClientSession) -> dict[str, dict[str, Any]]:
        """Every accepted job's status, once all have ended."""
        found: dict[str, dict[str, Any]] = {}
        async with asyncio.timeout(120):
            for job in self.accepted:
                while True:
                    url = f"http://127.0.0.1:{self.port}/api/v1/text-to-image/status/{job}"
                    async with session.get(url, headers={"Authorization": f"Bearer {self.key}"}) as answer:
                        status = await answer.json()
                    assert answer.status == 200, f"an accepted job is lost: {status}"
                    if status["state"] in ("completed", "failed"):
                        found[job] = status
                        break
                    await asyncio.sleep(0.2)
        return found


@contextlib.asynccontextmanager
async def processes(folder: Path) -> AsyncGenerator[Run, None]:
    run = Run(folder, random.Random(SEED))
    sandbox = await run.spawn("sandbox", "--port", str(run.sandbox_port), PHAYA_DATA_DIR=str(folder / "provider"))
    try:
        yield run
    finally:
        for process in (sandbox, run.process):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()


async def test_no_kill_loses_a_job_buys_twice_or_keeps_a_credit(tmp_path: Path) -> None:
    async with processes(tmp_path) as run, aiohttp.ClientSession() as session:
        code, printed = await run.phaya(
            "keys", "create", "--account", "k@x.org", "--credits", str(START), "--rate", "100000", "--json"
        )
        assert code == 0
        run.key = orjson.loads(printed)["key"]
        await run.start(session)
        loading = asyncio.create_task(run.load(session))
        began = time.monotonic()
        for _ in range(KILLS):
            await asyncio.sleep(run.dice.uniform(0.05, 1.5))
            await run.kill()
            await run.start(session)
        await asyncio.sleep(1)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        assert loading.cancelled(), loading.exception()
        statuses = await run.jobs(session)

        async with session.get(f"http://127.0.0.1:{run.sandbox_port}/sandbox/tasks", params={"last": "1000"}) as answer:
            bought = Counter(task["prompt"] for task in (await answer.json())["tasks"])
        headers = {"Authorization": f"Bearer {run.key}"}
        async with session.get(f"http://127.0.0.1:{run.port}/api/v1/user/credits", headers=headers) as answer:
            balance = Decimal(str((await answer.json())["credits_balance"]))
        async with session.get(
            f"http://127.0.0.1:{run.port}/api/v1/text-to-image/history?limit=200", headers=headers
        ) as answer:
            unheard = [job for job in (await answer.json())["history"] if job["job_id"] not in run.accepted]
        code, printed = await run.phaya("check", "--json")
        states = Counter(status["state"] for status in statuses.values())
        print(  # noqa: T201
            f"\nseed {SEED}: {KILLS} kills in {time.monotonic() - began:.0f} s, {len(run.accepted)} accepted, "
            f"{run.unanswered} unanswered ({len(unheard)} of those were charged jobs), {dict(states)}, "
            f"{sum(count - 1 for count in bought.values())} bought twice, check {printed.decode().strip()}"
        )

    told = {run.accepted[job]: status for job, status in statuses.items()}
    assert run.accepted, "the load must have bought something"
    assert all(count == 1 for count in bought.values()), "a task was submitted twice"
    assert code == 0, printed
    for prompt, status in told.items():
        refund = 0 if status["state"] == "completed" else 1
        assert status["credits_refunded"] == refund, (prompt, status)
        assert status["state"] == "failed" or not {"[fail]", "[reject]"} & set(prompt.split())
        if status["state"] == "completed":
            assert bought[prompt] == 1
    completed = sum(status["state"] == "completed" for status in [*statuses.values(), *unheard])
    pending = sum(job["state"] in ("queued", "processing") for job in unheard)
    assert balance == START - completed - pending


async def test_the_embedded_sandbox_survives_the_kill_with_its_tasks(tmp_path: Path) -> None:
    """One process, as on a laptop: provider and Phaya die together, and go on together."""
    run = Run(tmp_path, random.Random(SEED), embedded=True)
    try:
        async with aiohttp.ClientSession() as session:
            code, printed = await run.phaya("keys", "create", "--account", "k@x.org", "--credits", "100", "--json")
            assert code == 0
            run.key = orjson.loads(printed)["key"]
            await run.start(session)
            headers = {"Authorization": f"Bearer {run.key}"}
            url = f"http://127.0.0.1:{run.port}/api/v1/text-to-image/generate"
            for number in range(12):
                ending = "[slow 4]" if number % 2 else "[fail]"
                async with session.post(url, json={"prompt": f"{number} {ending}"}, headers=headers) as answer:
                    run.accepted[(await answer.json())["job_id"]] = ending
                if number % 4 == 3:
                    await asyncio.sleep(run.dice.uniform(0, 0.6))
                    await run.kill()
                    await run.start(session)
            statuses = await run.jobs(session)
            async with session.get(f"http://127.0.0.1:{run.port}/api/v1/user/credits", headers=headers) as answer:
                balance = (await answer.json())["credits_balance"]
            code, printed = await run.phaya("check")
    finally:
        if run.process is not None and run.process.returncode is None:
            await run.kill()

    completed = [job for job, status in statuses.items() if status["state"] == "completed"]
    assert code == 0, printed
    assert len(statuses) == 12
    assert completed, "most tasks were accepted before the kill"
    assert all(run.accepted[job] == "[slow 4]" for job in completed)
    assert balance == 100 - len(completed)
