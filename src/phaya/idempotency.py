"""Requests that may be sent again: which one an `Idempotency-Key` was used for, and what it was answered.

The row of a key is written in the transaction that opens and charges its job, and the answer in the same one, or in
the one that ends the job where a call lasts as long as its request. So there is no charge without its key, and no
key without its charge. See docs/decisions/0016-one-key-one-charge.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson
from sqlalchemy import ColumnElement, Connection, delete, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from phaya.clock import DAY
from phaya.credits import Credits
from phaya.errors import Conflict
from phaya.schema import idempotency

HEADER = "Idempotency-Key"
KEPT = DAY
"""How long a key stands for the request that it was first sent with."""
LONGEST = 1_000_000
"""Bytes of an answer that is kept."""
TRIES = 3


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes a request recognizable: who sends it, under which key, and what it asks."""

    account_id: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A body as it was sent, and its content type."""

    media_type: str
    body: bytes


class Taken(Exception):
    """The same request was accepted before; here is its job and what was answered. Nothing was charged again."""

    def __init__(self, job_id: str, answer: Answer) -> None:
        super().__init__(job_id)
        self.job_id = job_id
        self.answer = answer


class Reused(Conflict):
    """The key was used for another request."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            f"{HEADER}: this key was used for a request with another body or path within the last 24 hours. "
            "Send the same request again, or a new key. Nothing was charged."
        )


class InProgress(Conflict):
    """The first request with the key has not been answered yet."""

    code = "idempotency_in_progress"

    def __init__(self) -> None:
        super().__init__(
            f"{HEADER}: the first request with this key is still being answered. Send it again in a moment; "
            "it is not charged twice."
        )

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the answer may be there."""
        return 1


class NotKept(Conflict):
    """The first request was answered and paid for, but its answer was too long to be kept."""

    code = "idempotency_answer_not_kept"

    def __init__(self, job_id: str, cost: str) -> None:
        super().__init__(
            f"{HEADER}: the first request with this key was answered and cost {cost} credits (job {job_id}), but the "
            f"answer was longer than the {LONGEST // 1_000_000} MB that are kept. Nothing more was charged."
        )


def fingerprint(path: str, body: object) -> str:
    """What a request asks, in 64 characters: the same for the same JSON, however it is spaced and ordered."""
    asked = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(path.encode() + b"\n" + asked).hexdigest()


def look(connection: Connection, stamp: Stamp, now: int) -> None:
    """Does nothing where the key is free. Raises Taken, Reused, InProgress or NotKept where it is not."""
    row = connection.execute(
        select(idempotency).where(*_mine(stamp.account_id, stamp.key), idempotency.c.created_at > now - KEPT)
    ).one_or_none()
    if row is None:
        return
    if row.fingerprint != stamp.fingerprint:
        raise Reused
    if row.answer is None:
        raise InProgress
    media_type, _, body = row.answer.partition(b"\n")
    if not media_type:
        raise NotKept(row.job_id, body.decode())
    raise Taken(row.job_id, Answer(media_type.decode(), body))


def claim(connection: Connection, stamp: Stamp, job_id: str, now: int) -> None:
    """Writes the key down for a new job, without an answer yet. Raises what `look` raises where it is not free.

    On PostgreSQL it waits for the transaction of another node that claims the same key; whoever comes second finds
    the first one's row, or none where that was rolled back.
    """
    row = {
        "account_id": stamp.account_id,
        "key": stamp.key,
        "fingerprint": stamp.fingerprint,
        "job_id": job_id,
        "created_at": now,
    }
    for _ in range(TRIES):
        connection.execute(
            delete(idempotency).where(*_mine(stamp.account_id, stamp.key), idempotency.c.created_at <= now - KEPT)
        )
        try:
            with connection.begin_nested():
                connection.execute(insert(idempotency).values(row))
        except IntegrityError:
            look(connection, stamp, now)
        else:
            return
    raise InProgress  # freed and claimed by others each time


def keep(connection: Connection, account_id: str, key: str, job_id: str, answer: Answer, cost: Credits) -> None:
    """Writes what was answered; of an answer that is too long only what it cost."""
    kept = f"{answer.media_type}\n".encode() + answer.body if len(answer.body) <= LONGEST else f"\n{cost}".encode()
    connection.execute(
        update(idempotency).where(*_mine(account_id, key), idempotency.c.job_id == job_id).values(answer=kept)
    )


def free(connection: Connection, account_id: str, key: str, job_id: str) -> None:
    """The job was given up and paid back: its key may be used anew."""
    connection.execute(delete(idempotency).where(*_mine(account_id, key), idempotency.c.job_id == job_id))


def forget(connection: Connection, now: int, limit: int) -> int:
    """Deletes up to `limit` keys that stand for nothing any more; answers how many."""
    identity = tuple_(idempotency.c.account_id, idempotency.c.key)
    old = select(idempotency.c.account_id, idempotency.c.key).where(idempotency.c.created_at <= now - KEPT)
    return connection.execute(delete(idempotency).where(identity.in_(old.limit(limit)))).rowcount


def _mine(account_id: str, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return idempotency.c.account_id == account_id, idempotency.c.key == key
