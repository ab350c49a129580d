"""An account's own safety: its password, its sessions and its second step, over the functions and over real HTTP."""

from __future__ import annotations

import asyncio
import base64

import pytest
from sqlalchemy import select, update

from conftest import BOTH, Clock
from phaya import authenticators, codes, halfway, keys, logins, safety
from phaya.clock import SECOND
from phaya.credits import credits
from phaya.database import Database
from phaya.errors import Conflict, NotFound, TooManyRequests, Unauthorized
from phaya.schema import authenticators as apps
from phaya.schema import recovery_codes

pytestmark = pytest.mark.anyio

ENGINES = BOTH
SECRET, SEED = b"secret", b"12345678901234567890"
STEP = authenticators.STEP * SECOND
ANOTHER = "another long password"


async def turned_on(database: Database, now: int, email: str = "a@phaya.example") -> tuple[str, list[str]]:
    """The id of an account whose second step was turned on a while ago, and its recovery codes."""
    account = await database.write(keys.open_account, email, now)
    sealed = authenticators.seal(SECRET, account.id, SEED)
    await database.write(authenticators.begin, account.id, sealed, now)
    before = now - 10 * STEP
    first = authenticators.code_at(SEED, before)
    made = await database.write(authenticators.confirm, SECRET, account.id, first, "form", before)
    assert made is not None
    return account.id, list(made)


async def spend(database: Database, account: str, code: str, now: int) -> bool:
    return await database.write(authenticators.spend, SECRET, account, code, now)


