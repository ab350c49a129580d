"""What the tests share: a real Phaya on a loopback port with its embedded sandbox, and a manual clock."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson
import pytest
import structlog

import servers
import stock
from phaya import operator
from phaya.app import create_app
from phaya.catalog.service import Generation
from phaya.database import Database, Embedded
from phaya.decoding.decoder import Decoder
from phaya.postgresql import PostgreSQL
from phaya.serving import listen, serving
from phaya.settings import Settings
from phaya.system import System

structlog.configure(
    processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
    wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
)

SQLITE, POSTGRESQL = BOTH = ("sqlite", "postgresql")

PACE = 0.05
"""The sandbox works twenty times as fast as a provider's model would."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    moment: int = 1_800_000_000_000

    def now(self) -> int:
        return self.moment

    def pass_seconds(self, seconds: float) -> None:
        self.moment += int(seconds * 1000)


@dataclass
class Reply:
    """An HTTP answer, read."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> dict[str, Any]:
        return orjson.loads(self.content)

    def exact(self, name: str) -> Decimal:
        """A number of the answer, digit for digit."""
        import json

        return json.loads(self.content, parse_float=Decimal, parse_int=Decimal)[name]


@dataclass
class Phaya:
    """A running Phaya, its sandbox and a key with plenty of credits."""

    url: str
    system: System
    session: aiohttp.ClientSession
    key: str = ""
    email: str = "tester@phaya.example"
    stocked: bool = False
    made: list[str] = field(default_factory=list[str])

    async def operate(self, command: str, **values: Any) -> dict[str, Any]:
        """An operator's command, through the same socket as the command line."""
        return await operator.carry_out(self.system.settings, command, **values)

    async def new_key(self, credits: str | None = "1000", **values: Any) -> str:
        """A key of an account of its own."""
        self.made.append("account")
        email = values.pop("account", f"user{len(self.made)}-{id(values)}@phaya.example")
        asked: dict[str, Any] = {"account": email, "name": "test", "scopes": list[str](), "rate": 6000} | values
        made = await self.operate("keys create", credits=credits, **asked)
        return made["key"]

    async def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> Reply:
        """One request with the test's key."""
        sent = {"Authorization": f"Bearer {key or self.key}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        data = body if isinstance(body, bytes) else None if body is None else orjson.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=sent) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", f"/api/v1/{path}", **options)

    async def post(self, path: str, body: Any, **options: Any) -> Reply:
        return await self.ask("POST", f"/api/v1/{path}", body, **options)

    async def balance(self, key: str | None = None) -> Decimal:
        return (await self.get("user/credits", key=key)).exact("credits_balance")

    async def create(self, service: type[Generation], key: str | None = None, **fields: Any) -> dict[str, Any]:
        """Creates a job from the service's example and the given fields."""
        answer = await self.post(service.create_path(), {**await self.example(service), **fields}, key=key)
        assert answer.status == 200, answer.content
        return answer.json

    async def example(self, service: type[Generation]) -> dict[str, Any]:
        """A service's example whose inputs can be fetched."""
        storage = self.system.results.storage
        if service.inputs() and not self.stocked:
            await stock.fill(storage)
            self.stocked = True
        return stock.real_example(storage, service.example)

    async def finish(self, path: str, job_id: str, key: str | None = None, seconds: float = 60) -> dict[str, Any]:
        """Polls a job until it has ended."""
        import asyncio

        async with asyncio.timeout(seconds):
            while True:
                status = (await self.get(f"{path}/status/{job_id}", key=key)).json
                if status["state"] in ("completed", "failed", "cancelled"):
                    return status
                await asyncio.sleep(0.05)

    async def audit(self) -> list[str]:
        """What `phaya check` finds wrong."""
        return (await self.operate("check"))["faults"]

    async def sandbox_tasks(self, prompt: str) -> int:
        """How many tasks the sandbox accepted for a prompt."""
        base = self.system.workflow.roster.kie
        assert base is not None
        async with self.session.get(f"{base.base_url}/sandbox/tasks", params={"prompt": prompt}) as answer:  # type: ignore[attr-defined]
            return (await answer.json())["created"]


