"""Meters that several nodes share, in PostgreSQL or in Redis. A call is one way there and back; in PostgreSQL those
that come together share it.

Both go by their server's clock, so that nodes whose clocks differ still count in one and the same window. See
docs/decisions/0019-shared-limits.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from phaya.clock import SECOND, Clock
from phaya.crowd import Crowd
from phaya.errors import Apart
from phaya.limits import Reading, Windows
from phaya.link import Link
from phaya.postgresql import PostgreSQL

_Call = tuple[str, int, int]
"""A meter's name, how many calls it may take, and in how many milliseconds."""

FINE = 600
"""So many calls of a window are kept by their own moments in PostgreSQL; of a larger number each is taken to be up to
a six-hundredth of the window later than it was. So a row stays small, and never lets more pass than it may."""

_NOW = "coalesce(CAST(:now AS bigint), floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)"

# A row's array is sorted: first a small number, how many more have room × 2²⁰ + how many were counted just now; then
# one number for each moment, moment × 2²⁰ + how many calls. A row is locked before its new value is computed, so its
# clock does not run backwards, and no two calls take the same place; rows are taken in one order everywhere.
_COUNT = text(f"""
WITH asked AS (
    SELECT *, least(most, wanted) AS first
    FROM unnest(
        CAST(:names AS text[]), CAST(:mosts AS bigint[]), CAST(:wanted AS bigint[]),
        CAST(:windows AS bigint[]), CAST(:grains AS bigint[])
    ) AS one (name, most, wanted, width, grain)
)
INSERT INTO meters AS meter (name, stamps)
SELECT name, ARRAY[(most - first << 20) + first, (({_NOW} + grain - 1) / grain * grain << 20) + first]
FROM asked ORDER BY name
ON CONFLICT (name) DO UPDATE SET stamps = (
    SELECT CASE
        WHEN given = 0 THEN ARRAY[0::bigint] || kept
        WHEN kept[cardinality(kept)] >> 20 >= moment
            THEN ARRAY[header] || kept[1:cardinality(kept) - 1] || kept[cardinality(kept)] + given
        ELSE ARRAY[header] || kept || (moment << 20) + given
    END
    FROM asked,
    LATERAL (SELECT {_NOW} AS now) AS clock,
    LATERAL (SELECT (now + grain - 1) / grain * grain AS moment) AS rounded,
    LATERAL (SELECT meter.stamps[1 + width_bucket((now - width << 20) + 1048575, meter.stamps):] AS kept) AS recent,
    LATERAL (SELECT coalesce(sum(each & 1048575), 0)::bigint AS calls FROM unnest(kept) AS each) AS counted,
    LATERAL (SELECT greatest(0, least(wanted, most - calls)) AS given) AS shared,
    LATERAL (SELECT (most - calls - given << 20) + given AS header) AS told
    WHERE asked.name = meter.name
)
RETURNING name, stamps[1] AS header,
    greatest(0, (stamps[2] >> 20) + (SELECT width FROM asked WHERE asked.name = meter.name) - {_NOW}) AS wait
""")  # noqa: S608 - only constants of this module are put in

_USED = text(f"""
SELECT coalesce(sum(one & 1048575), 0)::bigint AS calls
FROM meters, unnest(stamps[2:]) AS one WHERE name = :name AND one >> 20 > {_NOW} - CAST(:window AS bigint)
""")  # noqa: S608 - only constants of this module are put in

# A list of moments, the newest first. A server's clock may be set back: then time stands still in the list.
_SCRIPT = """
local meter, most, window, now = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
now = math.max(now, tonumber(redis.call('LINDEX', meter, 0) or 0))
local oldest = tonumber(redis.call('LINDEX', meter, -1) or now)
while oldest <= now - window do
    redis.call('RPOP', meter)
    oldest = tonumber(redis.call('LINDEX', meter, -1) or now)
end
local left = most - redis.call('LLEN', meter)
if left <= 0 then
    return {0, 0, oldest + window - now}
end
redis.call('LPUSH', meter, string.format('%.0f', now))
redis.call('PEXPIRE', meter, window + 60000)
return {1, left - 1, oldest + window - now}
"""


