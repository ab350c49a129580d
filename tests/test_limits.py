"""In any window no more pass than may, over all nodes together; and whoever counts, nobody waits for it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from structlog.testing import capture_logs

import servers
from conftest import Clock, Phaya, running
from conftest import settings as phaya_settings
from phaya.clock import SystemClock
from phaya.database import Embedded
from phaya.errors import DatabaseDown
from phaya.limits import Limits, QuotaSpent, Windows, forget_meters
from phaya.link import Link
from phaya.meters import FINE, RedisMeters, TabledMeters
from phaya.postgresql import PostgreSQL
from phaya.sharing import sharing
from stores import MEMORY, POSTGRESQL, SHARED, Node, node, nodes, postgresql_url, redis_url

__all__ = ["node", "nodes", "postgresql_url", "redis_url"]

pytestmark = pytest.mark.anyio

names = (f"meter {number}" for number in itertools.count())


async def taken(limits: Limits, limit: int) -> bool:
    try:
        await limits.take("key", "requests", limit)
    except QuotaSpent:
        return False
    return True


# ── wherever it is counted ───────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.integers(0, 3) | st.integers(0, 2500), min_size=1, max_size=25),
    most=st.integers(1, 5),
    seconds=st.integers(1, 4),
)
async def test_a_call_is_counted_exactly_where_its_window_has_room(
    node: Node, clock: Clock, gaps: Sequence[int], most: int, seconds: int
) -> None:
    name, window = next(names), seconds * 1000
    counted: list[int] = []
    for gap in gaps:
        clock.moment += gap
        reading = await node.meters.count(name, most, seconds)

        recent = [moment for moment in counted if moment > clock.moment - window]
        assert reading.taken == (len(recent) < most)
        if reading.taken:
            recent.append(clock.moment)
            counted.append(clock.moment)
        assert (reading.left, reading.wait) == (most - len(recent), recent[0] + window - clock.moment)
        assert await node.meters.used(name, seconds) == len(recent)


async def test_the_headers_say_how_many_are_left_and_when_there_is_room(node: Node, clock: Clock) -> None:
    limits = Limits(node.meters)
    first = await limits.take("key", "requests", 2)
    clock.pass_seconds(20.5)
    second = await limits.take("key", "requests", 2)
    with pytest.raises(QuotaSpent) as refused:
        await limits.take("key", "requests", 2)
    other = await limits.take("other", "requests", 2)
    clock.pass_seconds(39.5)
    later = await limits.take("key", "requests", 2)

    assert [(quota.remaining, quota.reset) for quota in (first, second, other)] == [(1, 60), (0, 40), (1, 60)]
    assert (refused.value.quota.remaining, refused.value.retry_after) == (0, 40)
    assert (later.remaining, later.reset) == (0, 21)


async def test_a_budget_says_how_long_to_wait(node: Node, clock: Clock) -> None:
    limits = Limits(node.meters)
    waits = [await limits.spend("kie creations", "key", 2, 10) for _ in range(3)]
    clock.pass_seconds(9.99)
    waits.append(await limits.spend("kie creations", "key", 2, 10))
    clock.pass_seconds(0.01)
    waits.append(await limits.spend("kie creations", "key", 2, 10))

    assert waits == [0, 0, 10, 0.05, 0]


async def test_a_clock_that_is_set_back_lets_no_more_pass(node: Node, clock: Clock) -> None:
    passed = [(await node.meters.count("back", 3, 10)).taken for _ in range(2)]
    clock.pass_seconds(-5)
    passed += [(await node.meters.count("back", 3, 10)).taken for _ in range(2)]

    assert passed == [True, True, True, False]


async def test_a_lower_limit_holds_at_once(node: Node) -> None:
    for _ in range(5):
        await node.meters.count("lower", 5, 60)

    reading = await node.meters.count("lower", 3, 60)

    assert (reading.taken, reading.left) == (False, 0)


@pytest.mark.parametrize("nodes", [MEMORY], indirect=True)
async def test_this_process_forgets_meters_that_count_nothing(node: Node, clock: Clock) -> None:
    assert isinstance(node.meters, Windows)
    for number in range(50):
        await node.meters.count(f"key {number}", 5, 60)
    clock.pass_seconds(61)

    await node.meters.count("key 7", 5, 60)

    assert node.meters.kept == 1


# ── over several nodes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("nodes", SHARED, indirect=True)
async def test_two_nodes_share_one_limit(nodes: list[Node]) -> None:
    limits = [Limits(node.meters) for node in nodes]

    passed = await asyncio.gather(*(taken(limits[number % 2], 60) for number in range(200)))

    assert sum(passed) == 60


@pytest.mark.parametrize("nodes", SHARED, indirect=True)
async def test_two_nodes_share_the_budget_of_a_provider_key(nodes: list[Node]) -> None:
    limits = [Limits(node.meters) for node in nodes]

    waits = await asyncio.gather(*(limits[n % 2].spend("kie creations", "key", 20, 10) for n in range(100)))

    assert (waits.count(0), waits.count(10)) == (20, 80)


async def test_nodes_whose_clocks_differ_share_one_limit_by_their_servers_clock(
    postgresql_url: str, redis_url: str, clock: Clock
) -> None:
    async with AsyncExitStack() as stack:
        database = PostgreSQL(postgresql_url, connections=4)
        stack.push_async_callback(database.close)
        await database.open()
        links = [Link(redis_url, one, patience=5) for one in (clock, SystemClock())]
        for link in links:
            stack.push_async_callback(link.close)
        for meters in ([TabledMeters(database)] * 2, [RedisMeters(link, Windows(clock)) for link in links]):
            nodes = [Limits(one) for one in meters]

            passed = await asyncio.gather(*(taken(nodes[number % 2], 30) for number in range(80)))

            assert sum(passed) == 30


async def test_limits_live_in_redis_else_in_postgresql_else_here(tmp_path: Path, clock: Clock) -> None:
    postgresql, embedded = PostgreSQL("postgresql://postgres@127.0.0.1:9/phaya"), Embedded(tmp_path)
    places: list[str] = []
    for url, database in (("redis://127.0.0.1:9", postgresql), (None, postgresql), (None, embedded)):
        async with sharing(url, database, clock) as shared:
            places.append(shared.limits.meters.place)
    await postgresql.close()
    await embedded.close()

    assert places == ["in Redis", "in PostgreSQL", "in this process"]


# ── in PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("nodes", [POSTGRESQL], indirect=True)
async def test_a_large_limit_is_kept_in_a_small_row(node: Node, clock: Clock, postgresql_url: str) -> None:
    most, seconds, dice = FINE + 300, 6, random.Random(7)
    counted: list[int] = []
    for _ in range(1600):
        clock.moment += dice.choice((0, 1, 3, 8))
        if (await node.meters.count("large", most, seconds)).taken:
            counted.append(clock.moment)
    database = PostgreSQL(postgresql_url, connections=2)
    length = await database.read(lambda c: c.execute(text("SELECT cardinality(stamps) FROM meters")).scalar_one())
    await database.close()

    windows = [sum(1 for one in counted if start <= one < start + seconds * 1000) for start in counted]
    assert most - 20 <= max(windows) <= most
    assert length <= FINE + 2


@pytest.mark.parametrize("nodes", [POSTGRESQL], indirect=True)
async def test_old_meters_are_deleted(node: Node, clock: Clock, postgresql_url: str) -> None:
    await node.meters.count("old", 5, 60)
    clock.pass_seconds(100)
    await node.meters.count("new", 5, 60)
    database = PostgreSQL(postgresql_url, connections=2)
    gone = await database.write(forget_meters, clock.now() - 60_000)
    left = await database.read(lambda c: c.execute(text("SELECT name FROM meters")).scalars().all())
    await database.close()

    assert (gone, left) == (1, ["new"])


async def test_a_database_that_is_down_is_said_to_be() -> None:
    database = PostgreSQL(f"postgresql://postgres@127.0.0.1:{servers.free_port()}/phaya")
    with pytest.raises(DatabaseDown), capture_logs():
        await Limits(TabledMeters(database)).take("key", "requests", 60)
    await database.close()


# ── without Redis ────────────────────────────────────────────────────────────────────────────────────────


async def test_without_redis_a_node_counts_for_itself_until_it_is_back(tmp_path: Path, clock: Clock) -> None:
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    link = Link(url, clock)
    limits = Limits(RedisMeters(link, Windows(clock), clock))
    with servers.redis(tmp_path, port):
        assert [await taken(limits, 2) for _ in range(3)] == [True, True, False]
        assert limits.meters.alone_since is None

    with capture_logs() as logs:
        alone = [await taken(limits, 2) for _ in range(3)]
        since = limits.meters.alone_since
        for _ in range(30):
            clock.pass_seconds(1)
            await taken(limits, 2)
    assert alone == [True, True, False]
    assert since == clock.now() - 30_000
    assert [(one["event"], one["server"]) for one in logs] == [("redis.away", "127.0.0.1")]

    with servers.redis(tmp_path, port):
        clock.pass_seconds(2)
        assert [await taken(limits, 2) for _ in range(3)] == [True, True, False]
        assert limits.meters.alone_since is None
    await link.close()


@pytest.fixture
def mute() -> Generator[str]:
    """The address of somebody who takes connections and never says a word."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://:secret@127.0.0.1:{listener.getsockname()[1]}/0"


