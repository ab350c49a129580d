"""The operator's books on a running Phaya: doubtful jobs, corrections, statements, the check, retention."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from conftest import Clock, Phaya, running
from phaya import inspection, jobs
from phaya.catalog import SERVICES
from phaya.clock import DAY
from phaya.retention import Retention
from test_cli import operator_of, phaya_command

pytestmark = pytest.mark.anyio

PICTURE = SERVICES["text-to-image"]


@pytest.fixture(scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    """A Phaya whose deadlines pass in about a second (15 minutes become one)."""
    async with running(tmp_path_factory.mktemp("hasty"), PHAYA_DEADLINE_SCALE=1 / 900) as phaya:
        yield phaya


async def refunded(phaya: Phaya, prompt: str) -> tuple[str, str]:
    """A job that the provider leaves open until it is refunded, and the key that paid for it."""
    key = await phaya.new_key("5")
    job = (await phaya.create(PICTURE, key, prompt=prompt))["job_id"]
    assert (await phaya.finish(PICTURE.path, job, key))["state"] == "failed"
    return job, key


async def listed(phaya: Phaya) -> dict[str, dict[str, Any]]:
    return {job["job_id"]: job for job in (await phaya.operate("reconcile list"))["jobs"]}


async def test_a_lost_job_is_listed_until_somebody_closes_it(hasty: Phaya) -> None:
    job, key = await refunded(hasty, "A lost ship [lost]")
    folder = operator_of(hasty)

    code, printed, problems = await phaya_command("reconcile", "list", "--json", **folder)
    assert code == 0, problems
    [found] = [one for one in orjson.loads(printed) if one["job_id"] == job]
    looked, _, _ = await phaya_command("reconcile", "look", job, **folder)
    closed, told, _ = await phaya_command("reconcile", "close", job, "--by", "Ann", "--reason", "gone", **folder)

    assert (found["step"], found["price"], found["returned"], found["error_code"]) == ("watching", "1", "1", "deadline")
    assert found["ticket"]
    assert found["provider_key"]
    assert (looked, closed) == (0, 0)
    assert "closed by Ann: gone" in told
    assert job not in await listed(hasty)
    assert await hasty.balance(key) == 5
    assert await hasty.audit() == []


async def test_a_job_that_the_provider_makes_late_is_seen_again_with_its_cost(hasty: Phaya) -> None:
    job, key = await refunded(hasty, "A late sun [slow 3]")
    assert (await listed(hasty))[job]["late_result"] is False

    async with asyncio.timeout(30):
        while not (found := (await listed(hasty))[job])["late_result"]:
            await asyncio.sleep(0.1)

    status = (await hasty.get(f"{PICTURE.path}/status/{job}", key=key)).json
    assert found["provider_spent"], "what the provider charged us"
    assert found["next"] == "nothing: the late result is the user's, free of charge"
    async with hasty.session.get(status["late_result"][0]) as answer:
        assert answer.status == 200
    assert await hasty.balance(key) == 5
    assert await hasty.audit() == []


async def test_a_correction_and_a_refund_from_the_command_line_are_told_to_the_customer(phaya: Phaya) -> None:
    email, folder = "corrected@x.org", operator_of(phaya)
    key = await phaya.new_key("5", account=email)
    job = (await phaya.create(PICTURE, key))["job_id"]
    await phaya.finish(PICTURE.path, job, key)
    why = ("--reason", "by the operator", "--by", "Ann")

    for arguments, balance in (
        (("adjust", "--account", email, "-1.25", *why), "2.75"),
        (("refund", job, "--amount", "0.5", *why), "3.25"),
        (("grant", "--account", email, "1", "--by", "Ann"), "4.25"),
    ):
        code, printed, problems = await phaya_command("credits", *arguments, "--json", **folder)
        assert code == 0, problems
        assert orjson.loads(printed)["credits_balance"] == balance
    again, _, told = await phaya_command("credits", "refund", job, *why, **folder)

    status = (await phaya.get(f"{PICTURE.path}/status/{job}", key=key)).json
    history = (await phaya.get("user/credits/history", key=key)).json["history"]
    assert (again, "before" in told) == (1, True)
    assert (status["credits_used"], status["credits_refunded"]) == (1, 0.5)
    assert [entry["reason"] for entry in history] == ["grant", "refund", "adjustment", "charge", "grant"]
    assert "Ann" not in str(history), "who it was is for the operator's books"
    assert await phaya.balance(key) == Decimal("4.25")
    assert await phaya.audit() == []


async def test_a_correction_without_a_name_or_a_reason_is_refused(phaya: Phaya) -> None:
    code, _, told = await phaya_command(
        "credits", "adjust", "--account", phaya.email, "1", "--reason", " ", "--by", "Ann", **operator_of(phaya)
    )

    assert (code, told.strip()) == (1, "reason: must have 1 to 1000 characters")


async def test_a_statement_is_the_same_for_the_account_and_for_the_operator(phaya: Phaya, tmp_path: Path) -> None:
    email = "reader@x.org"
    key = await phaya.new_key("5.5", account=email)
    job = (await phaya.create(PICTURE, key))["job_id"]
    await phaya.finish(PICTURE.path, job, key)
    out = tmp_path / "statement.csv"

    own = (await phaya.get("user/credits/statement", key=key)).json
    table = await phaya.get("user/credits/statement?format=csv&from=2000-01-01", key=key)
    code, _, problems = await phaya_command(
        "credits", "statement", "--account", email, "--out", str(out), **operator_of(phaya)
    )

    assert (own["opening_balance"], own["closing_balance"]) == (0, 4.5)
    assert [(entry["reason"], entry["amount"], entry["balance"]) for entry in own["entries"]] == [
        ("grant", 5.5, 5.5), ("charge", -1, 4.5),
    ]  # fmt: skip
    assert own["entries"][1]["job_id"] == job
    assert table.headers["Content-Type"].startswith("text/csv")
    assert code == 0, problems
    theirs, ours = (list(csv.DictReader(io.StringIO(one))) for one in (out.read_text(), table.content.decode()))
    assert [row.pop("by") for row in theirs] == [""] * 4
    assert [row["entry"] for row in theirs] == [row["entry"] for row in ours]
    assert theirs[-1]["balance"] == ours[-1]["balance"] == "4.5"


async def test_a_statement_of_thousands_of_entries_comes_whole(phaya: Phaya) -> None:
    email = "busy@x.org"
    key = await phaya.new_key("1", account=email)

    def many(connection: object) -> None:
        connection.execute(  # type: ignore[attr-defined]
            text(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) "
                "INSERT INTO entries (account_id, reason, amount, note, created_at, actor) "
                "SELECT id, 'adjustment', 1, '', 0, 'Ann' FROM accounts, n WHERE email = 'busy@x.org'"
            )
        )
        connection.execute(text("UPDATE accounts SET balance = balance + 2500 WHERE email = 'busy@x.org'"))  # type: ignore[attr-defined]

    await phaya.system.database.write(many)

    own = (await phaya.get("user/credits/statement", key=key)).json
    code, printed, _ = await phaya_command(
        "credits", "statement", "--account", email, "--format", "json", **operator_of(phaya)
    )

    assert code == 0
    for found in (own, orjson.loads(printed)):
        assert (len(found["entries"]), found["closing_balance"]) == (2501, 1.0000025)
    assert await phaya.audit() == []


@pytest.mark.parametrize("query", ["from=soon", "to=2026-02-30", "format=pdf", "from=2026-02-02&to=2026-01-01"])
async def test_a_statement_that_cannot_be_is_refused_by_its_field(phaya: Phaya, query: str) -> None:
    answer = await phaya.get(f"user/credits/statement?{query}")

    field = "to" if "&" in query else query.partition("=")[0]
    assert (answer.status, answer.json["detail"][0]["loc"]) == (422, ["query", field])


async def test_a_file_that_is_missing_is_named_by_the_check(phaya: Phaya) -> None:
    job = (await phaya.create(PICTURE))["job_id"]
    await phaya.finish(PICTURE.path, job)
    clean, told, problems = await phaya_command("check", **operator_of(phaya))
    assert clean == 0, problems
    assert "Clean" in told
    row = await phaya.system.database.read(jobs.find, job)
    assert row is not None
    assert row.results is not None
    file = phaya.system.results.storage.local_path(key := orjson.loads(row.results)["files"][0]["key"])
    assert file is not None
    content = file.read_bytes()

    file.unlink()
    code, printed, _ = await phaya_command("check", "--json", **operator_of(phaya))
    file.write_bytes(content)

    assert (code, orjson.loads(printed)["faults"]) == (1, [f"job {job}: its file {key} is missing"])


async def test_a_damaged_database_file_is_a_fault(tmp_path: Path) -> None:
    folder = {"PHAYA_DATA_DIR": str(tmp_path)}
    await phaya_command("credits", "grant", "--account", "a@x.org", "1", **folder)
    await phaya_command("check", **folder)  # leaves nothing in the write-ahead log
    with (tmp_path / "phaya.db").open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(size - 4096)
        file.write(b"\xff" * 64)

    code, _, told = await phaya_command("check", **folder)

    assert code == 1
    assert told.startswith("the database file is damaged: ")


async def test_a_hundred_thousand_jobs_are_checked_in_flat_memory(tmp_path: Path) -> None:
    import tracemalloc

    from phaya.database import Embedded

    def fill(connection: object) -> None:
        for statement in (
            "INSERT INTO accounts (id, email, created_at) VALUES ('a', 'a@x.org', 0)",
            "INSERT INTO keys (id, account_id, name, prefix, hash, created_at) VALUES ('k', 'a', 'k', 'p', 'h', 0)",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
            "INSERT INTO jobs (id, account_id, key_id, service, request, call, sandbox, price, returned, state, step, "
            "lane, claimed, deadline_at, created_at, ended_at, results) SELECT 'job' || i, 'a', 'k', 's', "
            "hex(zeroblob(200)), '{}', 1, 5, 5, 'failed', 'done', 'remote', 0, 0, 0, i, '{\"files\":[]}' FROM n",
            "INSERT INTO entries (account_id, key_id, job_id, reason, amount, created_at) "
            "SELECT 'a', 'k', id, 'charge', -5, 0 FROM jobs",
            "INSERT INTO entries (account_id, key_id, job_id, reason, amount, created_at) "
            "SELECT 'a', 'k', id, 'return', 5, 0 FROM jobs",
        ):
            connection.execute(text(statement))  # type: ignore[attr-defined]

    database = Embedded(tmp_path)
    try:
        await database.write(fill)
        tracemalloc.start()
        report = await database.read(inspection.check, b"", 0, {})
        page = await database.read(inspection.stored, b"", 100_000, {"media_days": 1, "after": [0, ""]})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await database.close()

    assert report["faults"] == []
    assert page["next"] is None or page["next"][0] <= 100_000
    assert most < 20_000_000


async def test_contents_of_old_jobs_are_erased_and_their_money_stays(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path) as phaya:
        key = await phaya.new_key("20")
        character = SERVICES["sora2-character"]
        made = {
            "done": (await phaya.create(PICTURE, key, prompt="A secret garden"))["job_id"],
            "failed": (await phaya.create(PICTURE, key, prompt="A secret storm [fail]"))["job_id"],
            "film": (await phaya.create(SERVICES["sora2-text-to-video"], key, prompt="A secret film"))["job_id"],
            "character": (await phaya.create(character, key))["job_id"],
        }
        for job in made.values():
            await phaya.finish(PICTURE.path, job, key)
        young = (await phaya.create(PICTURE, key, prompt="A young garden"))["job_id"]
        await phaya.finish(PICTURE.path, young, key)
        row = await phaya.system.database.read(jobs.find, young)
        assert row is not None
        assert row.ended_at is not None
        balance = await phaya.balance(key)
        clock.moment = row.ended_at + int(365 * DAY)  # those before it have just passed their time
        keeper = Retention(
            phaya.system.database, phaya.system.results, clock, 14, 365, pause=0, changed=phaya.system.board.clear
        )

        await keeper.sweep()

        for name, job in made.items():
            old = await phaya.system.database.read(jobs.find, job)
            assert old is not None
            assert (old.request, old.call, old.outcome, old.results, old.error) == ("{}", "{}", None, None, None), name
            status = (await phaya.get(f"{PICTURE.path}/status/{job}", key=key)).json
            assert status["state"] == ("failed" if name == "failed" else "completed")
            assert (status["result_url"], status["credits_used"]) == (None, float(str(old.price)))
            assert "deleted after its storage time" in status["message"]
            assert (status["error"] is None) == (name != "failed")
        kept = await phaya.system.database.read(jobs.find, young)
        assert kept is not None
        assert "young garden" in kept.request
        history = (await phaya.get("text-to-image/history", key=key)).json["history"]
        assert len(history) == 3
        assert (await phaya.get("sora2-character/list", key=key)).json["characters"] == []
        assert (await phaya.ask("GET", "/v1/videos", key=key)).json["data"] == []
        assert (await phaya.ask("GET", f"/v1/videos/{made['film']}", key=key)).status == 404
        assert await phaya.balance(key) == balance
        assert (await phaya.operate("check"))["faults"] == []
        assert (await phaya.operate("reconcile list"))["jobs"] == []


async def test_files_go_in_chunks_and_a_crash_before_the_row_is_harmless(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path) as phaya:
        made = [(await phaya.create(PICTURE, prompt=f"Tile {n}"))["job_id"] for n in range(5)]
        for job in made:
            await phaya.finish(PICTURE.path, job)
        rows = [await phaya.system.database.read(jobs.find, job) for job in made]
        await phaya.system.results.forget([row for row in rows[:2] if row])  # and here the process died
        clock.moment = max(row.ended_at or 0 for row in rows if row) + int(14 * DAY) + 1
        keeper = Retention(
            phaya.system.database, phaya.system.results, clock, 14, 365, pause=0, changed=phaya.system.board.clear
        )

        await keeper.sweep()

        stored = [stat.key async for stat in phaya.system.results.storage.listing() if "inputs" not in stat.key]
        left = [await phaya.system.database.read(jobs.find, job) for job in made]
        assert stored == []
        assert [row.results for row in left if row] == [None] * 5
        assert ["Tile" in row.request for row in left if row] == [True] * 5