@pytest.mark.parametrize(("second", "code"), [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")])
def test_codes_are_those_of_the_rfc(second: int, code: str) -> None:
    assert authenticators.code_at(SEED, second * SECOND) == code


@pytest.mark.parametrize("kind", ["app", "recovery"])
async def test_of_twenty_tries_with_one_code_at_once_one_gets_in(database: Database, clock: Clock, kind: str) -> None:
    now = clock.now()
    account, recovery = await turned_on(database, now)
    code = authenticators.code_at(SEED, now) if kind == "app" else recovery[3]

    tries = await asyncio.gather(*(spend(database, account, code, now) for _ in range(20)), return_exceptions=True)

    assert tries.count(True) == 1
    assert all(one is True or one is False or isinstance(one, TooManyRequests) for one in tries)


async def test_a_code_is_good_a_step_early_or_late_and_never_again(database: Database, clock: Clock) -> None:
    account, _ = await turned_on(database, clock.now())
    tried: list[bool] = []
    for away in (-2, -1, -1, 1, 0, 2, 1):
        tried.append(
            await spend(database, account, authenticators.code_at(SEED, clock.now() + away * STEP), clock.now())
        )

    assert tried == [False, True, False, True, False, False, False]


async def test_after_ten_wrong_codes_each_waits_twice_as_long_but_a_recovery_code_does_not(
    database: Database, clock: Clock
) -> None:
    account, recovery = await turned_on(database, clock.now())
    wrong = [await spend(database, account, "000000x", clock.now()) for _ in range(authenticators.FREE)]
    waits: list[int | None] = []
    for _ in range(3):
        with pytest.raises(TooManyRequests) as slowed:
            await spend(database, account, authenticators.code_at(SEED, clock.now()), clock.now())
        waits.append(slowed.value.retry_after)
        clock.pass_seconds(slowed.value.retry_after or 0)
        wrong.append(await spend(database, account, "000000x", clock.now()))
    told = await database.read(authenticators.find, account)
    assert await spend(database, account, recovery[0], clock.now())

    assert wrong == [False] * 13
    assert waits == [60, 120, 240]
    assert told == authenticators.Authenticator(1_800_000_000_000 - 10 * STEP, 10, clock.now())
    assert await spend(database, account, authenticators.code_at(SEED, clock.now()), clock.now())


async def test_no_secret_and_no_recovery_code_is_in_the_database(database: Database, clock: Clock) -> None:
    account, recovery = await turned_on(database, clock.now())
    sealed: bytes = await database.read(lambda c: c.execute(select(apps.c.sealed)).scalar_one())
    digests = await database.read(lambda c: c.execute(select(recovery_codes.c.hash)).scalars().all())
    plain = {text for code in recovery for text in (code, codes.plain(code))}

    assert SEED not in sealed
    assert base64.b32encode(SEED) not in sealed
    assert plain.isdisjoint(digests)
    assert authenticators.unseal(SECRET, account, sealed) == SEED
    assert authenticators.unseal(b"another secret", account, sealed) is None


async def test_a_sealed_secret_that_is_moved_to_another_account_opens_nothing(database: Database, clock: Clock) -> None:
    mine, _ = await turned_on(database, clock.now())
    theirs, _ = await turned_on(database, clock.now(), "b@phaya.example")
    sealed: bytes = await database.read(
        lambda c: c.execute(select(apps.c.sealed).where(apps.c.account_id == mine)).scalar_one()
    )
    moved = update(apps).where(apps.c.account_id == theirs).values(sealed=sealed)
    await database.write(lambda c: c.execute(moved).rowcount)

    assert not await spend(database, theirs, authenticators.code_at(SEED, clock.now()), clock.now())


async def test_it_is_on_only_after_its_first_code_and_a_form_sent_again_shows_the_same_codes(
    database: Database, clock: Clock
) -> None:
    now = clock.now()
    account = (await database.write(keys.open_account, "a@phaya.example", now)).id
    await database.write(authenticators.begin, account, authenticators.seal(SECRET, account, b"x" * 20), now)
    await database.write(authenticators.begin, account, authenticators.seal(SECRET, account, SEED), now)
    code = authenticators.code_at(SEED, now)
    assert not await spend(database, account, code, now)
    assert await database.write(authenticators.confirm, SECRET, account, "123", "form", now) is None
    assert await database.read(authenticators.find, account) is None

    made, again = [await database.write(authenticators.confirm, SECRET, account, code, "form", now) for _ in range(2)]

    assert made is not None
    assert made == again
    assert len(set(made)) == authenticators.RECOVERY
    with pytest.raises(Conflict):
        await database.write(authenticators.confirm, SECRET, account, code, "another form", now)
    with pytest.raises(Conflict):
        await database.write(authenticators.begin, account, b"sealed", now)
    assert not await spend(database, account, code, now)  # the first code was spent


async def test_the_proof_of_a_password_ends_with_its_time_and_with_the_password(
    database: Database, clock: Clock
) -> None:
    now = clock.now()
    account = await database.write(keys.open_account, "a@phaya.example", now)
    await database.write(logins.invite, "link", account.id, credits("0"), now)
    login = await database.write(logins.accept, SECRET, "link", "", "argon2", now)
    proof = halfway.proof(SECRET, login, now)
    assert await database.read(halfway.proven, SECRET, proof, now + halfway.LASTING - 1) == login
    strange = [
        proof.replace("a", "b"),
        "",
        "..",
        f"{account.id}.9.{'0' * 64}",
        f"{account.id}.{'9' * 30}.x",
        "\u0e01.\u0e52.x",
    ]
    for given, moment in ((proof, now + halfway.LASTING), *((one, now) for one in strange)):
        with pytest.raises(Unauthorized):
            await database.read(halfway.proven, SECRET, given, moment)

    await database.write(logins.invite, "next", account.id, credits("0"), now)
    await database.write(logins.accept, SECRET, "next", "", "argon2 of another", now + 1)
    with pytest.raises(Unauthorized):
        await database.read(halfway.proven, SECRET, proof, now + 2)


async def test_of_two_changes_of_a_password_at_once_one_wins_and_ends_the_other_session(
    database: Database, clock: Clock
) -> None:
    now = clock.now()
    account = await database.write(keys.open_account, "a@phaya.example", now)
    await database.write(logins.invite, "link", account.id, credits("0"), now)
    login = await database.write(logins.accept, SECRET, "link", "", "former", now)
    for token in ("one", "two"):
        await database.write(logins.begin, token, account.id, login.key_id, now, owner=True)
    await database.write(logins.invite, "left lying", account.id, credits("0"), now)
    mine = [await database.read(logins.resume, token, now) for token in ("one", "two")]

    won = await asyncio.gather(
        *(database.write(safety.change_password, one, "former", f"by {one.hash}", now) for one in mine)
    )

    assert sorted(won) == [False, True]
    assert [one.hash for one in await database.read(safety.browsers, account.id, now)] == [mine[won.index(True)].hash]
    with pytest.raises(NotFound):
        await database.read(logins.invitation, "left lying", now)
