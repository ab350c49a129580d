"""Keys: kept as hashes, rotated without a gap, tied to networks and times; and guessing them leads nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from conftest import BOTH, Clock, Phaya, running
from conftest import settings as phaya_settings
from phaya import keys, schema
from phaya.brake import Brake
from phaya.clock import HOUR, MINUTE
from phaya.credits import credits
from phaya.database import Database
from phaya.errors import Forbidden, Invalid, NotEnoughCredits, NotFound, TooManyRequests, Unauthorized
from phaya.ledger import charge, grant
from phaya.origins import address_of, household, read_networks, within
from phaya.settings import is_secret

pytestmark = pytest.mark.anyio

ENGINES = BOTH
SECRET = b"the secret"
NOW = 1_800_000_000_000


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya]:
    """A Phaya behind a proxy on this machine that lets few wrong keys through."""
    folder = tmp_path_factory.mktemp("guarded")
    values = {"PHAYA_TRUSTED_PROXIES": "127.0.0.0/8", "PHAYA_WRONG_KEYS_PER_MINUTE": 5}
    async with running(folder, **values) as phaya:
        yield phaya


def _made(connection: Connection, email: str = "a@phaya.example", **values: Any) -> tuple[keys.Account, str, keys.Key]:
    account = keys.open_account(connection, email, NOW)
    return account, *keys.mint(connection, SECRET, account, "k", NOW, **values)


# ── what the database holds ──────────────────────────────────────────────────────────────────────────────


async def test_the_database_holds_no_text_of_a_key(database: Database) -> None:
    _, text, _ = await database.write(_made)
    [row] = await database.read(lambda c: c.execute(select(schema.keys)).all())

    assert text not in repr(row)
    assert text.removeprefix(row.prefix) not in repr(row)
    assert row.hash == keys.digest(SECRET, text)
    with pytest.raises(Unauthorized):
        await database.read(keys.authenticate, b"another secret", text, NOW)


async def test_a_rotated_key_has_two_texts_for_a_while_and_is_the_same_key(database: Database) -> None:
    account, first, key = await database.write(_made, cap=credits("5"), scopes=["chat"])
    second, after = await database.write(keys.rotate, SECRET, account.id, key.id, NOW, HOUR)
    third, _ = await database.write(keys.rotate, SECRET, account.id, key.id, NOW + 1, HOUR)

    async def good(text: str, now: int) -> bool:
        try:
            return (await database.read(keys.authenticate, SECRET, text, now)).id == key.id
        except Unauthorized:
            return False

    assert (after.id, after.cap, after.scopes) == (key.id, key.cap, key.scopes)
    assert [await good(text, NOW + 2) for text in (first, second, third)] == [False, True, True]
    assert [await good(text, NOW + HOUR + 1) for text in (second, third)] == [False, True]


async def test_only_a_living_key_of_the_account_is_rotated(database: Database) -> None:
    account, _, key = await database.write(_made)
    other = await database.write(keys.open_account, "b@phaya.example", NOW)

    with pytest.raises(NotFound):
        await database.write(keys.rotate, SECRET, other.id, key.id, NOW, 0)
    with pytest.raises(Invalid, match="overlap"):
        await database.write(keys.rotate, SECRET, account.id, key.id, NOW, 31 * 24 * HOUR)
    await database.write(keys.revoke, account.id, key.id, NOW)
    with pytest.raises(NotFound):
        await database.write(keys.rotate, SECRET, account.id, key.id, NOW, 0)


async def test_a_revoked_key_has_no_former_text_either(database: Database) -> None:
    account, text, key = await database.write(_made)
    await database.write(keys.rotate, SECRET, account.id, key.id, NOW, HOUR)
    await database.write(keys.revoke, account.id, key.id, NOW)

    with pytest.raises(Unauthorized):
        await database.read(keys.authenticate, SECRET, text, NOW)


async def test_a_cap_is_exact_however_many_spend_at_once(database: Database) -> None:
    account, _, key = await database.write(_made, cap=credits("7"))
    await database.write(grant, account.id, credits("100"), "", NOW)

    def spend(connection: Connection, number: int) -> None:
        connection.execute(schema.jobs.insert().values(_job(f"{number}", account.id, key.id)))
        charge(connection, account.id, key.id, f"{number}", credits("1"), NOW)

    outcomes = await asyncio.gather(*(database.write(spend, n) for n in range(20)), return_exceptions=True)

    assert sum(outcome is None for outcome in outcomes) == 7
    assert sum(isinstance(outcome, NotEnoughCredits) for outcome in outcomes) == 13


def _job(job_id: str, account_id: str, key_id: str) -> dict[str, Any]:
    return {
        "id": job_id, "account_id": account_id, "key_id": key_id, "service": "x", "request": "{}", "call": "{}",
        "sandbox": False, "price": credits("1").units, "state": "queued", "step": "open", "lane": "remote",
        "claimed": False, "deadline_at": NOW, "created_at": NOW,
    }  # fmt: skip


# ── guessing ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_guesses_are_slowed_and_a_neighbour_with_a_good_key_is_not(guarded: Phaya) -> None:
    def ask(key: str, address: str) -> Any:
        return guarded.get("user/credits", key=key, X_Forwarded_For=address)

    assert (await ask(guarded.key, "203.0.113.5")).status == 200
    fresh = await guarded.new_key()
    answers = [await ask(f"pk_{'x' * 40}{number:08}", "203.0.113.5") for number in range(8)]

    assert [answer.status for answer in answers] == [401] * 5 + [429] * 3
    assert answers[5].json["error"] == "rate_limited"
    assert 1 <= int(answers[5].headers["Retry-After"]) <= 60
    assert (await ask(fresh, "203.0.113.5")).status == 429  # or a guess that hits would be told from others
    assert (await ask(guarded.key, "203.0.113.5")).status == 200
    assert (await ask(fresh, "203.0.113.6")).status == 200


async def test_the_same_answer_whatever_is_wrong_with_a_key(guarded: Phaya) -> None:
    key = await guarded.new_key(account="gone@phaya.example")
    for one in (await guarded.operate("keys list", account="gone@phaya.example"))["keys"]:
        await guarded.operate("keys revoke", account="gone@phaya.example", key_id=one["key_id"])
    tried = (key, key[:-1] + "?", "pk_unknown", guarded.key[:-1] + "?")

    answers = [await guarded.get("user/credits", key=one, X_Forwarded_For="203.0.113.9") for one in tried]

    told = [{**answer.json, "request_id": None} for answer in answers]
    assert {answer.status for answer in answers} == {401}
    assert told == told[:1] * len(tried)


async def test_a_forwarded_address_is_believed_from_a_trusted_proxy_only(phaya: Phaya) -> None:
    statuses: list[int] = []
    for number in range(phaya.system.settings.wrong_keys_per_minute + 1):
        spoofed = f"203.0.{number}.1"
        statuses.append((await phaya.get("user/credits", key=f"pk_{number}", X_Forwarded_For=spoofed)).status)

    assert statuses[-1] == 429
    assert (await phaya.get("user/credits")).status in (200, 429)


def test_the_brake_holds_no_more_than_it_may(clock: Clock) -> None:
    brake = Brake(clock, 2, most=100)
    for number in range(1000):
        brake.wrong(f"10.0.{number // 250}.{number % 250}")

    assert brake.kept == 100


def test_the_brake_lets_go_after_a_minute(clock: Clock) -> None:
    brake = Brake(clock, 2)
    for _ in range(5):
        brake.wrong("203.0.113.1")
    with pytest.raises(TooManyRequests) as refused:
        brake.check("203.0.113.1", "pk_a")
    clock.moment += refused.value.retry_after * 1000 if refused.value.retry_after else MINUTE

    brake.check("203.0.113.1", "pk_a")


# ── where from ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_that_is_tied_to_networks_is_refused_elsewhere(guarded: Phaya) -> None:
    key = await guarded.new_key(networks=["198.51.100.0/24", "2001:db8::/32"])
    addresses = ["198.51.100.77", "2001:db8::9", "::ffff:198.51.100.1", "203.0.113.7", "nonsense", "6.6.6.6"]

    answers = [await guarded.get("user/credits", key=key, X_Forwarded_For=one) for one in addresses]
    behind = await guarded.get("user/credits", key=key, X_Forwarded_For="198.51.100.77, 6.6.6.6")

    assert [answer.status for answer in answers] == [200, 200, 200, 403, 403, 403]
    assert behind.status == 403  # what the client itself wrote before the proxy's word counts for nothing
    assert "203.0.113.7" in answers[3].json["message"]


def test_networks_that_are_none_are_refused_by_name() -> None:
    with pytest.raises(Invalid, match="network: must be networks such as"):
        read_networks(["203.0.113.0/33"])
    with pytest.raises(Invalid, match="at most 50"):
        read_networks(f"10.0.0.{number}" for number in range(51))


def test_a_customer_with_a_whole_ipv6_network_is_one_stranger() -> None:
    found = {household(address_of((f"2001:db8:1:2::{number:x}", 1))) for number in range(50)}

    assert found == {"2001:db8:1:2::/64"}
    assert household(address_of(None)) == "nowhere"
    assert not within(None, read_networks(["0.0.0.0/0"]))
    key = keys.Key("", "", "", frozenset(), None, credits("0"), None, None, None, None, read_networks(["::/0"]))
    with pytest.raises(Forbidden):
        key.check_origin(address_of(("203.0.113.1", 1)))


# ── rotation at the doors ────────────────────────────────────────────────────────────────────────────────


async def test_a_key_rotates_itself_where_it_has_the_scope(guarded: Phaya) -> None:
    key = await guarded.new_key(scopes=["chat", "keys"])
    narrow = await guarded.new_key(scopes=["chat"])

    answer = await guarded.post("user/key/rotate?overlap_seconds=3600", None, key=key)
    at_once = await guarded.post("user/key/rotate?overlap_seconds=0", None, key=answer.json["key"])

    assert (await guarded.post("user/key/rotate", None, key=narrow)).status == 403
    assert (await guarded.post("user/key/rotate?overlap_seconds=-1", None, key=key)).status in (401, 422)
    statuses = [
        (await guarded.get("user/credits", key=one, X_Forwarded_For="203.0.113.40")).status
        for one in (key, answer.json["key"], at_once.json["key"])
    ]
    assert statuses == [401, 401, 200]


async def test_an_operator_rotates_a_key_and_gives_it_an_end(guarded: Phaya) -> None:
    email = "rotating@phaya.example"
    made = await guarded.operate(
        "keys create", account=email, name="n", credits="1", scopes=list[str](), expires="30", networks=["127.0.0.1"]
    )
    turned = await guarded.operate("keys rotate", account=email, key_id=made["key_id"], overlap_seconds=60.0)

    assert made["networks"] == ["127.0.0.1/32"]
    assert made["expires_at"]
    assert turned["key"] != made["key"]
    for text in (made["key"], turned["key"]):
        assert (await guarded.get("user/credits", key=text)).status == 200


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────


def test_every_secret_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phaya.settings import Settings

    for name, field in Settings.model_fields.items():
        if not is_secret(field):
            continue
        file = tmp_path / name
        addresses = {
            "database_url": "postgresql://u:p@h/d",
            "redis_url": "redis://h:1",
            "digest_webhook": "https://h/x",
        }
        value = addresses.get(name, "a long enough secret")
        file.write_text(f"{value}\n")
        with monkeypatch.context() as environment:
            environment.delenv(str(field.alias), raising=False)
            environment.setenv(f"{field.alias}_FILE", str(file))
            found = getattr(Settings(), name)
        assert found in (value, (value,)), name


def test_a_secrets_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIE_API_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"KIE_API_KEY_FILE: .* cannot be read: No such file"):
        phaya_settings(tmp_path)
    monkeypatch.setenv("KIE_API_KEY", "one")
    with pytest.raises(ValueError, match="both given") as refused:
        phaya_settings(tmp_path)
    assert "one;" not in str(refused.value)
