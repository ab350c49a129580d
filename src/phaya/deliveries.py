"""What is told to whom: an outbox. The transaction that ends a job writes a row for each receiver; the deliverers of
all nodes claim the rows, send, and write what became of it."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, not_, or_, select, update

from phaya import jobs, webhooks
from phaya.errors import Fault, Invalid, NotFound
from phaya.jobs import Job
from phaya.schema import accounts, deliveries, endpoints
from phaya.webhooks import Endpoint, Event, Signer

EACH_HOST = 4
"""Sends of one node to one host at a time: a slow receiver delays nobody else."""
EACH_ACCOUNT = 16
"""Sends of one node for one account at a time, however many hosts it names."""
DISABLED = "the webhook is disabled"
DELETED = "the webhook was deleted"


class Condition(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row. `endpoint_id` is None for a job's own `webhook_url`; `attempts` counts claims, the running one too."""

    id: str
    account_id: str
    endpoint_id: str | None
    job_id: str | None
    event: Event
    url: str
    state: Condition
    attempts: int
    rev: int
    next_at: int | None
    status: int | None
    trouble: str | None
    created_at: int
    ended_at: int | None

    @property
    def place(self) -> Place:
        """Whose place it takes while it is sent."""
        return origin(self.url), self.account_id


Place = tuple[str, str]
"""A host, as scheme, name and port, and an account."""

_NAMES = tuple(field.name for field in fields(Delivery))


@dataclass(frozen=True, slots=True)
class Letter:
    """What a delivery is made of when it is sent. `signer` is None, with the reason, where nobody listens any more."""

    signer: Signer | None
    reason: str
    job: Job | None
    moment: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: no `trouble` is a success; a next try is made at `next_at`, if there is one."""

    status: int | None = None
    trouble: str | None = None
    next_at: int | None = None
    gone: bool = False  # the receiver wants nothing more
    exhausted: bool = False  # it was the last attempt

    @property
    def word(self) -> str:
        """What became of it, in one word."""
        if self.trouble is None:
            return "delivered"
        return "gone" if self.gone else "again" if self.next_at is not None else "failed"


def origin(url: str) -> str:
    """The part of a checked address that names the host."""
    return "/".join(url.split("/", 3)[:3])


def announce(connection: Connection, job: Job, event: Event, now: int) -> None:
    """Writes down that an event of a job is to be told, in the transaction that made it happen."""
    receivers: list[tuple[str | None, str]] = [(None, job.webhook_url)] if job.webhook_url else []
    receivers += [(one.id, one.url) for one in webhooks.listening(connection, job.account_id, event)]
    rows = [asdict(_fresh(job.account_id, endpoint, job.id, event, url, now)) for endpoint, url in receivers]
    if rows:
        connection.execute(insert(deliveries), rows)


def test(connection: Connection, account_id: str, endpoint_id: str, now: int) -> Delivery:
    """A delivery that tells an endpoint nothing but that it works. Raises NotFound or Invalid."""
    endpoint = webhooks.find(connection, account_id, endpoint_id)
    _must_live(endpoint)
    return _write(connection, _fresh(account_id, endpoint_id, None, Event.TEST, endpoint.url, now))


def redeliver(connection: Connection, account_id: str, delivery_id: str, now: int) -> Delivery:
    """Tells an event once more, in a delivery of its own. Raises NotFound or Invalid."""
    former = find(connection, account_id, delivery_id)
    url = former.url
    if former.endpoint_id is not None:
        try:
            endpoint = webhooks.find(connection, account_id, former.endpoint_id)
        except NotFound:
            raise NotFound(f"The webhook of delivery {delivery_id} was deleted.") from None
        _must_live(endpoint)
        url = endpoint.url
    return _write(connection, _fresh(account_id, former.endpoint_id, former.job_id, former.event, url, now))


def find(connection: Connection, account_id: str, delivery_id: str) -> Delivery:
    """An account's delivery. Raises NotFound, in the same words for those of others."""
    query = select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.account_id == account_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no delivery {delivery_id[:64]}.")
    return _delivery(row)


