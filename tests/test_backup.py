"""Backup, restore and the move to PostgreSQL work as the operator's guide says, command by command."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path

import pytest

import servers
from conftest import running
from phaya import inspection, keys, ledger
from phaya.catalog import SERVICES
from phaya.keys import load_secret
from phaya.postgresql import PostgreSQL
from readme import ROOT, named_blocks

pytestmark = pytest.mark.anyio

PICTURE = SERVICES["text-to-image"]
GUIDE = named_blocks("docs/operating.md")


@pytest.fixture(scope="module")
def server() -> Generator[servers.Postgres]:
    with servers.postgres() as running_one:
        yield running_one


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with `.venv`, where the operator stands."""
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


async def run(folder: Path, block: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PHAYA", "KIE", "OPENROUTER"))}
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", GUIDE[block], cwd=folder, env=clean | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, problems = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, printed.decode() + problems.decode()
    return printed.decode()


async def test_a_backup_of_a_running_server_is_restored_with_keys_money_and_files(checkout: Path) -> None:
    async with running(checkout / "data") as phaya:
        key = await phaya.new_key("5")
        job = (await phaya.create(PICTURE, key, prompt="Before the backup"))["job_id"]
        await phaya.finish(PICTURE.path, job, key)

        assert "Clean" in await run(checkout, "backup")

        late = (await phaya.create(PICTURE, key, prompt="After the backup"))["job_id"]
        await phaya.finish(PICTURE.path, late, key)
        assert await phaya.balance(key) == 3

    assert "Clean" in await run(checkout, "restore")

    async with running(checkout / "data") as phaya:
        assert await phaya.balance(key) == Decimal(4)
        status = (await phaya.get(f"{PICTURE.path}/status/{job}", key=key)).json
        async with phaya.session.get(status["result_url"]) as answer:
            assert answer.status == 200
        assert (await phaya.get(f"{PICTURE.path}/status/{late}", key=key)).status == 404
        assert await phaya.audit() == []


async def test_a_backup_that_lacks_a_file_does_not_pass_its_check(checkout: Path) -> None:
    async with running(checkout / "data") as phaya:
        job = (await phaya.create(PICTURE))["job_id"]
        await phaya.finish(PICTURE.path, job)
        shutil.move(checkout / "data" / "media", checkout / "elsewhere")
        (checkout / "data" / "media").mkdir()

        with pytest.raises(AssertionError, match="is missing"):
            await run(checkout, "backup")
        shutil.rmtree(checkout / "data" / "media")
        shutil.move(checkout / "elsewhere", checkout / "data" / "media")


async def test_a_move_to_postgresql_and_its_dump_keep_keys_and_money(checkout: Path, server: servers.Postgres) -> None:
    async with running(checkout / "data") as phaya:
        key = await phaya.new_key("5")
        await phaya.finish(PICTURE.path, (await phaya.create(PICTURE, key))["job_id"], key)
    tools = {"PATH": f"{server.binaries}{os.pathsep}{os.environ['PATH']}"}
    moved, restored = server.new_database(), server.new_database()

    printed = await run(checkout, "copy", EMPTY=moved)
    await run(checkout, "dump", **tools, PHAYA_DATABASE_URL=moved)
    await run(checkout, "load", **tools, RESTORED=restored)

    assert "Every row, balance and entry arrived." in printed
    for url in (moved, restored):
        database = PostgreSQL(url, connections=2)
        try:
            found = await database.read(keys.authenticate, load_secret(None, checkout / "backup"), key, 0)
            assert str(await database.read(ledger.balance, found.account_id)) == "4"
            assert (await database.read(inspection.check, b"", 0, {"at_rest": True}))["faults"] == []
        finally:
            await database.close()
