"""Vouchers: each use has one winner, each account redeems a code once, and a wrong code tells nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conftest import BOTH, Clock, Phaya, Reply
from phaya import codes, keys, ledger, vouchers
from phaya.clock import DAY
from phaya.credits import Credits, credits
from phaya.database import Database
from phaya.errors import Conflict, Invalid
from phaya.vouchers import WRONG, WrongCode

pytestmark = pytest.mark.anyio

ENGINES = BOTH


async def make(phaya: Phaya, **values: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"credits": "10", "by": "Ann", "count": 1, "uses": 1, "note": ""} | values
    return await phaya.operate("vouchers create", **asked)


async def code(phaya: Phaya, **values: Any) -> str:
    return (await make(phaya, **values))["vouchers"][0]["code"]


async def redeem(phaya: Phaya, text: str, key: str) -> Reply:
    return await phaya.post("user/vouchers/redeem", {"code": text}, key=key)


async def test_a_voucher_brings_its_credits_and_is_on_the_statement(phaya: Phaya) -> None:
    key = await phaya.new_key("1")

    done = await redeem(phaya, await code(phaya, credits="2.5", note="Songkran"), key)

    assert done.status == 200, done.content
    assert (done.exact("credits"), done.exact("credits_balance"), done.json["expires_at"]) == (2.5, 3.5, None)
    newest = (await phaya.get("user/credits/history", key=key)).json["history"][0]
    assert (newest["reason"], newest["amount"], newest["note"]) == ("voucher", 2.5, "Songkran")
    assert await phaya.audit() == []


async def test_fifty_accounts_at_once_and_one_winner(phaya: Phaya) -> None:
    users = [await phaya.new_key("1") for _ in range(50)]
    text = await code(phaya)

    answers = await asyncio.gather(*(redeem(phaya, text, key) for key in users))

    assert sorted(answer.status for answer in answers) == [200, *[404] * 49]
    assert sum([await phaya.balance(key) for key in users]) == 60
    assert await phaya.audit() == []


async def test_fifty_accounts_at_once_and_as_many_winners_as_uses(phaya: Phaya) -> None:
    users = [await phaya.new_key("1") for _ in range(50)]
    text = await code(phaya, uses=7)

    answers = await asyncio.gather(*(redeem(phaya, text, key) for key in users))

    assert sorted(answer.status for answer in answers) == [*[200] * 7, *[404] * 43]
    assert sum([await phaya.balance(key) for key in users]) == 120


async def test_one_account_at_once_redeems_a_code_of_many_uses_once(phaya: Phaya) -> None:
    key = await phaya.new_key("1")
    made = await make(phaya, uses=20)
    text = made["vouchers"][0]["code"]

    answers = await asyncio.gather(*(redeem(phaya, text, key) for _ in range(10)))

    assert sorted(answer.status for answer in answers) == [200, *[404] * 9]
    assert await phaya.balance(key) == 11
    listed = {one["id"]: one for one in (await phaya.operate("vouchers list"))["vouchers"]}
    assert listed[made["vouchers"][0]["id"]]["used"] == 1


async def test_whatever_is_wrong_with_a_code_the_words_are_the_same(phaya: Phaya) -> None:
    key = await phaya.new_key("1")
    used, mine = await code(phaya), await code(phaya, uses=2)
    await redeem(phaya, used, await phaya.new_key())
    await redeem(phaya, mine, key)
    revoked = (await make(phaya))["vouchers"][0]
    await phaya.operate("vouchers revoke", id=revoked["id"])

    answers = [await redeem(phaya, text, key) for text in (used, mine, revoked["code"], "0000-0000-0000-0000", "?")]

    told = [{**answer.json, "request_id": None} for answer in answers]
    assert {answer.status for answer in answers} == {404}
    assert told == told[:1] * len(answers)
    assert (answers[0].json["error"], answers[0].json["message"]) == ("voucher_not_valid", WRONG)
    assert await phaya.balance(key) == 11


async def test_an_account_tries_ten_codes_a_minute_however_many_at_once(phaya: Phaya) -> None:
    key = await phaya.new_key("1", account="guesser@phaya.example")
    other = await phaya.new_key(None, account="guesser@phaya.example")

    answers = await asyncio.gather(*(redeem(phaya, f"GUESS-{n}", (key, other)[n % 2]) for n in range(30)))

    assert sorted(answer.status for answer in answers) == [*[404] * 10, *[429] * 20]
    right = await redeem(phaya, await code(phaya), key)
    assert (right.status, int(right.headers["Retry-After"]) > 0) == (429, True)


async def test_a_code_may_be_typed_as_people_type(phaya: Phaya) -> None:
    key = await phaya.new_key("1")

    for typed in ((await code(phaya)).lower(), (await code(phaya)).replace("-", ""), f" {await code(phaya)}\n"):
        assert (await redeem(phaya, typed, key)).status == 200


def test_letters_that_look_like_digits_are_read_as_these() -> None:
    assert vouchers.digest(b"s", "O1lI-0000") == vouchers.digest(b"s", "0111 0000")
    assert vouchers.digest(b"s", "0111") != vouchers.digest(b"t", "0111")


def test_codes_are_of_eighty_bits_in_four_groups() -> None:
    drawn = {codes.draw() for _ in range(500)} | {codes.derived(b"s", "form", number) for number in range(500)}

    assert len(drawn) == 1000
    assert {tuple(len(group) for group in text.split("-")) for text in drawn} == {(4, 4, 4, 4)}
    assert set("".join(drawn)) == {*codes.ALPHABET, "-"}


async def test_no_code_is_in_the_database(phaya: Phaya) -> None:
    text = await code(phaya, note="a note")

    listed = await phaya.operate("vouchers list")

    assert text not in str(listed)
    assert text.replace("-", "") not in str(listed)


async def test_a_form_that_is_sent_twenty_times_at_once_makes_its_vouchers_once(phaya: Phaya) -> None:
    before = len((await phaya.operate("vouchers list"))["vouchers"])
    answers = await asyncio.gather(*(make(phaya, count=3, once="form-1") for _ in range(20)))
    other = await make(phaya, count=3, once="form-2")

    assert len({str(answer["vouchers"]) for answer in answers}) == 1
    assert sorted(answer["made"] for answer in answers) == [0] * 19 + [3]
    assert len((await phaya.operate("vouchers list"))["vouchers"]) == before + 6
    assert {one["code"] for one in other["vouchers"]}.isdisjoint(one["code"] for one in answers[0]["vouchers"])
    key = await phaya.new_key(None)
    assert (await redeem(phaya, answers[19]["vouchers"][2]["code"], key)).status == 200


@pytest.mark.parametrize(
    "changed", [{"credits": credits("11")}, {"count": 1}, {"count": 3}, {"uses": 2}, {"note": "another"}]
)
async def test_a_form_makes_no_other_vouchers_than_its_first_ones(database: Database, changed: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"credits": credits(10), "count": 2, "uses": 1, "note": "", "actor": "Ann", "once": "form"}
    other = asked | changed
    await database.write(lambda c: vouchers.create(c, b"s", now=1, **asked))

    with pytest.raises(Conflict):
        await database.write(lambda c: vouchers.create(c, b"s", now=2, **other))

    assert len(await database.read(vouchers.listing, None, 10)) == 2


async def test_a_voucher_ends_at_its_moment_and_its_credits_at_theirs(database: Database, clock: Clock) -> None:
    secret, now = b"secret", clock.now()
    account, other = [await database.write(keys.open_account, email, now) for email in ("a@x", "b@x")]
    made = await database.write(
        vouchers.create, secret, credits(10), now, actor="Ann", uses=9, expires_at=now + DAY, grant_days=30
    )
    ((_, text),) = made.vouchers

    done = await database.write(vouchers.redeem, secret, account.id, text, now + DAY - 1)
    with pytest.raises(WrongCode):
        await database.write(vouchers.redeem, secret, other.id, text, now + DAY)

    assert (done.credits, done.expires_at) == (credits(10), now + 31 * DAY - 1)
    assert await database.write(ledger.expire, account.id, now + 31 * DAY - 2) == 0
    assert await database.write(ledger.expire, account.id, now + 31 * DAY - 1) == 1
    assert await database.read(ledger.balance, account.id) == Credits(0)
    assert await database.read(ledger.audit) == await database.read(lambda c: list(vouchers.audit(c))) == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"credits": "0"}, "credits"), ({"credits": "-1"}, "credits"), ({"credits": "many"}, "credits"),
        ({"count": 0}, "count"), ({"count": 1001}, "count"), ({"uses": 0}, "uses"), ({"grant_days": 0}, "grant_days"),
        ({"expires": "yesterday"}, "expires"), ({"expires": "2020-01-01"}, "expires"), ({"expires": "0"}, "expires"),
        ({"by": " "}, "by"), ({"note": "x" * 201}, "note"),
    ],
)  # fmt: skip
async def test_a_voucher_that_makes_no_sense_is_refused_by_its_field(
    phaya: Phaya, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(Exception, match=f"^{field}: ") as caught:
        await make(phaya, **wrong)

    assert isinstance(caught.value, Invalid) or "Refused" in type(caught.value).__name__


async def test_the_check_finds_a_use_that_nobody_made_and_credits_that_no_voucher_gave(phaya: Phaya) -> None:
    from sqlalchemy import text as sql

    key = await phaya.new_key("1", account="forged@phaya.example")
    made = await make(phaya, uses=5)
    voucher = made["vouchers"][0]["id"]
    account = (await phaya.get("user/profile", key=key)).json["user_id"]

    def forge(connection: Any) -> None:
        connection.execute(sql("UPDATE vouchers SET used = 1 WHERE id = :id"), {"id": voucher})
        ledger.receive(connection, account, ledger.VOUCHER, credits(7), "forged", 1)

    def undo(connection: Any) -> None:
        connection.execute(sql("UPDATE vouchers SET used = 0 WHERE id = :id"), {"id": voucher})
        connection.execute(sql("DELETE FROM entries WHERE note = 'forged'"))
        connection.execute(sql("UPDATE accounts SET balance = balance - 7000000000 WHERE id = :id"), {"id": account})

    await phaya.system.database.write(forge)
    faults = await phaya.audit()
    await phaya.system.database.write(undo)

    assert len(faults) == 2
    assert "voucher of 7 does not fit to anything" in faults[0]
    assert faults[1] == f"voucher {voucher}: used 1 times, redeemed 0 times"
    assert await phaya.audit() == []
