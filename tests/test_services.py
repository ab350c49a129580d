"""Every service to every end, on the embedded database; on both databases those of each kind do, in test_endings.py."""

from __future__ import annotations

import asyncio

import pytest

from conftest import Phaya, running
from endings import KINDS, MARKERS, OTHERS, OURS, each, fails, is_cancelled, promptable, succeeds
from phaya.catalog import SERVICES
from phaya.catalog.service import Generation

pytestmark = pytest.mark.anyio

LOSABLE = [
    service for service in promptable(OURS) if service.path != "text-to-speech"
]  # Gemini answers at once, or not


@pytest.mark.parametrize("marker", MARKERS)
@each(promptable(OTHERS))
async def test_a_job_of_any_service_that_fails_costs_nothing(
    phaya: Phaya, service: type[Generation], marker: str
) -> None:
    await fails(phaya, service, marker)


async def test_a_job_that_ends_in_garbage_costs_nothing(phaya: Phaya) -> None:
    """It is cleared up by the dialect's adapter: one service of each is enough. Looks take time, so all at once."""
    await asyncio.gather(*(fails(phaya, service, "[garbage]") for service in promptable(KINDS)))


@each(OTHERS)
async def test_every_service_succeeds_and_costs_its_price(phaya: Phaya, service: type[Generation]) -> None:
    await succeeds(phaya, service)


@each(OTHERS)
async def test_every_service_can_be_cancelled_with_everything_back(phaya: Phaya, service: type[Generation]) -> None:
    await is_cancelled(phaya, service)


async def test_a_crowded_provider_only_delays_a_job(phaya: Phaya) -> None:
    prompt = "A market at noon [429]"
    created = await phaya.create(SERVICES["text-to-image"], prompt=prompt)

    status = await phaya.finish("text-to-image", created["job_id"])

    assert (status["state"], await phaya.sandbox_tasks(prompt)) == ("completed", 1)


async def test_every_service_may_lose_a_job_without_losing_a_credit(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with running(tmp_path_factory.mktemp("lost"), PHAYA_DEADLINE_SCALE=1 / 900) as phaya:
        keys = [await phaya.new_key("60") for _ in LOSABLE]
        made = [
            await phaya.create(service, key, prompt="A ship in the fog [lost]")
            for service, key in zip(LOSABLE, keys, strict=True)
        ]

        for service, key, created in zip(LOSABLE, keys, made, strict=True):
            status = await phaya.finish(service.home(), created["job_id"], key)

            assert ("failed", "deadline") == (status["state"], status["error_code"]), service.path
            assert await phaya.balance(key) == 60
        assert await phaya.audit() == []
