"""Creations: validated, priced, charged and durable before they are answered."""

from __future__ import annotations

import contextlib
from functools import partial

import floors
import polls
import subjects
from figures import Part, Row, ratio
from load import Answer, Load, Void, request
from phaya.credits import credits
from sitting import Points, Sitting

ENGINES = {"sqlite": "SQLite, synchronous=FULL", "postgresql": "PostgreSQL"}
CONNECTIONS, MANY = 64, 1000
HOT, SPREAD, RAW = "one account", "a thousand accounts", "raw debit"
PRICE = credits("1")


async def measure(sitting: Sitting) -> Part:
    """Creations and raw debits on both databases, one account and a thousand."""
    rows: list[Row] = []
    for engine, title in ENGINES.items():
        rows += await _on(sitting, engine, title)
    return Part("create", "Creations, the text-to-image service", rows)


async def _on(sitting: Sitting, engine: str, title: str) -> list[Row]:
    folder = sitting.folder / f"create-{engine}"
    points: Points = []
    async with contextlib.AsyncExitStack() as stack:
        kie = await stack.enter_async_context(subjects.provider(folder))
        prepared = await stack.enter_async_context(subjects.books(folder, engine))
        await prepared.endow(MANY)
        async with subjects.serving(prepared, kie) as phaya:
            for name, purses in ((HOT, prepared.purses[:1]), (SPREAD, prepared.purses)):
                row = Row(f"{title}: {name}")
                row.add(connections=CONNECTIONS)
                points.append((row, partial(phaya.take, buy(phaya.port, purses), CONNECTIONS, sitting.seconds)))
            for name, accounts in ((HOT, 1), (SPREAD, MANY)):
                row = Row(f"{title}: {RAW}, {name}")
                row.add(connections=CONNECTIONS)
                points.append((row, partial(_raw, sitting, engine, prepared, accounts)))
            await sitting.interleaved(points)
        rows = [row for row, _ in points]
        for row, floor in zip(rows[:2], rows[2:], strict=True):
            row.add(ratio=ratio(row.median("rate"), floor.median("rate")))
        try:
            # Each burst leaves its connections with a purchase under way, and sends two by hand before.
            note = await prepared.proven(phaya.answers, PRICE, 2 * sitting.repeats * (CONNECTIONS + 2))
        except Void as error:
            for row in rows[:2]:
                row.void = row.void or str(error)
        else:
            rows[0].note = rows[1].note = note
            sitting.say(f"{title}: {note}")
    return rows


def buy(port: int, purses: list[str]) -> Load:
    """Creations by these keys in turn."""

    def check(answer: Answer) -> None:
        assert answer.status == 200
        assert answer.json["success"] is True
        assert answer.json["credits_used"] == 1
        assert answer.json["status_url"].endswith(answer.json["job_id"])

    body = {"prompt": "A lighthouse above a calm sea at dawn", "aspect_ratio": "16:9"}
    return Load(port, [request("POST", polls.CREATE, subjects.bearer(key), body) for key in purses], check)


async def _raw(sitting: Sitting, engine: str, prepared: subjects.Books, accounts: int) -> dict[str, float]:
    return await floors.debits(engine, prepared.spare(), accounts, sitting.seconds)
