"""Real processes for the tests that kill them: nodes of a Phaya on one database; their provider, a sandbox, is here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import select

import conftest
from phaya import inspection, operator
from phaya.clock import SystemClock
from phaya.credits import Credits
from phaya.engine import engine
from phaya.providers.sandbox.hosting import hosted_sandbox
from phaya.schema import accounts, jobs
from phaya.serving import listen, serving
from phaya.settings import Settings
from phaya.storage import storage_of
from servers import free_port

SEED = int(os.environ.get("PHAYA_SEED", "0")) or random.randrange(1 << 30)
KILLS = int(os.environ.get("PHAYA_KILLS", "5"))
START = 100_000
PHAYA = ("-m", "phaya")
ENDINGS = ("", "", "", "[fail]", "[drop]", "[twice]", "[slow 1.5]", "[reject] [twice]", "[drop] [fail]")


@dataclass
class Node:
    """One process of Phaya. `port` is None for a worker, which answers nobody."""

    arguments: tuple[str, ...]
    port: int | None
    environment: dict[str, str] = field(default_factory=dict[str, str])
    program: tuple[str, ...] = PHAYA
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Cluster:
    """Nodes on one database and one data folder. `database_url` None: SQLite, so at most one node."""

    folder: Path
    session: aiohttp.ClientSession
    database_url: str | None = None
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    public_port: int = field(default_factory=free_port)
    sandbox_port: int = field(default_factory=free_port)
    embedded: bool = False
    extra: dict[str, str] = field(default_factory=dict[str, str])
    nodes: list[Node] = field(default_factory=list[Node])
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    key: str = ""
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    prompts: list[str] = field(default_factory=list[str])
    unanswered: int = 0
    asleep: set[str] = field(default_factory=set[str])

    @property
    def environment(self) -> dict[str, str]:
        ours = ("PHAYA", "KIE", "OPENR", "GEMINI", "STRIPE")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        clean |= {
            "PHAYA_DATA_DIR": str(self.folder / "data"),
            "PHAYA_ALLOWED_NETWORKS": "127.0.0.0/8",
            "PHAYA_DEADLINE_SCALE": str(1 / 45),  # a picture's 15 minutes become 20 seconds
            "PHAYA_SANDBOX_PACE": "0.2",
        }
        if self.database_url is not None:
            clean["PHAYA_DATABASE_URL"] = self.database_url
        if not self.embedded:
            clean["KIE_BASE_URL"] = f"http://127.0.0.1:{self.sandbox_port}"
            clean["KIE_API_KEY"] = ",".join(f"key{n}" for n in range(10))  # ten keys widen the provider's budget
        return clean | self.extra

    async def spawn(
        self, *arguments: str, program: tuple[str, ...] = PHAYA, **environment: str
    ) -> asyncio.subprocess.Process:
        with (self.folder / f"{arguments[0]}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, *program, *arguments, env=self.environment | environment, stdout=log, stderr=log
            )

    async def phaya(self, *arguments: str) -> tuple[int, bytes]:
        """A command, to its end: exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "phaya", *arguments, env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        return process.returncode or 0, printed

    async def open(self, credits: int = START) -> None:
        """Starts the provider, in this process, and makes the key that the load uses."""
        if not self.embedded:
            given = {
                "PHAYA_SANDBOX_PACE": self.environment["PHAYA_SANDBOX_PACE"],
                "PHAYA_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
            folder = self.folder / "provider"
            provider = hosted_sandbox(conftest.settings(folder, **given), folder / "sandbox", (), SystemClock())
            listener = self.stack.enter_context(listen("127.0.0.1", self.sandbox_port))
            await self.stack.enter_async_context(serving(provider, listener))
        self.key = await self.new_key("k@x.org", credits)

    @property
    def settings(self) -> Settings:
        """What an operator's commands go by."""
        return conftest.settings(self.folder / "data", PHAYA_DATABASE_URL=self.database_url)

    async def new_key(self, account: str, credits: int) -> str:
        asked: dict[str, Any] = {"account": account, "name": "load", "scopes": list[str](), "rate": 100_000}
        made = await operator.carry_out(self.settings, "keys create", credits=str(credits), **asked)
        return made["key"]

    async def check(self) -> list[str]:
        """What `phaya check` finds wrong, in the database and among the files."""
        storage = storage_of(self.settings, "")
        ask = partial(operator.carry_out, self.settings)
        return (await inspection.examine(ask, storage, self.settings.media_days))["faults"]

    async def serve(self, *arguments: str, program: tuple[str, ...] = PHAYA, **environment: str) -> Node:
        """A server. Each has a port of its own; links and callbacks lead to the first one's unless told otherwise."""
        port = free_port()
        node = Node(("serve", "--port", str(port), *arguments), port, environment, program)
        self.nodes.append(node)
        await self.start(node)
        return node

    async def work(self, *arguments: str, **environment: str) -> Node:
        """A worker beside the servers."""
        node = Node(("work", *arguments), None, {"PHAYA_PUBLIC_URL": self.nodes[0].url} | environment)
        self.nodes.append(node)
        await self.start(node)
        return node

    async def start(self, node: Node) -> None:
        node.process = await self.spawn(*node.arguments, program=node.program, **node.environment)
        if node.port is None:
            return
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with self.session.get(f"{node.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def kill(self, node: Node, how: signal.Signals = signal.SIGKILL) -> None:
        assert node.process is not None
        node.process.send_signal(how)
        await node.process.wait()
        node.process = None

    async def close(self) -> None:
        for process in (node.process for node in self.nodes):
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                await process.wait()
        await self.stack.aclose()

    @property
    def servers(self) -> list[Node]:
        """Those that answer."""
        living = [node for node in self.nodes if node.port is not None and node.process is not None]
        return [node for node in living if node.url not in self.asleep]

    async def ask(self, method: str, path: str, body: Any = None, node: Node | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{(node or self.servers[0]).url}/api/v1/{path}"
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def create(self, ending: str = "", node: Node | None = None) -> str | None:
        """Creates a picture; what was answered with 200 must never be lost. None where no answer came."""
        prompt = f"{len(self.prompts)} {ending}"
        self.prompts.append(prompt)
        try:
            chosen = node or self.dice.choice(self.servers)
            status, body = await self.ask("POST", "text-to-image/generate", {"prompt": prompt}, chosen)
        except (aiohttp.ClientError, OSError, IndexError):
            self.unanswered += 1
            return None
        if status == 503:  # the database cannot be reached from there: nothing was promised
            self.unanswered += 1
            return None
        assert status == 200, body
        self.accepted[body["job_id"]] = prompt
        return body["job_id"]

    async def load(self, pause: float = 0.15) -> None:
        """Creates jobs without end."""
        while True:
            await self.create(self.dice.choice(ENDINGS))
            await asyncio.sleep(self.dice.uniform(0.02, pause))

    async def finish(self, seconds: float = 150) -> dict[str, dict[str, Any]]:
        """Every accepted job's status, once all have ended."""
        found: dict[str, dict[str, Any]] = {}
        async with asyncio.timeout(seconds + 0.5 * len(self.accepted)):
            for job in self.accepted:
                while True:
                    status, told = await self.ask("GET", f"text-to-image/status/{job}")
                    assert status == 200, f"an accepted job is lost: {told}"
                    if told["state"] in ("completed", "failed"):
                        found[job] = told
                        break
                    await asyncio.sleep(0.2)
        return found

    async def bought(self) -> Counter[str]:
        """How many tasks the provider has for each prompt."""
        url = f"http://127.0.0.1:{self.sandbox_port}/sandbox/tasks"
        async with self.session.get(url, params={"last": "100000"}) as answer:
            told = await answer.json()
        assert len(told["tasks"]) == told["created"], "the sandbox does not list all"
        return Counter(task["prompt"] for task in told["tasks"])

    async def rows(self) -> tuple[Credits, list[Any]]:
        """The balance and every job, from the database itself. Stops SQLite's only node for it."""
        if self.database_url is None:
            await self.kill(self.nodes[0], signal.SIGTERM)
        async with engine(self.settings) as opened:
            balance = await opened.database.read(lambda c: c.execute(select(accounts.c.balance)).scalar_one())
            rows = await opened.database.read(lambda c: list(c.execute(select(jobs))))
        return Credits(balance), rows


async def settled(cluster: Cluster, label: str, start: int = START) -> Counter[str]:
    """Waits for the end of all, and proves the claims that hold whatever was killed: no accepted job lost, none bought
    twice, every failed one paid back once, `phaya check` clean. Answers how many jobs ended how."""
    statuses = await cluster.finish()
    bought = await cluster.bought()
    balance, rows = await cluster.rows()
    faults = await cluster.check()
    known = {row.id: row for row in rows}
    states = Counter(status["state"] for status in statuses.values())
    unheard = len(rows) - len(statuses)
    print(  # noqa: T201 - the table of a long run
        f"\n{label}, seed {SEED}: {len(cluster.accepted)} accepted, {cluster.unanswered} unanswered ({unheard} of "
        f"those were charged jobs), {dict(states)}, {sum(count - 1 for count in bought.values())} bought twice, "
        f"check: {faults or 'clean'}"
    )
    assert cluster.accepted, "the load must have bought something"
    assert set(cluster.accepted) <= set(known), "an accepted job is lost"
    assert all(count == 1 for count in bought.values()), "a task was submitted twice"
    assert faults == []
    for job, status in statuses.items():
        prompt = cluster.accepted[job]
        refund = 0 if status["state"] == "completed" else 1
        assert status["credits_refunded"] == refund, (prompt, status)
        assert status["state"] == "failed" or not {"[fail]", "[reject]"} & set(prompt.split())
        if status["state"] == "completed":
            assert bought[prompt] == 1
    held = sum(row.price - row.returned for row in rows)
    assert balance == Credits(start * 1_000_000_000 - held)
    return states


@contextlib.asynccontextmanager
async def cluster(folder: Path, database_url: str | None = None, **values: Any) -> AsyncGenerator[Cluster]:
    """A cluster without nodes yet; every process that it started is ended with the block."""
    async with aiohttp.ClientSession() as session:
        made = Cluster(folder, session, database_url, **values)
        try:
            await made.open()
            yield made
        finally:
            await made.close()
