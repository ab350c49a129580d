"""The audit log: every action of an operator leaves one line, in its own transaction, and no line is ever changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.exc import DBAPIError

from conftest import BOTH, Phaya
from phaya import accounts, audit, backlog, keys, ledger, logins, operator, passwords, transfer
from phaya.calls import KieTask, pack
from phaya.credits import credits
from phaya.database import Database, Embedded
from phaya.deeds import ACTIONS, DEEDS
from phaya.errors import Conflict, Invalid, NotFound, PhayaError, Unauthorized
from phaya.jobs import Job, State, Step
from phaya.openings import open_job
from phaya.operator import COMMANDS, READING
from phaya.postgresql import PostgreSQL
from phaya.schema import audit as table
from phaya.schema import jobs
from test_cli import operator_of, phaya_command

pytestmark = pytest.mark.anyio

ENGINES = BOTH
EMAIL, ACTOR, SECRET = "a@x.org", "boss@x.org", b"secret"


async def act(database: Database, command: str, now: int = 10, **values: Any) -> dict[str, Any]:
    asked = {"services": (), "by": "Ann", **values}
    return await database.write(operator.perform, command, SECRET, now, asked, ACTOR)


async def lines(database: Database) -> list[audit.Line]:
    return (await database.read(audit.listing, audit.Search(), 100))[::-1]


async def begun(database: Database) -> str:
    """An account with ten credits and a key, whose id is answered."""
    made = await act(database, "keys create", account=EMAIL, name="n", credits="10", scopes=[], rate=60, cap="8")
    return made["key_id"]


def job(connection: Connection, key_id: str, job_id: str, **values: Any) -> None:
    """A job of the key's account that holds two credits."""
    key = keys.find(connection, key_id)
    row = Job(
        id=job_id, account_id=key.account_id, key_id=key.id, service="text-to-image", request="{}",
        call=pack(KieTask("z-image", {})), sandbox=True,
        price=credits("2"), state=State.QUEUED, step=Step.OPEN, lane="remote", deadline_at=10**6,
        created_at=1, next_at=1,
    )  # fmt: skip
    open_job(connection, row)
    if values:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))


def test_every_command_that_changes_something_says_what_is_written_down() -> None:
    assert set(DEEDS) == set(COMMANDS) - READING
    assert set(DEEDS) < set(ACTIONS)


async def test_every_action_leaves_exactly_one_line_that_says_who_did_what_to_whom(database: Database) -> None:
    key_id = await begun(database)
    done, failed = State.COMPLETED.value, State.FAILED.value
    for job_id, values in (
        ("open", {}),
        ("done", {"state": done, "step": Step.DONE.value, "next_at": None}),
        ("doubt", {"state": failed, "step": Step.WATCHING.value, "error_code": "deadline"}),
    ):
        await database.write(job, key_id, job_id, **values)
    voucher = (await act(database, "vouchers create", credits="1", count=2, uses=1, note="fair"))["vouchers"][0]["id"]
    of_key: dict[str, Any] = {"account": EMAIL, "key_id": key_id}
    orders: list[tuple[str, Mapping[str, Any]]] = [
        ("credits grant", {"account": "new@x.org", "amount": "3", "note": "hello"}),
        ("credits adjust", {"account": EMAIL, "amount": "-1", "reason": "twice"}),
        ("credits refund", {"job": "done", "amount": "0.5", "reason": "blurred"}),
        ("jobs cancel", {"job": "open", "reason": "asked for"}),
        ("reconcile look", {"job": "doubt"}),
        ("reconcile close", {"job": "doubt", "reason": "paid"}),
        ("keys cap", {**of_key, "cap": "9"}),
        ("keys suspend", of_key),
        ("keys resume", of_key),
        ("keys rotate", {**of_key, "overlap_seconds": 60}),
        ("accounts limits", {"account": EMAIL, "jobs": "9", "media_days": 14}),
        ("keys revoke", of_key),
        ("accounts promote", {"account": EMAIL}),
        ("accounts demote", {"account": EMAIL}),
        ("accounts suspend", {"account": EMAIL, "reason": "fraud"}),
        ("accounts resume", {"account": EMAIL}),
        ("vouchers revoke", {"id": voucher}),
        ("console link", {"account": EMAIL}),
    ]
    for command, values in orders:
        await act(database, command, **values)

    found = await lines(database)
    assert [line.action for line in found] == ["keys create", "vouchers create", *(command for command, _ in orders)]
    assert {(line.actor, line.created_at) for line in found} == {(ACTOR, 10)}
    assert {line.action for line in found} == set(DEEDS) - {"console first"}
    told = {line.action: line for line in found}
    assert (told["credits adjust"].subject, told["credits adjust"].account) == (EMAIL, EMAIL)
    assert told["credits adjust"].details == {
        "adjusted": "-1", "reason": "twice", "by": "Ann", "credits_balance": "3",
    }  # fmt: skip
    assert (told["credits refund"].subject, told["credits refund"].details["refunded"]) == ("done", "0.5")
    assert (told["jobs cancel"].subject, told["jobs cancel"].details["returned"]) == ("open", "2")
    assert told["accounts suspend"].details == {"reason": "fraud"}
    assert told["credits grant"].details["new_account"] is True
    assert told["vouchers create"].subject == f"{voucher} and 1 more"
    assert {line.account for line in found if line.action.startswith(("keys", "jobs", "reconcile"))} == {EMAIL}


