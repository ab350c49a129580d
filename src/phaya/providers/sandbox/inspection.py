"""A door of the sandbox's own, for tests and benchmarks: what was accepted, so that nobody bought twice unseen.

    GET /sandbox/tasks                counts by model and state, how many were accepted, and the last tasks
    GET /sandbox/tasks?prompt=...     how many creations with this very prompt were accepted
    GET /sandbox/generations          the same for chat completions and embeddings

`last` (default 20, at most 100,000) says how many are listed.
"""

from __future__ import annotations

import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phaya.clock import Clock
from phaya.providers.sandbox.records import Records, prompt_digest
from phaya.providers.sandbox.wire import json_answer

_STATE = """
CASE WHEN outcome = 'lost' OR created + duration > :now THEN 'running'
     WHEN outcome IN ('fail', 'reject') THEN 'failed' ELSE 'succeeded' END
"""


class Inspection:
    """The doors of the inspection."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    def routes(self) -> list[Route]:
        """Paths of the sandbox's own."""
        return [
            Route("/sandbox/tasks", self.tasks, methods=["GET"]),
            Route("/sandbox/generations", self.generations, methods=["GET"]),
        ]

    async def tasks(self, request: Request) -> Response:
        """Accepted tasks; `letters` are callbacks that were not delivered yet."""
        prompt, last, now = request.query_params.get("prompt"), _last(request), self._clock.now()
        if prompt is not None:
            return json_answer({"prompt": prompt, "created": await self._count("tasks", prompt)})

        def work(connection: sqlite3.Connection) -> dict[str, object]:
            counts = connection.execute(
                f"SELECT model, {_STATE} AS state, count(*) AS count"  # noqa: S608 - a constant of this module
                " FROM tasks GROUP BY 1, 2 ORDER BY 1, 2",
                {"now": now},
            ).fetchall()
            rows = connection.execute(
                f"SELECT id, model, prompt, {_STATE} AS state, created"  # noqa: S608 - a constant of this module
                " FROM tasks ORDER BY number DESC LIMIT :last",
                {"now": now, "last": last},
            ).fetchall()
            letters = connection.execute("SELECT count(*) FROM callbacks").fetchone()[0]
            return {
                "created": sum(row["count"] for row in counts),
                "letters": letters,
                "counts": [dict(row) for row in counts],
                "tasks": [dict(row) for row in rows],
            }

        return json_answer(await self._records.read(work))

    async def generations(self, request: Request) -> Response:
        """Chat completions and embeddings that were answered, or begun."""
        prompt, last = request.query_params.get("prompt"), _last(request)
        if prompt is not None:
            return json_answer({"prompt": prompt, "created": await self._count("generations", prompt)})

        def work(connection: sqlite3.Connection) -> dict[str, object]:
            columns = "id, model, created, streamed, cancelled, finish_reason, prompt_tokens, completion_tokens"
            rows = connection.execute(
                f"SELECT {columns} FROM generations ORDER BY number DESC LIMIT ?",  # noqa: S608 - named two lines above
                (last,),
            ).fetchall()
            created = connection.execute("SELECT count(*) FROM generations").fetchone()[0]
            return {"created": created, "generations": [dict(row) for row in rows]}

        return json_answer(await self._records.read(work))

    async def _count(self, table: str, prompt: str) -> int:
        def work(connection: sqlite3.Connection) -> int:
            query = f"SELECT count(*) FROM {table} WHERE digest = ?"  # noqa: S608 - both callers are above
            return int(connection.execute(query, (prompt_digest(prompt),)).fetchone()[0])

        return await self._records.read(work)


MOST = 100_000
"""Tasks in one answer: more than any test buys, so that it sees all of them."""


def _last(request: Request) -> int:
    text = request.query_params.get("last", "")
    return min(int(text[:9]), MOST) if text.isascii() and text.isdigit() else 20
