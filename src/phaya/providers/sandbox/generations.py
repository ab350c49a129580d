"""Generations: what every inference answer leaves behind, readable at `GET /generation` ever after."""

from __future__ import annotations

import secrets
import sqlite3
import string
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from phaya.clock import SECOND, Clock
from phaya.providers.sandbox.languages import Language
from phaya.providers.sandbox.records import Records, prompt_digest
from phaya.providers.sandbox.wire import number

PROVIDER = "Phaya Sandbox"
_UNIT = Decimal(10) ** 12
_SIGNS = string.ascii_letters + string.digits


@dataclass(slots=True)
class Generation:
    """One answer: how many tokens went in and came out so far, and how it ended."""

    id: str
    language: Language
    prompt: str
    created: int
    streamed: bool
    prompt_tokens: int
    completion_tokens: int = 0
    finish_reason: str | None = None
    cancelled: bool = False

    @property
    def cost(self) -> Decimal:
        """USD: price times tokens, and nothing where the model ended in an error (zero-completion insurance)."""
        if self.finish_reason == "error":
            return Decimal(0)
        return self.language.cost(self.prompt_tokens, self.completion_tokens)

    def usage(self) -> dict[str, object]:
        """The `usage` of an answer."""
        spent_in = self.language.cost(self.prompt_tokens, 0)
        spent_out = self.language.cost(0, self.completion_tokens)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "cost": number(self.cost),
            "is_byok": False,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_write_tokens": 0,
                "audio_tokens": 0,
                "video_tokens": 0,
            },
            "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": 0, "audio_tokens": 0},
            "cost_details": {
                "upstream_inference_cost": None,
                "upstream_inference_prompt_cost": number(spent_in),
                "upstream_inference_completions_cost": number(spent_out),
            },
        }


class Generations:
    """The table of generations."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    def begin(self, language: Language, prompt: str, prompt_tokens: int, *, streamed: bool = False) -> Generation:
        """A new generation; nothing is written before `keep`."""
        now = self._clock.now()
        name = f"gen-{now // SECOND}-{''.join(secrets.choice(_SIGNS) for _ in range(20))}"
        return Generation(name, language, prompt, now, streamed, prompt_tokens)

    async def keep(self, generation: Generation) -> None:
        """Writes the generation as it ended."""
        row = (
            generation.id,
            prompt_digest(generation.prompt),
            generation.language.id,
            generation.created,
            generation.streamed,
            generation.cancelled,
            generation.finish_reason,
            generation.prompt_tokens,
            generation.completion_tokens,
            int(generation.cost * _UNIT),
            self._clock.now() - generation.created,
        )
        await self._records.write(
            lambda db: db.execute(
                "INSERT INTO generations (id, digest, model, created, streamed, cancelled, finish_reason,"
                " prompt_tokens, completion_tokens, cost, took) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        )

    async def find(self, name: str) -> dict[str, object] | None:
        """The `data` of `GET /generation`."""

        def work(connection: sqlite3.Connection) -> dict[str, object] | None:
            row = connection.execute("SELECT * FROM generations WHERE id = ?", (name,)).fetchone()
            return None if row is None else _data(row)

        return await self._records.read(work)

    async def spent(self) -> Decimal:
        """USD that all generations cost."""

        def work(connection: sqlite3.Connection) -> Decimal:
            total = connection.execute("SELECT coalesce(sum(cost), 0) FROM generations").fetchone()[0]
            return Decimal(total) / _UNIT

        return await self._records.read(work)


def _data(row: sqlite3.Row) -> dict[str, object]:
    cost = number(Decimal(row["cost"]) / _UNIT)
    return {
        "id": row["id"],
        "model": row["model"],
        "provider_name": PROVIDER,
        "created_at": datetime.fromtimestamp(row["created"] / SECOND, UTC).isoformat(timespec="milliseconds"),
        "streamed": bool(row["streamed"]),
        "cancelled": bool(row["cancelled"]),
        "finish_reason": row["finish_reason"],
        "native_finish_reason": row["finish_reason"],
        "tokens_prompt": row["prompt_tokens"],
        "tokens_completion": row["completion_tokens"],
        "native_tokens_prompt": row["prompt_tokens"],
        "native_tokens_completion": row["completion_tokens"],
        "native_tokens_reasoning": 0,
        "native_tokens_cached": 0,
        "usage": cost,
        "total_cost": cost,
        "cache_discount": None,
        "upstream_inference_cost": None,
        "is_byok": False,
        "latency": row["took"],
        "generation_time": row["took"],
        "moderation_latency": None,
        "num_media_prompt": None,
        "num_search_results": None,
    }
