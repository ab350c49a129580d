"""Whatever a provider does with a job, its money and its words come out right: one service of each kind on both
databases. All other services go through the same in test_services.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from decimal import Decimal

import pytest

from conftest import BOTH, Phaya, running
from endings import KINDS, MARKERS, each, fails, is_cancelled, promptable, succeeds
from phaya.catalog import SERVICES
from phaya.catalog.service import Generation

pytestmark = pytest.mark.anyio

ENGINES = BOTH


@pytest.mark.parametrize("marker", MARKERS)
@each(promptable(KINDS))
async def test_a_job_that_fails_costs_nothing(phaya: Phaya, service: type[Generation], marker: str) -> None:
    await fails(phaya, service, marker)


@each(KINDS)
async def test_a_service_of_each_kind_succeeds_and_costs_its_price(phaya: Phaya, service: type[Generation]) -> None:
    await succeeds(phaya, service)


@each(KINDS)
async def test_a_service_of_each_kind_can_be_cancelled_with_everything_back(
    phaya: Phaya, service: type[Generation]
) -> None:
    await is_cancelled(phaya, service)


async def test_credits_are_back_before_anybody_can_read_the_failure(phaya: Phaya) -> None:
    key = await phaya.new_key("8")
    created = await phaya.create(SERVICES["sora2-text-to-video"], key, prompt="[fail]")
    assert await phaya.balance(key) == 0

    await phaya.finish("sora2-text-to-video", created["job_id"], key)

    assert await phaya.balance(key) == 8


async def test_an_answer_lost_after_the_submit_neither_buys_twice_nor_loses_the_job(phaya: Phaya) -> None:
    prompt = "A heron in the mist [drop]"
    created = await phaya.create(SERVICES["text-to-image"], prompt=prompt)

    status = await phaya.finish("text-to-image", created["job_id"])

    assert (status["state"], await phaya.sandbox_tasks(prompt)) == ("completed", 1)


async def test_a_callback_told_twice_ends_a_job_once(phaya: Phaya) -> None:
    key = await phaya.new_key("5")
    good = await phaya.create(SERVICES["text-to-image"], key, prompt="Two moons [twice]")
    bad = await phaya.create(SERVICES["text-to-image"], key, prompt="Two moons [twice] [fail]")

    states = [(await phaya.finish("text-to-image", job["job_id"], key))["state"] for job in (good, bad)]
    await asyncio.sleep(0.3)

    assert states == ["completed", "failed"]
    assert await phaya.balance(key) == 4
    entries = (await phaya.get("user/credits/history", key=key)).json["history"]
    assert [entry["reason"] for entry in entries] == ["return", "charge", "charge", "grant"]


async def test_a_cancelled_job_is_paid_back_and_stays_cancelled(phaya: Phaya) -> None:
    key = await phaya.new_key("9")
    job = (await phaya.create(SERVICES["sora2-text-to-video"], key, prompt="[slow 2]"))["job_id"]

    first = await phaya.post(f"sora2-text-to-video/cancel/{job}", {}, key=key)
    again = await phaya.post(f"sora2-text-to-video/cancel/{job}", {}, key=key)
    status = await phaya.finish("sora2-text-to-video", job, key)

    assert ((first.status, first.json["success"]), (again.status, again.json["success"])) == ((200, True), (200, False))
    assert "cancelled" == status["status"] == status["state"]
    assert await phaya.balance(key) == 9


async def test_where_the_vocabulary_has_no_cancelled_the_error_says_it(phaya: Phaya) -> None:
    job = (await phaya.create(SERVICES["text-to-image"], prompt="[slow 2]"))["job_id"]
    await phaya.post(f"text-to-image/cancel/{job}", {})

    status = await phaya.finish("text-to-image", job)

    assert (status["status"], status["state"]) == ("FAILED", "cancelled")
    assert "cancelled" in status["error"]


async def test_fifty_parallel_creates_on_a_balance_for_ten_make_ten_jobs(phaya: Phaya) -> None:
    key = await phaya.new_key("10")

    answers = await asyncio.gather(
        *(phaya.post("text-to-image/generate", {"prompt": f"crowd {n}"}, key=key) for n in range(50))
    )

    assert sum(answer.status == 200 for answer in answers) == 10
    assert sum(answer.status == 402 for answer in answers) == 40
    assert await phaya.balance(key) == 0
    for answer in answers:
        if answer.status == 200:
            await phaya.finish("text-to-image", answer.json["job_id"], key)
    assert await phaya.balance(key) == 0
    assert await phaya.audit() == []


@pytest.fixture
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    """A Phaya whose deadlines pass in about a second (15 minutes become one)."""
    async with running(tmp_path_factory.mktemp("hasty"), PHAYA_DEADLINE_SCALE=1 / 900) as phaya:
        yield phaya


async def test_a_job_that_never_ends_fails_at_its_deadline_with_its_credits_back(hasty: Phaya) -> None:
    key = await hasty.new_key("5")
    created = await hasty.create(SERVICES["text-to-image"], key, prompt="A lost ship [lost]")

    status = await hasty.finish("text-to-image", created["job_id"], key)

    assert (status["state"], status["error_code"]) == ("failed", "deadline")
    assert await hasty.balance(key) == 5
    assert (await hasty.operate("check"))["waiting"] == {"remote/watching": 1}, "its fate is still looked for"


async def test_a_film_that_arrives_after_the_refund_is_the_users_without_a_charge(hasty: Phaya) -> None:
    key = await hasty.new_key("5")
    job = (await hasty.create(SERVICES["text-to-image"], key, prompt="A late sun [slow 3]"))["job_id"]
    failed = await hasty.finish("text-to-image", job, key)
    assert failed["state"] == "failed"

    async with asyncio.timeout(30):
        while not (late := (await hasty.get(f"text-to-image/status/{job}", key=key)).json).get("late_result"):
            await asyncio.sleep(0.1)

    assert late["state"] == "failed", "an end stays an end"
    assert await hasty.balance(key) == Decimal(5)
    async with hasty.session.get(late["late_result"][0]) as answer:
        assert answer.status == 200
    assert await hasty.audit() == []