_COUNTED = """
local now, calls = tonumber(ARGV[2]), 0
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
for _, moment in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    if tonumber(moment) <= now - tonumber(ARGV[1]) then
        break
    end
    calls = calls + 1
end
return calls
"""


class TabledMeters:
    """Meters in PostgreSQL's table `meters`, which keeps no log: after a crash it is empty."""

    place = "in PostgreSQL"
    alone_since = None

    def __init__(self, database: PostgreSQL, clock: Clock | None = None) -> None:
        """Without a `clock`, the server's own is used."""
        self._database = database
        self._clock = clock
        self._counting = Crowd[_Call, Reading](self._count)

    async def count(self, name: str, most: int, seconds: int) -> Reading:
        """Counts one call, if fewer than `most` were counted in the last `seconds`. Raises DatabaseDown."""
        return await self._counting.join((name, most, seconds * SECOND))

    async def _count(self, calls: Sequence[_Call]) -> Sequence[Reading]:
        now = self._clock.now() if self._clock else None
        return await self._database.single(_count, calls, now)

    async def used(self, name: str, seconds: int) -> int:
        """How many calls were counted in the last `seconds`, without counting one. Raises DatabaseDown."""
        now = self._clock.now() if self._clock else None
        return await self._database.read(_used, name, seconds * SECOND, now)


def _count(connection: Connection, calls: Sequence[_Call], now: int | None) -> list[Reading]:
    """Counts calls that came together, those of one meter as if one after the other. Where they do not agree on how
    much it may take, the least counts."""
    meters: dict[str, tuple[int, int, int]] = {}
    for name, most, window in calls:
        before = meters.get(name, (most, 0, window))
        meters[name] = min(before[0], most), before[1] + 1, window
    rows = [(name, most, wanted, window, _grain(most, window)) for name, (most, wanted, window) in meters.items()]
    columns = zip(*rows, strict=True)
    asked = dict(zip(("names", "mosts", "wanted", "windows", "grains"), map(list, columns), strict=True))
    found = {name: (header, wait) for name, header, wait in connection.execute(_COUNT, asked | {"now": now})}
    readings: list[Reading] = []
    for name, *_ in calls:
        header, wait = found[name]
        given, left = header & 1048575, header >> 20
        readings.append(Reading(True, left + given - 1, wait) if given else Reading(False, 0, wait))
        found[name] = (left << 20) + max(0, given - 1), wait
    return readings


def _grain(most: int, window: int) -> int:
    return 1 if most <= FINE else max(1, window // FINE)


def _used(connection: Connection, name: str, window: int, now: int | None) -> int:
    return int(connection.execute(_USED, {"name": name, "window": window, "now": now}).scalar_one())


class RedisMeters:
    """Meters in Redis, and in this process for as long as Redis does not answer."""

    place = "in Redis"

    def __init__(self, link: Link, own: Windows, clock: Clock | None = None) -> None:
        """`own` counts while Redis is gone. Without a `clock`, the server's own is used."""
        self._link = link
        self._own = own
        self._clock = clock
        self._script = link.script(_SCRIPT)
        self._counted = link.script(_COUNTED)

    @property
    def alone_since(self) -> int | None:
        """Since when Redis has not answered."""
        return self._link.away_since

    async def count(self, name: str, most: int, seconds: int) -> Reading:
        """Counts one call, if fewer than `most` were counted in the last `seconds`."""
        now = self._clock.now() if self._clock else ""
        args = (most, seconds * SECOND, now)
        try:
            taken, left, wait = await self._link.ask(lambda: self._script(keys=[f"phaya:meter:{name}"], args=args))
        except Apart:
            return await self._own.count(name, most, seconds)
        return Reading(bool(taken), left, wait)

    async def used(self, name: str, seconds: int) -> int:
        """How many calls were counted in the last `seconds`, without counting one."""
        args = (seconds * SECOND, self._clock.now() if self._clock else "")
        try:
            return int(await self._link.ask(lambda: self._counted(keys=[f"phaya:meter:{name}"], args=args)))
        except Apart:
            return await self._own.used(name, seconds)
