"""Tasks: rows that do not change after their creation. Where one stands is a function of the time.

So a hundred thousand waiting tasks cost no memory and no timers, and a killed sandbox has lost nothing.
"""

from __future__ import annotations

import secrets
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast

import orjson
from pydantic import JsonValue

from phaya.clock import DAY, SECOND, Clock
from phaya.providers.sandbox.endings import Ending
from phaya.providers.sandbox.records import Records, prompt_digest

Family = Literal["jobs", "suno", "veo"]
Outcome = Literal["success", "fail", "reject", "lost", "garbage"]

KEPT = 60 * DAY  # as long as KIE keeps its records
BALANCE = Decimal(100_000)


@dataclass(frozen=True, slots=True)
class Task:
    """An accepted creation. `request` is the body as it was sent; `origin` where the creator reached us."""

    id: str
    family: Family
    model: str
    prompt: str
    request: dict[str, JsonValue]
    origin: str
    outcome: Outcome
    created: int
    duration: int
    price: Decimal

    @property
    def callback_url(self) -> str | None:
        """Where the creator wants to be called."""
        url = self.request.get("callBackUrl")
        return url if isinstance(url, str) and url else None

    @property
    def ends(self) -> int | None:
        """When the task ends; None for a lost one."""
        return None if self.outcome == "lost" else self.created + self.duration

    def share(self, now: int) -> float:
        """How much of the task is done: 1 and above for an ended one. A lost task stays just below."""
        if self.ends is not None and now >= self.ends:
            return 1.0
        share = (now - self.created) / self.duration if self.duration else 1.0
        return min(max(share, 0.0), 0.99)

    def ended(self, now: int) -> bool:
        """Whether the task has its result or its failure."""
        return self.ends is not None and now >= self.ends


@dataclass(frozen=True, slots=True)
class Letter:
    """One callback that waits for its time. `kind` is `text`, `first`, `complete` for songs, else `end`."""

    number: int
    task: str
    kind: str
    due: int
    attempts: int


def outcome_of(ending: Ending) -> Outcome:
    """How a task with this ending ends; the strongest marker wins."""
    order: Sequence[Outcome] = ("lost", "fail", "reject", "garbage")
    chosen: list[Outcome] = [word for word in order if word in ending]
    return chosen[0] if chosen else "success"


def _task(row: sqlite3.Row) -> Task:
    return Task(
        row["id"],
        row["family"],
        row["model"],
        row["prompt"],
        cast("dict[str, JsonValue]", orjson.loads(row["request"])),
        row["origin"],
        row["outcome"],
        row["created"],
        row["duration"],
        Decimal(row["price"]) / 1000,
    )