async def test_no_secret_is_written_down(database: Database) -> None:
    made = await act(database, "keys create", account=EMAIL, name="n", credits=None, scopes=[])
    codes = (await act(database, "vouchers create", credits="1", count=3, uses=1, note=""))["vouchers"]
    link = await act(database, "console link", account=EMAIL)
    first = link["path"].removeprefix("/welcome/")

    whole = await database.read(lambda c: repr(c.execute(select(table)).all()))
    assert not [secret for secret in (made["key"], first, *(one["code"] for one in codes)) if secret in whole]


@pytest.mark.parametrize(
    ("command", "values", "error"),
    [
        ("credits adjust", {"account": EMAIL, "amount": "-11", "reason": "r"}, PhayaError),
        ("credits grant", {"account": EMAIL, "amount": "0"}, Invalid),
        ("keys cap", {"account": EMAIL, "key_id": "none", "cap": "1"}, NotFound),
        ("accounts suspend", {"account": EMAIL, "reason": " "}, Invalid),
        ("jobs cancel", {"job": "none", "reason": "r"}, NotFound),
    ],
)
async def test_what_was_refused_leaves_no_line(
    database: Database, command: str, values: dict[str, Any], error: type[Exception]
) -> None:
    await begun(database)
    with pytest.raises(error):
        await act(database, command, **values)

    assert [line.action for line in await lines(database)] == ["keys create"]


async def test_what_changed_nothing_leaves_no_line(database: Database) -> None:
    key_id = await begun(database)
    for command in ("accounts demote", "accounts resume", "keys resume"):
        assert (await act(database, command, account=EMAIL, key_id=key_id))["changed"] is False

    assert len(await lines(database)) == 1


async def test_an_action_without_its_line_does_not_happen(database: Database) -> None:
    await begun(database)

    def refuse(connection: Connection) -> None:
        refusing = "CHECK (action <> 'credits grant')"
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"ALTER TABLE audit ADD CONSTRAINT no_grants {refusing}"))
        else:
            raising = "BEGIN SELECT RAISE(ABORT, 'no grants'); END"
            when = "WHEN NEW.action = 'credits grant'"
            connection.execute(text(f"CREATE TRIGGER no_grants BEFORE INSERT ON audit {when} {raising}"))

    await database.write(refuse)
    with pytest.raises(DBAPIError):
        await act(database, "credits grant", account=EMAIL, amount="3")

    account = await database.read(keys.account_by_email, EMAIL)
    assert account.balance == credits("10")
    assert len(await database.read(ledger.statement, account.id, 9)) == 1