def listing(
    connection: Connection,
    account_id: str,
    limit: int,
    *,
    state: Condition | None = None,
    endpoint: str | None = None,
    job_id: str | None = None,
    cursor: str | None = None,
) -> tuple[list[Delivery], str | None]:
    """A page of an account's deliveries, newest first, and the cursor of the next one. Raises Invalid."""
    query = select(deliveries).where(deliveries.c.account_id == account_id)
    if state is not None:
        query = query.where(deliveries.c.state == state.value)
    if endpoint is not None:
        query = query.where(deliveries.c.endpoint_id == endpoint)
    if job_id is not None:
        query = query.where(deliveries.c.job_id == job_id)
    if cursor is not None:
        found = re.fullmatch(r"(\d{1,15})\.([0-9a-f-]{36})", cursor)
        if found is None:
            raise Invalid(Fault("cursor", "must be a next_cursor of this list", "cursor", "query"))
        moment, last = int(found[1]), found[2]
        older = and_(deliveries.c.created_at == moment, deliveries.c.id < last)
        query = query.where(or_(deliveries.c.created_at < moment, older))
    newest = query.order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc()).limit(limit + 1)
    page = [_delivery(row) for row in connection.execute(newest)]
    more = len(page) > limit
    page = page[:limit]
    return page, f"{page[-1].created_at}.{page[-1].id}" if more else None


def claim(connection: Connection, limit: int, now: int, lease: int, taken: Sequence[Place]) -> list[Delivery]:
    """Takes up to `limit` due deliveries for `lease` milliseconds, the longest due first.

    `taken` is who has how many places of this node already; nobody gets more than its share. The attempt is
    counted here, so that one whose outcome is never written cannot be repeated for ever.
    """
    due = (
        select(deliveries.c.id, deliveries.c.url, deliveries.c.account_id)
        .where(deliveries.c.next_at <= now, *_with_room(taken))
        .order_by(deliveries.c.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    hosts, owners = _shares(taken)
    chosen: list[str] = []
    for row in connection.execute(due):
        host = origin(row.url)
        if hosts[host] < EACH_HOST and owners[row.account_id] < EACH_ACCOUNT:
            hosts[host] += 1
            owners[row.account_id] += 1
            chosen.append(row.id)
    if not chosen:
        return []
    rows = connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(chosen))
        .values(rev=deliveries.c.rev + 1, attempts=deliveries.c.attempts + 1, next_at=now + lease)
        .returning(deliveries)
    )
    return [_delivery(row) for row in rows]


def next_due(connection: Connection, taken: Sequence[Place]) -> int | None:
    """When the next delivery is due to somebody who has a place left."""
    query = select(func.min(deliveries.c.next_at)).where(deliveries.c.next_at.is_not(None), *_with_room(taken))
    return connection.execute(query).scalar()


def letter(connection: Connection, delivery: Delivery) -> Letter:
    """What a delivery tells, as it stands now."""
    signer, reason = _signer(connection, delivery)
    job = None if delivery.job_id is None else jobs.find(connection, delivery.job_id, delivery.account_id)
    moment = delivery.created_at
    if job is not None and delivery.event is Event.LATE_RESULT:
        first = select(func.min(deliveries.c.created_at)).where(
            deliveries.c.account_id == delivery.account_id,
            deliveries.c.job_id == delivery.job_id,
            deliveries.c.event == delivery.event.value,
        )
        moment = connection.execute(first).scalar() or moment
    elif job is not None:
        moment = job.ended_at or moment
    return Letter(signer, reason, job, moment)


def settle(connection: Connection, delivery: Delivery, outcome: Outcome, now: int) -> bool:
    """Writes what became of an attempt; False, and nothing written, where somebody else has claimed it since.

    A receiver that is gone, or that took nothing since a delivery began which has now failed for good, is disabled.
    """
    state = Condition.DELIVERED if outcome.trouble is None else Condition.FAILED
    if outcome.next_at is not None:
        state = Condition.PENDING
    done = connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id, deliveries.c.rev == delivery.rev)
        .values(
            state=state.value,
            rev=delivery.rev + 1,
            next_at=outcome.next_at,
            status=outcome.status,
            trouble=outcome.trouble,
            ended_at=now if outcome.next_at is None else None,
        )
    )
    if not done.rowcount:
        return False
    if delivery.endpoint_id is not None:
        if outcome.gone:
            webhooks.disable(connection, delivery.endpoint_id, now, str(outcome.trouble))
        elif outcome.exhausted and not _told_since(connection, delivery):
            webhooks.disable(connection, delivery.endpoint_id, now, f"nothing could be delivered: {outcome.trouble}")
    return True