class Tasks:
    """The table of tasks and the letters that they still owe."""

    def __init__(self, records: Records, clock: Clock, pace: float) -> None:
        self._records = records
        self._clock = clock
        self._pace = pace

    async def create(
        self,
        family: Family,
        model: str,
        prompt: str,
        request: dict[str, JsonValue],
        origin: str,
        ending: Ending,
        seconds: float,
        price: Decimal,
        letters: Sequence[tuple[str, float]],
    ) -> Task:
        """Accepts a task that takes `seconds` at pace 1; it is durable when this returns.

        `letters` are the callbacks it owes: a kind, and the share of the duration after which it is due.
        """
        duration = round(1000 * (seconds * self._pace if ending.slow is None else ending.slow))
        task = Task(
            secrets.token_hex(16),
            family,
            model,
            prompt,
            request,
            origin,
            outcome_of(ending),
            self._clock.now(),
            duration,
            price,
        )
        owed = letters if task.callback_url and task.outcome != "lost" else ()
        rows = [
            (task.id, kind, task.created + round(share * duration))
            for kind, share in owed
            for _ in range(2 if "twice" in ending else 1)
        ]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO tasks (id, family, model, prompt, digest, request, origin, outcome, created, duration,"
                " price) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    task.id,
                    family,
                    model,
                    prompt,
                    prompt_digest(prompt),
                    orjson.dumps(request).decode(),
                    origin,
                    task.outcome,
                    task.created,
                    duration,
                    round(price * 1000),
                ),
            )
            connection.executemany("INSERT INTO callbacks (task, kind, due) VALUES (?, ?, ?)", rows)

        await self._records.write(work)
        return task

    async def find(self, task_id: str, family: Family | None = None) -> Task | None:
        """The task, if it is known (to this family's route)."""

        def work(connection: sqlite3.Connection) -> Task | None:
            row = connection.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
            return None if row is None or family not in (None, row["family"]) else _task(row)

        return await self._records.read(work)

    async def count_look(self, task: Task) -> int:
        """How often the task was looked at, this time included."""

        def work(connection: sqlite3.Connection) -> int:
            found = connection.execute("UPDATE tasks SET looks = looks + 1 WHERE id = ? RETURNING looks", (task.id,))
            return int(found.fetchall()[0][0])

        return await self._records.write(work)

    async def balance(self) -> Decimal:
        """Credits left: KIE takes them when a task succeeds, and nothing for a failed one."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> Decimal:
            spent = connection.execute(
                "SELECT coalesce(sum(price), 0) FROM tasks"
                " WHERE outcome IN ('success', 'garbage') AND created + duration <= ?",
                (now,),
            ).fetchone()[0]
            return BALANCE - Decimal(spent) / 1000

        return await self._records.read(work)

    async def due(self, now: int, most: int, busy: set[int]) -> list[tuple[Letter, Task]]:
        """Letters whose time has come, the oldest first, besides those that are being sent."""

        def work(connection: sqlite3.Connection) -> list[tuple[Letter, Task]]:
            letters = connection.execute(
                "SELECT * FROM callbacks WHERE due <= ? ORDER BY due, number LIMIT ?", (now, most + len(busy))
            ).fetchall()
            chosen = [Letter(*row) for row in letters if row["number"] not in busy][:most]
            found: list[tuple[Letter, Task]] = []
            for letter in chosen:
                row = connection.execute("SELECT * FROM tasks WHERE id = ?", (letter.task,)).fetchone()
                found.append((letter, _task(row)))
            return found

        return await self._records.read(work)

    async def next_due(self, busy: set[int]) -> int | None:
        """When the next letter is due that is not being sent."""

        def work(connection: sqlite3.Connection) -> int | None:
            rows = connection.execute("SELECT number, due FROM callbacks ORDER BY due LIMIT ?", (len(busy) + 1,))
            return next((row["due"] for row in rows.fetchall() if row["number"] not in busy), None)

        return await self._records.read(work)

    async def delivered(self, letter: Letter) -> None:
        """Forgets a letter that arrived, or that was given up."""
        await self._records.write(lambda db: db.execute("DELETE FROM callbacks WHERE number = ?", (letter.number,)))

    async def postpone(self, letter: Letter, due: int) -> None:
        """Counts a failed attempt; the next one is made at `due`."""
        await self._records.write(
            lambda db: db.execute(
                "UPDATE callbacks SET attempts = attempts + 1, due = ? WHERE number = ?", (due, letter.number)
            )
        )

    async def forget_old(self) -> None:
        """Drops what is older than KIE would still know."""
        oldest = self._clock.now() - KEPT

        def work(connection: sqlite3.Connection) -> None:
            # Numbers and times grow together: only what is too old is read.
            kept = connection.execute("SELECT number FROM tasks WHERE created >= ? ORDER BY number LIMIT 1", (oldest,))
            row = kept.fetchone()
            below = sys.maxsize if row is None else row["number"]
            if connection.execute("SELECT 1 FROM tasks WHERE number < ? LIMIT 1", (below,)).fetchone() is not None:
                connection.execute(
                    "DELETE FROM callbacks WHERE task IN (SELECT id FROM tasks WHERE number < ?)", (below,)
                )
                connection.execute("DELETE FROM tasks WHERE number < ?", (below,))
            connection.execute("DELETE FROM generations WHERE created < ?", (oldest,))

        await self._records.write(work)


def until(now: int, due: int) -> float:
    """Seconds from now until then, not below nothing."""
    return max(0, due - now) / SECOND
