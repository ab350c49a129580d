"""Callbacks of the provider, as they are accepted; `make bench-jobs` measures the ends that they lead to."""

from __future__ import annotations

import contextlib
from functools import partial

import subjects
from creations import ENGINES
from crowd import Open, fill
from figures import Part, Row
from load import Answer, Load, request
from phaya.clock import MINUTE, SystemClock
from phaya.workflow import callback_token
from sitting import Points, Sitting

CONNECTIONS = 16


async def measure(sitting: Sitting) -> Part:
    """Callbacks for jobs that are under way, each for another job than the one before."""
    count = 2000 if sitting.quick else 20_000
    rows: list[Row] = []
    for engine, title in ENGINES.items():
        folder = sitting.folder / f"callbacks-{engine}"
        async with contextlib.AsyncExitStack() as stack:
            kie = await stack.enter_async_context(subjects.provider(folder))
            prepared = await stack.enter_async_context(subjects.books(folder, engine))
            await prepared.endow(1)
            async with prepared.open() as database:
                now = SystemClock().now()
                opened = await fill(database, count, (subjects.KIE_KEY,), now, look_in=60 * MINUTE)
            phaya = await stack.enter_async_context(subjects.serving(prepared, kie))
            row = Row(title, note=f"{count:,} jobs under way in turn; one key's 10 looks a second go on meanwhile")
            row.add(connections=CONNECTIONS)
            points: Points = [(row, partial(phaya.take, _calls(phaya.port, opened), CONNECTIONS, sitting.seconds))]
            await sitting.interleaved(points)
            rows.append(row)
    return Part("callbacks", "Callbacks accepted", rows)


def _calls(port: int, opened: list[Open]) -> Load:
    def check(answer: Answer) -> None:
        assert answer.status == 200
        assert answer.json == {"code": 200, "msg": "success"}

    path, secret = "/api/v1/text-to-image/callback", subjects.SECRET.encode()
    letters = [
        request(
            "POST",
            f"{path}?job={job.id}&token={callback_token(secret, job.id)}",
            {},
            {"code": 200, "msg": "success", "data": {"taskId": job.ticket, "state": "success"}},
        )
        for job in opened
    ]
    return Load(port, letters, check)