async def test_a_redis_that_does_not_answer_holds_nobody_up(mute: str, clock: Clock) -> None:
    link = Link(mute, clock)
    limits = Limits(RedisMeters(link, Windows(clock), clock))
    with capture_logs() as logs:
        async with asyncio.timeout(20):
            passed = await asyncio.gather(*(taken(limits, 60) for _ in range(200)))
    await link.close()

    assert sum(passed) == 60
    assert len(logs) == 1
    assert "secret" not in str(logs)


# ── at the doors ─────────────────────────────────────────────────────────────────────────────────────────


async def place(phaya: Phaya) -> str:
    answer = await phaya.ask("GET", "/readyz")
    assert answer.status == 200
    return answer.json["limits"]


async def test_requests_go_on_when_redis_ends_and_readyz_says_so(tmp_path: Path) -> None:
    port = servers.free_port()
    with servers.redis(tmp_path / "redis", port) as url:
        async with running(tmp_path, PHAYA_REDIS_URL=url) as phaya:
            key = await phaya.new_key(rate=2)
            async with asyncio.timeout(30):
                while await place(phaya) != "in Redis":  # a machine under load may answer too late at first
                    await asyncio.sleep(0.1)

    async with running(tmp_path, PHAYA_REDIS_URL=url) as phaya:
        answers = [await phaya.get("user/credits", key=key) for _ in range(3)]

        assert [answer.status for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["Retry-After"]) > 50
        assert (await place(phaya)).startswith("local since 20")


@pytest.mark.parametrize(
    "address", ["http://redis.example", "redis.example:6379", "redis://", "redis://:secret@redis:port", "redis://h/a"]
)
def test_an_address_that_is_no_redis_stops_the_start_and_stays_secret(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match=r"PHAYA_REDIS_URL\n.*must be an address such as redis://") as refused:
        phaya_settings(tmp_path, PHAYA_REDIS_URL=address)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("address", ["redis://redis.example", "rediss://:pass@redis.example:6380/3", ""])
def test_an_address_of_a_redis_is_taken_and_never_shown(tmp_path: Path, address: str) -> None:
    taken = phaya_settings(tmp_path, PHAYA_REDIS_URL=address)

    assert taken.redis_url == (address or None)
    assert "pass@" not in repr(taken)
