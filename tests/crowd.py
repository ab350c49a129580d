"""Open jobs in bulk, written as `open_job` and a successful submit leave them, each with its charge."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select, update

from phaya.calls import pack
from phaya.catalog.images import TextToImage
from phaya.clock import MINUTE
from phaya.credits import Credits
from phaya.database import Database
from phaya.jobs import Job, State, Step
from phaya.providers.roster import REMOTE, fingerprint
from phaya.schema import accounts, entries, jobs, keys

BATCH = 5000


@dataclass(frozen=True)
class Open:
    """A job in flight, as far as the benchmark needs it."""

    id: str
    ticket: str


async def fill(
    database: Database,
    count: int,
    provider_keys: Sequence[str],
    now: int,
    *,
    look_in: int,
    apart: int = 0,
    minutes: int = 120,
) -> list[Open]:
    """Writes `count` jobs of the only account, spread over the provider's keys, with money that matches.

    The first is looked at `look_in` milliseconds from now, the others `apart` after each other. They fail
    after `minutes` of silence.
    """
    written: list[Open] = []
    for start in range(0, count, BATCH):
        batch = list(_drafts(range(start, min(start + BATCH, count)), provider_keys, now, look_in, apart, minutes))
        await database.write(_open_all, batch)
        written += [Open(job.id, job.ticket or "") for job in batch]
    return written


def _drafts(
    numbers: range, provider_keys: Sequence[str], now: int, look_in: int, apart: int, minutes: int
) -> Iterator[Job]:
    for number in numbers:
        request = TextToImage(prompt=f"A lighthouse above a calm sea at dawn, number {number}", aspect_ratio="16:9")
        yield Job(
            id=str(uuid.uuid4()),
            account_id="",
            key_id="",
            service=TextToImage.path,
            request=request.model_dump_json(exclude_defaults=True),
            call=pack(request.call()),
            sandbox=False,
            price=request.price(TextToImage.rates),
            state=State.PROCESSING,
            step=Step.AWAITING,
            lane=REMOTE,
            rev=3,
            attempts=1,
            provider_key=fingerprint(provider_keys[number % len(provider_keys)]),
            ticket=uuid.uuid4().hex,
            submitted_at=now,
            deadline_at=now + minutes * MINUTE,
            created_at=now - number,
            next_at=now + look_in + number * apart,
        )


def _open_all(connection: Connection, batch: Sequence[Job]) -> None:
    key = connection.execute(select(keys.c.id, keys.c.account_id)).one()
    owner = {"account_id": key.account_id, "key_id": key.id}
    rows = [{field.name: _plain(getattr(job, field.name)) for field in fields(Job)} | owner for job in batch]
    connection.execute(insert(jobs), rows)
    charges = [
        {"job_id": job.id, "reason": "charge", "amount": -job.price.units, "created_at": job.created_at} | owner
        for job in batch
    ]
    connection.execute(insert(entries), charges)
    total = sum(job.price.units for job in batch)
    connection.execute(
        update(accounts).where(accounts.c.id == key.account_id).values(balance=accounts.c.balance - total)
    )
    connection.execute(update(keys).where(keys.c.id == key.id).values(spent=keys.c.spent + total))


def _plain(value: Any) -> Any:
    if isinstance(value, Credits):
        return value.units
    return value.value if isinstance(value, StrEnum) else value
