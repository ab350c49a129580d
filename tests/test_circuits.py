"""What one node learns of a provider, all know within a second; a trial is one over all of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import servers
from conftest import Clock
from phaya.breaker import FRESH, Breaker, Known, Shelf, Step
from phaya.circuits import RedisCircuits, TabledCircuits
from phaya.link import Link
from phaya.postgresql import PostgreSQL
from stores import PATIENCE, SHARED, Node, nodes, postgresql_url, redis_url

__all__ = ["nodes", "postgresql_url", "redis_url"]

pytestmark = pytest.mark.anyio

shared = pytest.mark.parametrize("nodes", SHARED, indirect=True)

SORA = "kie sora-2-text-to-video"


@pytest.fixture
def breakers(nodes: list[Node], clock: Clock) -> list[Breaker]:
    return [Breaker(clock, PATIENCE, node.shelf) for node in nodes]


async def fail(breaker: Breaker, times: int, name: str = "kie") -> None:
    for _ in range(times):
        await breaker.failed(name, "It is down.", limit=PATIENCE.failures)


@shared
async def test_failures_of_one_node_rest_the_other(breakers: list[Breaker], clock: Clock) -> None:
    one, other = breakers
    assert await other.wait("kie") == 0
    await fail(one, 3)
    await fail(one, 2, SORA)

    clock.pass_seconds(FRESH / 1000)

    assert await other.wait("kie") == 29
    assert await other.admit("kie", SORA) == 29
    assert {name: rest.reason for name, rest in (await other.resting()).items()} == {"kie": "It is down."}


@shared
async def test_failures_of_all_nodes_count_together(breakers: list[Breaker]) -> None:
    one, other = breakers
    await fail(one, 1)
    await fail(other, 1)
    await fail(one, 1)

    assert await one.wait("kie") == 30


@shared
async def test_failures_at_the_same_moment_are_all_counted(breakers: list[Breaker], clock: Clock) -> None:
    with capture_logs() as logs:
        await asyncio.gather(*(breakers[n % 2].failed("kie", "It is down.", limit=20) for n in range(19)))
        assert [await breaker.wait("kie") for breaker in breakers] == [0, 0]

        await breakers[0].failed("kie", "It is down.", limit=20)

    assert await breakers[0].wait("kie") == 30
    assert [one["event"] for one in logs] == ["breaker.opened"], "it is told once"


@shared
async def test_there_is_one_trial_over_all_nodes(breakers: list[Breaker], clock: Clock) -> None:
    await fail(breakers[0], 3)
    clock.pass_seconds(30)

    waits = await asyncio.gather(*(breakers[number % 2].admit("kie") for number in range(20)))

    assert waits.count(0) == 1


@shared
async def test_a_good_trial_of_one_node_closes_the_circuit_for_all(breakers: list[Breaker], clock: Clock) -> None:
    one, other = breakers
    await fail(one, 3)
    clock.pass_seconds(30)
    assert await other.admit("kie") == 0

    await other.succeeded("kie")
    clock.pass_seconds(FRESH / 1000)

    assert [await breaker.admit("kie") for breaker in (one, other, one)] == [0, 0, 0]
    assert await one.resting() == {}


@dataclass
class Counted:
    """A shelf that says what was asked of it."""

    shelf: Shelf
    asked: list[str] = field(default_factory=list[str])

    async def known(self) -> Known:
        self.asked.append("known")
        return await self.shelf.known()

    async def change(self, names: tuple[str, ...], step: Step) -> Known:
        self.asked.append("change")
        return await self.shelf.change(names, step)


@shared
async def test_what_works_costs_one_reading_a_second(nodes: list[Node], clock: Clock) -> None:
    assert nodes[0].shelf is not None
    counted = Counted(nodes[0].shelf)
    breaker = Breaker(clock, PATIENCE, counted)
    for _ in range(50):
        assert await breaker.wait("kie", SORA) == 0
        assert await breaker.admit("kie", SORA) == 0
        await breaker.succeeded("kie", SORA)
        assert await breaker.resting() == {}
        clock.pass_seconds(0.04)

    assert counted.asked == ["known", "known"]


async def test_without_redis_each_node_goes_by_its_own_view(clock: Clock) -> None:
    link = Link(f"redis://127.0.0.1:{servers.free_port()}/0", clock)
    breaker = Breaker(clock, PATIENCE, RedisCircuits(link))
    with capture_logs():
        await fail(breaker, 3)
        clock.pass_seconds(30)
        waits = [await breaker.admit("kie"), await breaker.admit("kie")]
        await breaker.succeeded("kie")
        waits.append(await breaker.admit("kie"))
    await link.close()

    assert waits == [0, 2, 0]


async def test_without_postgresql_each_node_goes_by_its_own_view(clock: Clock) -> None:
    database = PostgreSQL(f"postgresql://postgres@127.0.0.1:{servers.free_port()}/phaya", connections=2)
    breaker = Breaker(clock, PATIENCE, TabledCircuits(database))
    with capture_logs():
        await breaker.failed("kie", "It is down.", limit=1)
        assert await breaker.wait("kie") == 30
    await database.close()


async def test_a_shelf_that_is_back_is_believed(clock: Clock, tmp_path: Path) -> None:
    port = servers.free_port()
    link = Link(f"redis://127.0.0.1:{port}/0", clock, patience=5)
    breaker = Breaker(clock, PATIENCE, RedisCircuits(link))
    with capture_logs():
        await fail(breaker, 3)
    assert await breaker.wait("kie") == 30

    with servers.redis(tmp_path, port):
        clock.pass_seconds(2)

        assert await breaker.wait("kie") == 0
    await link.close()
