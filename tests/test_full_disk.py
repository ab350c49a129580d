"""A disk or a memory without room: nothing is half kept, everybody is told, and room is all that it takes to go on."""

from __future__ import annotations

import asyncio
import io
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from PIL import Image
from sqlalchemy import Connection, func, insert, select

from cluster import START, cluster
from conftest import running
from phaya.catalog.images import TextToImage
from phaya.database import Embedded
from phaya.errors import DatabaseDown, StorageDown
from phaya.schema import accounts
from phaya.storage import TRIAL_BYTES

pytestmark = pytest.mark.anyio

ROOMY = 1 << 30


def _limit(connection: Connection, pages: int) -> None:
    """Says how large the database may be; what is there already stays."""
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()


def _add(connection: Connection, name: str, size: int = 1) -> None:
    connection.execute(insert(accounts).values(id=name, email=name + "x" * size, balance=0, created_at=0))


def _names(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(accounts)).scalar_one()


@contextmanager
def no_room(size: int) -> Generator[None]:
    """No file of this process grows beyond `size` bytes. Python itself ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def no_memory(pid: int, spare: int) -> Generator[None]:
    """A process gets no more than `spare` bytes of memory beyond what it has."""
    has = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (has + spare, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))


async def test_a_group_that_fills_the_disk_is_kept_by_nobody(tmp_path: Path) -> None:
    """SQLite gives up the whole transaction there; what came after it in the group must not be kept alone."""
    database = Embedded(tmp_path)
    await database.write(_limit, 1)

    outcomes = await asyncio.gather(
        *(database.write(_add, f"{n}", 500_000 if n == 3 else 1) for n in range(9)), return_exceptions=True
    )

    failed = [outcome for outcome in outcomes if outcome is not None]
    assert failed
    assert all(isinstance(outcome, DatabaseDown) for outcome in failed), failed
    assert await database.read(_names) == 9 - len(failed)
    await database.write(_limit, ROOMY)
    await database.write(_add, "after", 500_000)
    assert await database.read(_names) == 10 - len(failed)
    await database.close()


async def test_a_full_disk_refuses_creates_and_room_mends_it(tmp_path: Path) -> None:
    async with running(tmp_path) as phaya:
        key = await phaya.new_key("60")
        body = await phaya.example(TextToImage)
        with no_room((tmp_path / "phaya.db-wal").stat().st_size):
            refused = await asyncio.gather(*(phaya.post(TextToImage.create_path(), body, key=key) for _ in range(5)))
            there = await phaya.balance(key)

        assert {answer.status for answer in refused} == {503}, refused[0].content
        assert {answer.json["error"] for answer in refused} == {"database_unavailable"}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
        assert there == await phaya.balance(key) == 60
        created = await phaya.create(TextToImage, key)
        assert (await phaya.finish(TextToImage.path, created["job_id"], key))["state"] == "completed"
        assert await phaya.audit() == []


async def test_readiness_the_metrics_and_the_digest_tell_that_nothing_can_be_written_until_there_is_room(
    tmp_path: Path,
) -> None:
    """A node that can only read is taken out of the balance, and comes back by itself without any other request."""
    async with running(tmp_path) as phaya:
        body = await phaya.example(TextToImage)
        with no_room((tmp_path / "phaya.db-wal").stat().st_size):
            refused = await phaya.post(TextToImage.create_path(), body)
            red = [await phaya.ask("GET", "/readyz") for _ in range(2)]
            reading = await phaya.get("user/credits")
            metrics = (await phaya.ask("GET", "/metrics")).content
            digest = (await phaya.operate("digest"))["items"]
        green = await phaya.ask("GET", "/readyz")

        assert refused.status == 503
        assert [(one.status, one.json["troubles"]) for one in red] == [(503, {"database": "DatabaseDown"})] * 2
        assert reading.status == 200
        assert b"phaya_database_up 1.0" in metrics
        assert b"phaya_database_writable 0.0" in metrics
        assert ("database", True) in [(item["what"], item["eyes"]) for item in digest]
        assert (green.status, green.json["troubles"]) == (200, {})
        assert await phaya.audit() == []


async def test_nothing_is_written_to_see_whether_a_database_is_ready(tmp_path: Path) -> None:
    database = Embedded(tmp_path)
    await database.write(_add, "before")
    before = (tmp_path / "phaya.db-wal").stat()
    for _ in range(3):
        await database.ready()
    after = (tmp_path / "phaya.db-wal").stat()
    await database.close()

    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


async def test_a_file_that_does_not_fit_is_not_kept_and_its_sender_is_told(tmp_path: Path) -> None:
    """Neither in part nor as a debt: the answer is 503, `/readyz` names the storage until there is room again."""
    film = tmp_path / "film"
    film.write_bytes(bytes(2 * TRIAL_BYTES))
    async with running(tmp_path / "data") as phaya:
        storage = phaya.system.results.storage
        with no_room(TRIAL_BYTES // 2):
            with pytest.raises(StorageDown):
                await storage.put("2026/11/film.mp4", film)
            red = await phaya.ask("GET", "/readyz")
            form = aiohttp.FormData()
            form.add_field("file", io.BytesIO(film.read_bytes()), filename="film.mp4")
            headers = {"Authorization": f"Bearer {phaya.key}"}
            async with phaya.session.post(f"{phaya.url}/api/v1/media/upload", data=form, headers=headers) as sent:
                refused = sent.status, (await sent.json())["error"]
            metrics = (await phaya.ask("GET", "/metrics")).content.decode()
            digest = (await phaya.operate("digest"))["items"]
            there = [stat.key async for stat in storage.listing()]
        green = await phaya.ask("GET", "/readyz")

        assert (red.status, red.json["troubles"]) == (503, {"storage": "StorageDown"})
        assert refused == (503, "storage_unavailable")
        failures = next(line for line in metrics.splitlines() if line.startswith("phaya_storage_failures_total"))
        assert float(failures.split()[1]) >= 2
        assert ("storage", True) in [(item["what"], item["eyes"]) for item in digest]
        assert there == []
        assert green.status == 200
        assert list((tmp_path / "data" / "work").rglob("*.*")) == []
        assert await phaya.audit() == []


async def test_a_process_without_memory_refuses_in_its_doors_words_and_goes_on(tmp_path: Path) -> None:
    """A body and a picture that there is no memory for: nothing is kept or charged, and others are served."""
    flat = io.BytesIO()
    Image.new("L", (7000, 7000)).save(flat, "PNG")
    async with cluster(tmp_path, embedded=True) as run:
        node = await run.serve()
        assert node.process is not None
        headers = {"Authorization": f"Bearer {run.key}"}

        async def post(path: str, data: Any) -> tuple[int, Any]:
            async with run.session.post(f"{node.url}/{path}", data=data, headers=headers) as answer:
                return answer.status, await answer.json()

        large = io.BytesIO(orjson.dumps({"prompt": "x" * 30_000_000}))
        chat = io.BytesIO(
            orjson.dumps({"model": "Phaya-GPT", "messages": [{"role": "user", "content": "x" * 30_000_000}]})
        )
        with no_memory(node.process.pid, 14_000_000):
            native = await post("api/v1/image-to-video/create", large)
            openai = await post("v1/chat/completions", chat)
            form = aiohttp.FormData()
            form.add_field("file", flat.getvalue(), filename="flat.png")
            picture = await post("api/v1/media/upload", form)
            _, credits = await run.ask("GET", "user/credits")
        assert node.process.returncode is None
        created = await run.create()
        statuses = await run.finish()
        _, history = await run.ask("GET", "user/credits/history")
        faults = await run.check()
        told = (tmp_path / "serve.log").read_text()

    assert (native[0], native[1]["error"]) == (500, "internal_error")
    assert (openai[0], openai[1]["error"]["code"]) == (500, "internal_error")
    assert (picture[0], picture[1]["error"]) == (500, "internal_error")
    assert credits["credits_balance"] == START
    assert [entry["job_id"] for entry in history["history"] if entry["amount"] < 0] == [created]
    assert [status["state"] for status in statuses.values()] == ["completed"]
    assert faults == []
    assert "MemoryError" in told


async def test_a_transaction_without_memory_fails_alone_and_the_writer_goes_on(tmp_path: Path) -> None:
    def swell(connection: Connection) -> int:
        _add(connection, "half done")
        return len(bytes(1 << 60))

    database = Embedded(tmp_path)
    outcomes = await asyncio.gather(
        database.write(_add, "before"), database.write(swell), database.write(_add, "after"), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [type(None), MemoryError, type(None)]
    assert await database.read(_names) == 2
    await database.close()