def settings(folder: Path, **values: Any) -> Settings:
    """Settings that read nothing from the environment's provider keys."""
    given: dict[str, Any] = {
        "PHAYA_DATA_DIR": folder,
        "PHAYA_SANDBOX_PACE": PACE,
        "PHAYA_SANDBOX_KEYS": 20,  # a module's jobs do not wait for those of the tests before
        "KIE_API_KEY": "",
        "OPENROUTER_API_KEY": None,
        "GEMINI_API_KEY": None,
        "STRIPE_SECRET_KEY": None,
        "STRIPE_WEBHOOK_SECRET": "",
        "PHAYA_DATABASE_URL": None,
        "PHAYA_REDIS_URL": None,
        "PHAYA_LATE_SECONDS": 600,  # tests share their event loop with what they make and look at
        "PHAYA_DOWNLOAD_PROXY": "http://127.0.0.1:9",  # nobody is there: no test leaves this machine
    }
    return Settings(**(given | values))


@asynccontextmanager
async def running(folder: Path, **values: Any) -> AsyncGenerator[Phaya, None]:
    """A Phaya of the test's own, served over real HTTP."""
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = create_app(settings(folder, **values), url)
        async with serving(app, listener), aiohttp.ClientSession() as session:
            phaya = Phaya(url, app.state.system, session)
            phaya.key = await phaya.new_key(account=phaya.email)
            yield phaya


LONGEST = (
    *("test_kill", "test_nodes", "test_fuzz", "test_services", "test_endings", "test_cli", "test_console_browser"),
    *("test_kie_services", "test_idempotency", "test_parting", "test_topup", "test_restarts", "test_postgresql"),
    *("test_crowds", "test_money", "test_books", "test_ffmpeg", "test_office_browser"),
)
"""Modules that take longest. Workers begin with them: at the end, one would work while the others wait for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module's `ENGINES` says on which databases its tests run: SQLite alone, if it says nothing."""
    if "engine" in metafunc.fixturenames:
        module = cast("object", metafunc.module)  # pyright: ignore[reportUnknownMemberType] - pytest leaves it untyped
        engines: tuple[str, ...] = getattr(module, "ENGINES", (SQLITE,))
        metafunc.parametrize("engine", engines, scope="module")


@pytest.fixture(scope="session")
def postgresql() -> Generator[servers.Postgres]:
    """A PostgreSQL that the tests share; each takes a database of its own."""
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def database_url(engine: str, request: pytest.FixtureRequest) -> str | None:
    """The address of a fresh database, or None for SQLite in the data folder."""
    if engine == SQLITE:
        return None
    server: servers.Postgres = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
async def database(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Database, None]:
    """A fresh database of the test's own."""
    if engine == SQLITE:
        opened: Database = Embedded(tmp_path)
    else:
        server: servers.Postgres = request.getfixturevalue("postgresql")
        opened = await PostgreSQL(server.new_database(), connections=4).open()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def decoder() -> AsyncGenerator[Decoder]:
    """A decoder that a module's tests share."""
    async with Decoder() as shared:
        yield shared


@pytest.fixture(scope="module")
async def phaya(tmp_path_factory: pytest.TempPathFactory, database_url: str | None) -> AsyncGenerator[Phaya, None]:
    """A Phaya that a module's tests share; each takes a key of its own where money matters."""
    async with running(tmp_path_factory.mktemp("phaya"), PHAYA_DATABASE_URL=database_url) as shared:
        yield shared


@pytest.fixture(scope="session")
def s3_server() -> Generator[servers.S3]:
    """An S3 server that all tests of a process share; each has buckets of its own."""
    with servers.s3() as server:
        yield server


@pytest.fixture
def s3(s3_server: servers.S3, monkeypatch: pytest.MonkeyPatch) -> servers.S3:
    """The same, with the environment set as an operator sets it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def clock() -> Clock:
    return Clock()