@pytest.mark.parametrize("change", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
async def test_the_database_refuses_to_change_or_delete_a_line(database: Database, change: str) -> None:
    await begun(database)
    before = await lines(database)
    with pytest.raises(DBAPIError, match="only ever added to"):
        await database.write(lambda connection: connection.execute(text(change)).rowcount)

    assert await lines(database) == before != []


async def test_postgresql_does_not_empty_the_log_at_once_either(database: Database) -> None:
    await begun(database)
    if not isinstance(database, PostgreSQL):
        return  # SQLite has no TRUNCATE
    with pytest.raises(DBAPIError, match="only ever added to"):
        await database.write(lambda connection: connection.execute(text("TRUNCATE audit")).rowcount)


async def test_the_log_is_read_by_actor_action_account_and_day_page_by_page(database: Database) -> None:
    day = 86_400_000
    for number in range(3):
        await act(database, "credits grant", number * day + 5, account=EMAIL, amount="1")
    await act(database, "credits grant", 5, account="b@x.org", amount="1")
    account = await database.read(keys.account_by_email, EMAIL)

    async def found(limit: int = 9, **wanted: Any) -> list[int]:
        return [line.id for line in await database.read(audit.listing, audit.Search(**wanted), limit)]

    assert await found(account_id=account.id) == [3, 2, 1]
    assert await found(day=0) == [4, 1]
    assert await found(actor="somebody") == []
    assert await found(action="credits grant", limit=2) == [4, 3]
    assert await found(before=3) == [2, 1]


async def test_whoever_claims_the_first_account_is_an_operator_and_that_is_written_down(database: Database) -> None:
    first = await database.write(operator.perform, "console first", SECRET, 0, {"credits": "100"}, "cli:root")
    token = first["path"].removeprefix("/welcome/")
    login = await database.write(logins.accept, SECRET, token, "First@x.org", passwords.hashed("a long password"), 1)
    again = await database.write(operator.perform, "console first", SECRET, 2, {"credits": "100"}, "cli:root")

    assert (await database.read(keys.find_account, login.account_id)).operator
    assert again["path"] is None
    assert [(line.action, line.actor) for line in await lines(database)] == [
        ("console first", "cli:root"), ("accounts claim", "first@x.org"),
    ]  # fmt: skip


async def test_a_later_link_makes_no_operator(database: Database) -> None:
    link = await act(database, "console link", account=EMAIL)
    token = link["path"].removeprefix("/welcome/")
    await database.write(logins.accept, SECRET, token, "", passwords.hashed("a long password"), 11)

    assert not (await database.read(keys.account_by_email, EMAIL)).operator


async def test_a_suspended_key_is_not_taken_until_it_is_resumed(database: Database) -> None:
    made = await act(database, "keys create", account=EMAIL, name="n", credits=None, scopes=[])
    of_key: dict[str, Any] = {"account": EMAIL, "key_id": made["key_id"]}
    await act(database, "keys suspend", **of_key)
    with pytest.raises(Unauthorized):
        await database.read(keys.authenticate, SECRET, made["key"], 11)
    await act(database, "keys resume", **of_key)

    assert (await database.read(keys.authenticate, SECRET, made["key"], 11)).id == made["key_id"]


async def test_of_a_suspended_account_no_key_is_taken_and_no_session(database: Database) -> None:
    made = await act(database, "keys create", account=EMAIL, name="n", credits=None, scopes=[])
    link = await act(database, "console link", account=EMAIL)
    token = link["path"].removeprefix("/welcome/")
    await act(database, "accounts suspend", account=EMAIL, reason="fraud")
    login = await database.write(logins.accept, SECRET, token, "", passwords.hashed("a long password"), 11)
    await database.write(logins.begin, "session", login.account_id, login.key_id, 11, owner=True)

    with pytest.raises(Unauthorized):
        await database.read(keys.authenticate, SECRET, made["key"], 12)
    with pytest.raises(Unauthorized):
        await database.read(logins.resume, "session", 12)
    assert not await database.read(logins.may_enter, login, 12)
    await act(database, "accounts resume", account=EMAIL)
    assert await database.read(logins.may_enter, login, 12)


async def test_a_cap_is_never_below_what_was_spent(database: Database) -> None:
    key_id = await begun(database)
    await database.write(job, key_id, "one")
    with pytest.raises(Invalid, match="at least 2"):
        await act(database, "keys cap", account=EMAIL, key_id=key_id, cap="1.9")
    await act(database, "keys cap", account=EMAIL, key_id=key_id, cap="2")
    with pytest.raises(PhayaError, match="cap leaves 0"):
        await database.write(job, key_id, "two")
    await act(database, "keys cap", account=EMAIL, key_id=key_id, cap=None)

    await database.write(job, key_id, "three")
    assert await database.read(ledger.audit) == []


async def test_a_form_that_is_sent_twice_grants_once(database: Database) -> None:
    await begun(database)
    account = await database.read(keys.account_by_email, EMAIL)
    values: dict[str, Any] = {"account": EMAIL, "amount": "3", "seen": 1}
    await act(database, "credits grant", **values)
    with pytest.raises(Conflict):
        await act(database, "credits grant", **values)

    assert await database.read(ledger.balance, account.id) == credits("13")


async def test_the_queue_and_the_accounts_are_told_as_they_are(database: Database) -> None:
    key_id = await begun(database)
    await database.write(keys.open_account, "b_c@x.org", 3)
    failed = {"state": State.FAILED.value, "step": Step.DONE.value, "next_at": None, "ended_at": 50}
    await database.write(job, key_id, "one")
    await database.write(job, key_id, "two", state=State.PROCESSING.value, created_at=2)
    await database.write(job, key_id, "gone", **failed, error_code="deadline")
    await act(database, "accounts suspend", account=EMAIL, reason="r")

    [lane, *_] = await database.read(backlog.lanes, ("remote", "render"), 11)
    flights = await database.read(backlog.flights, None, 9)
    behind = await database.read(backlog.flights, (1, "one"), 9)
    listed = (await database.read(accounts.listing, b"", 0, {"search": "A@X"}))["accounts"]
    page = await database.read(accounts.listing, b"", 0, {"limit": 1})

    assert (lane.queued, lane.processing, lane.due_at) == (1, 1, 1)
    assert await database.read(backlog.services) == [("text-to-image", 2)]
    assert [(one.id, one.account) for one in flights] == [("one", EMAIL), ("two", EMAIL)]
    assert [one.id for one in behind] == ["two"]
    assert await database.read(backlog.failures, 50) == [backlog.Failure("text-to-image", "deadline", 1, 50)]
    assert await database.read(backlog.failures, 51) == []
    assert [(one["account"], one["credits_balance"], one["credits_spent"], one["keys"]) for one in listed] == [
        (EMAIL, "4", "6", 1),
    ]  # fmt: skip
    assert listed[0]["suspended_at"] is not None
    rest = await database.read(accounts.listing, b"", 0, {"after": page["next"]})
    assert (page["next"], [one["account"] for one in rest["accounts"]]) == (EMAIL, ["b_c@x.org"])
    assert (await database.read(accounts.listing, b"", 0, {"search": "a_"}))["accounts"] == []


async def test_the_command_line_signs_with_the_user_of_the_operating_system(phaya: Phaya) -> None:
    where = operator_of(phaya)
    if (url := phaya.system.settings.database_url) is not None:
        where["PHAYA_DATABASE_URL"] = url
    await phaya_command("credits", "grant", "--account", "cli@x.org", "7", **where)
    code, printed, problems = await phaya_command("audit", "--account", "cli@x.org", "--json", **where)

    assert code == 0, problems
    [line] = orjson.loads(printed)
    assert (line["actor"], line["action"], line["details"]["granted"]) == (operator.actor(), "credits grant", "7")
    assert line["actor"].startswith("cli:")


async def test_the_log_is_carried_over_into_postgresql_and_goes_on_there(
    tmp_path: Any, postgresql: Any, engine: str
) -> None:
    if engine != "sqlite":
        return
    here = Embedded(tmp_path)
    await begun(here)
    await here.close()
    url = postgresql.new_database()
    await transfer.carry_over(tmp_path, url, 20)
    there = PostgreSQL(url, connections=2)
    try:
        await act(there, "accounts promote", account=EMAIL)
        found = await lines(there)
        count = await there.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar())
    finally:
        await there.close()

    assert ([line.action for line in found], count) == (["keys create", "accounts promote"], 2)
