"""Circuits that several nodes share, in PostgreSQL or in Redis. What happens to a circuit is in breaker.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, astuple, fields

import orjson
from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from phaya.breaker import Circuit, Known, Step
from phaya.errors import Apart, DatabaseDown
from phaya.link import Link
from phaya.postgresql import PostgreSQL
from phaya.schema import circuits

_CHANGING = 7_228_411_904
"""The advisory lock of one change at a time; the number after the one in postgresql.py."""


class TabledCircuits:
    """Circuits in PostgreSQL's table `circuits`."""

    def __init__(self, database: PostgreSQL) -> None:
        self._database = database

    async def known(self) -> Known:
        """Every circuit that something is remembered of. Raises Apart."""
        try:
            return await self._database.read(_known)
        except DatabaseDown as error:
            raise Apart from error

    async def change(self, names: tuple[str, ...], step: Step) -> Known:
        """Changes these circuits while their rows are locked. Raises Apart."""
        try:
            return await self._database.write(_change, names, step)
        except DatabaseDown as error:
            raise Apart from error


def _known(connection: Connection, *names: str) -> Known:
    found = select(circuits).where(circuits.c.name.in_(names)) if names else select(circuits)
    return {name: Circuit(*values) for name, *values in connection.execute(found)}


def _change(connection: Connection, names: tuple[str, ...], step: Step) -> Known:
    # A row that is not there yet cannot be locked; changes are rare, so one lock serves all circuits.
    connection.execute(select(func.pg_advisory_xact_lock(_CHANGING)))
    before = _known(connection, *names)
    after = _after(before, step(before))
    changed = [{"name": name, **asdict(one)} for name, one in after.items() if one != before.get(name)]
    if gone := before.keys() - after.keys():
        connection.execute(delete(circuits).where(circuits.c.name.in_(gone)))
    if changed:
        rows = insert(circuits).values(changed)
        values = {field.name: rows.excluded[field.name] for field in fields(Circuit)}
        connection.execute(rows.on_conflict_do_update(index_elements=["name"], set_=values))
    return after


def _after(before: Known, changes: Mapping[str, Circuit | None]) -> Known:
    merged = dict(before) | dict(changes)
    return {name: circuit for name, circuit in merged.items() if circuit is not None}


# Writes the fields only if each still is what it was when it was read.
_SWAP = """
for place = 1, #ARGV, 3 do
    if (redis.call('HGET', KEYS[1], ARGV[place]) or '') ~= ARGV[place + 1] then
        return 0
    end
end
for place = 1, #ARGV, 3 do
    if ARGV[place + 2] == '' then
        redis.call('HDEL', KEYS[1], ARGV[place])
    else
        redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 2])
    end
end
return 1
"""
_KEY = "phaya:circuits"
_TRIES = 50


class RedisCircuits:
    """Circuits in one hash of Redis."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._swap = link.script(_SWAP)

    async def known(self) -> Known:
        """Every circuit that something is remembered of. Raises Apart."""
        found = await self._link.ask(lambda: self._link.client.hgetall(_KEY))
        return {str(name): _unpacked(text) for name, text in found.items()}

    async def change(self, names: tuple[str, ...], step: Step) -> Known:
        """Changes these circuits, and tries again where another node was faster. Raises Apart."""
        for _ in range(_TRIES):
            found = await self._link.ask(lambda: self._link.client.hmget(_KEY, names))
            texts = {name: str(text or "") for name, text in zip(names, found, strict=True)}
            before = {name: _unpacked(text) for name, text in texts.items() if text}
            after = _after(before, step(before))
            written = {name: _packed(after[name]) if name in after else "" for name in names}
            if written == texts:
                return after
            args = [part for name in names for part in (name, texts[name], written[name])]
            if await self._link.ask(lambda args=args: self._swap(keys=[_KEY], args=args)):
                return after
        raise Apart


def _packed(circuit: Circuit) -> str:
    return orjson.dumps(astuple(circuit)).decode()


def _unpacked(text: str | bytes) -> Circuit:
    return Circuit(*orjson.loads(text))