def forget(connection: Connection, before: int, limit: int) -> int:
    """Deletes up to `limit` finished deliveries of events before a moment; answers how many."""
    # By account, because that is what the index begins with.
    old = (
        select(deliveries.c.id)
        .where(
            deliveries.c.account_id.in_(select(accounts.c.id)),
            deliveries.c.created_at < before,
            deliveries.c.next_at.is_(None),
        )
        .limit(limit)
    )
    gone = [row.id for row in connection.execute(old)]
    if gone:
        connection.execute(delete(deliveries).where(deliveries.c.id.in_(gone)))
    return len(gone)


def _fresh(account_id: str, endpoint_id: str | None, job_id: str | None, event: Event, url: str, now: int) -> Delivery:
    return Delivery(
        id=str(uuid.uuid4()),
        account_id=account_id,
        endpoint_id=endpoint_id,
        job_id=job_id,
        event=event,
        url=url,
        state=Condition.PENDING,
        attempts=0,
        rev=0,
        next_at=now,
        status=None,
        trouble=None,
        created_at=now,
        ended_at=None,
    )


def _write(connection: Connection, delivery: Delivery) -> Delivery:
    connection.execute(insert(deliveries), [asdict(delivery)])
    return delivery


def _must_live(endpoint: Endpoint) -> None:
    if endpoint.disabled_at is not None:
        raise Invalid(Fault("webhook", "is disabled; enable it first", "disabled", "path"))


def _signer(connection: Connection, delivery: Delivery) -> tuple[Signer | None, str]:
    if delivery.endpoint_id is None:
        return webhooks.account_signer(connection, delivery.account_id), ""
    try:
        endpoint = webhooks.find(connection, delivery.account_id, delivery.endpoint_id)
    except NotFound:
        return None, DELETED
    return (endpoint.signer, "") if endpoint.disabled_at is None else (None, DISABLED)


def _shares(taken: Sequence[Place]) -> tuple[Counter[str], Counter[str]]:
    return Counter(host for host, _ in taken), Counter(account for _, account in taken)


def _with_room(taken: Sequence[Place]) -> list[ColumnElement[bool]]:
    """Leaves out the hosts and accounts that have all their places."""
    hosts, owners = _shares(taken)
    full = [host for host, count in hosts.items() if count >= EACH_HOST]
    rules = [not_(deliveries.c.url.startswith(f"{host}/", autoescape=True)) for host in full]
    owed = [account for account, count in owners.items() if count >= EACH_ACCOUNT]
    return [*rules, *([deliveries.c.account_id.not_in(owed)] if owed else [])]


def _told_since(connection: Connection, delivery: Delivery) -> bool:
    """Whether the endpoint has taken anything since this delivery was written."""
    # A disabled endpoint is not looked at again: its other deliveries may fail in thousands.
    living = select(endpoints.c.id).where(endpoints.c.id == delivery.endpoint_id, endpoints.c.disabled_at.is_(None))
    if connection.execute(living).first() is None:
        return True
    taken = select(deliveries.c.id).where(
        deliveries.c.account_id == delivery.account_id,
        deliveries.c.created_at >= delivery.created_at,
        deliveries.c.endpoint_id == delivery.endpoint_id,
        deliveries.c.state == Condition.DELIVERED.value,
    )
    return connection.execute(taken.limit(1)).first() is not None


def _delivery(row: Row[Any]) -> Delivery:
    values: dict[str, Any] = {name: getattr(row, name) for name in _NAMES}
    values["event"] = Event(row.event)
    values["state"] = Condition(row.state)
    return Delivery(**values)
