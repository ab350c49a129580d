"""Where limits and circuits may live, each with two nodes on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from sqlalchemy import text

import servers
from conftest import Clock
from phaya.breaker import Patience, Shelf
from phaya.circuits import RedisCircuits, TabledCircuits
from phaya.limits import Meters, Windows
from phaya.link import Link
from phaya.meters import RedisMeters, TabledMeters
from phaya.postgresql import PostgreSQL

MEMORY, POSTGRESQL, REDIS = STORES = ("memory", "postgresql", "redis")
SHARED = (POSTGRESQL, REDIS)

PATIENCE = Patience(failures=3, refusals=2, window=60, rest=30, longest=100)


@dataclass
class Node:
    """What one node knows of a store."""

    meters: Meters
    shelf: Shelf | None = None


@pytest.fixture(scope="module")
def postgresql_url(postgresql: servers.Postgres) -> str:
    return postgresql.new_database()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with servers.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=STORES)
async def nodes(request: pytest.FixtureRequest, clock: Clock) -> AsyncGenerator[list[Node], None]:
    """Two nodes on one empty store that goes by the test's clock; in memory there is only one."""
    async with AsyncExitStack() as stack:
        match request.param:
            case "postgresql":
                databases = [PostgreSQL(request.getfixturevalue("postgresql_url"), connections=4) for _ in range(2)]
                for database in databases:
                    stack.push_async_callback(database.close)
                    await database.open()
                await databases[0].write(lambda connection: connection.execute(text("TRUNCATE meters, circuits")))
                yield [Node(TabledMeters(one, clock), TabledCircuits(one)) for one in databases]
            case "redis":
                links = [Link(request.getfixturevalue("redis_url"), clock, patience=5) for _ in range(2)]
                for link in links:
                    stack.push_async_callback(link.close)
                await links[0].script("redis.call('FLUSHALL')")(keys=[], args=[])
                yield [Node(RedisMeters(one, Windows(clock), clock), RedisCircuits(one)) for one in links]
            case _:
                yield [Node(Windows(clock))]


@pytest.fixture
def node(nodes: list[Node]) -> Node:
    return nodes[0]
