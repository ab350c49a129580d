"""How often a client asks for each job that it gets, by the way in which it waits."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import datetime
from typing import Any, Literal

import aiohttp
import orjson

import polls
import subjects
from figures import Part, Row
from load import ask, request
from phaya.catalog.images import TextToImage
from phaya.catalog.videos import SoraText
from phaya.telling import poll_after
from sitting import Sitting

JOBS = 8
Way = Literal["every second", "as poll_after says", "Prefer: wait=30"]
WAYS: tuple[Way, ...] = ("every second", "as poll_after says", "Prefer: wait=30")


async def measure(sitting: Sitting) -> Part:
    """Pictures that take about as long as such jobs do, each watched in every way at a time; and a film, reckoned."""
    usual = 6 if sitting.quick else TextToImage.seconds
    rows = {
        way: Row(f"a picture, asked {way}", note=f"{JOBS} jobs of {0.7 * usual:.0f} to {1.2 * usual:.0f} s")
        for way in WAYS
    }
    dice = random.Random(6)
    async with (
        subjects.provider(sitting.folder) as kie,
        subjects.books(sitting.folder / "patience", "sqlite") as prepared,
    ):
        await prepared.endow(1)
        async with (
            subjects.serving(prepared, kie) as phaya,
            aiohttp.ClientSession(
                f"http://127.0.0.1:{phaya.port}", headers=subjects.bearer(prepared.purses[0])
            ) as session,
        ):

            async def one() -> None:
                sent = request("POST", polls.CREATE, subjects.bearer(prepared.purses[0]), {"prompt": "A lighthouse"})
                made = await ask(phaya.port, sent)
                job_id: str = made.json["job_id"]
                watching = [asyncio.create_task(_watch(session, job_id, way)) for way in WAYS]
                await asyncio.sleep(usual * dice.uniform(0.7, 1.2))
                await polls.end_task(phaya.port, kie, job_id)
                for way, (asked, noticed) in zip(WAYS, await asyncio.gather(*watching), strict=True):
                    rows[way].add(asked=asked, noticed=noticed)

            await asyncio.gather(*(one() for _ in range(JOBS)))
    film = float(SoraText.seconds)
    computed = [
        Row(f"a film of {film:.0f} s, asked every second", {"asked": [film]}, "reckoned"),
        Row(f"a film of {film:.0f} s, asked as poll_after says", {"asked": [advised(film, film)]}, "reckoned"),
    ]
    for row in rows.values():
        sitting.say(f"{row.name}: {row.median('asked'):.1f} requests, noticed after {row.median('noticed'):.2f} s")
    return Part("patience", "Requests for each finished job", [*rows.values(), *computed])


def advised(usual: float, lasts: float) -> int:
    """How many times a client asks that follows the advice, for a job of so many seconds. The first time is at once."""
    age, asked = 0.0, 1
    while age < lasts:
        age += poll_after(age, usual)
        asked += 1
    return asked


async def _watch(session: aiohttp.ClientSession, job_id: str, way: Way) -> tuple[int, float]:
    """Requests until the end was seen, and seconds from the end to the seeing."""
    asked = 0
    headers = {"Prefer": "wait=30"} if way == "Prefer: wait=30" else {}
    while True:
        async with session.get(polls.STATUS + job_id, headers=headers) as answer:
            asked += 1
            told: dict[str, Any] = orjson.loads(await answer.read())
            assert answer.status == 200, told
        if told["state"] == "completed":
            ended = datetime.fromisoformat(told["completed_at"]).timestamp()
            return asked, max(0.0, time.time() - ended)
        if way != "Prefer: wait=30":
            await asyncio.sleep(1 if way == "every second" else told["poll_after"])
