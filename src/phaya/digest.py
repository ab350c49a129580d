"""What needs an operator's eyes, gathered from the database: `phaya digest`, and the message of each day.

An item is one thing to know. `eyes` says that somebody should look at it; the others are told only beside such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from phaya import figures, reconciliation
from phaya.clock import DAY, HOUR, MINUTE, written
from phaya.credits import Credits
from phaya.deliveries import Condition
from phaya.jobs import State
from phaya.schema import accounts, deliveries, endpoints, jobs

LATE = 10 * MINUTE
"""For how long work may be overdue, or a job stand in the queue, before it needs eyes."""
MOST = 10
"""Services that are named."""
FEW = 5
"""Failures of a service in a day that say nothing yet."""
BAD = 0.1
"""The share of failures from which on it says something, if it is also twice that of the day before."""


@dataclass(frozen=True)
class Item:
    """One thing to know; `text` is a sentence."""

    what: str
    text: str
    eyes: bool = False


def digest(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The operator's command. `live` holds the items that only a running node knows, see watchman.py."""
    since = now - DAY
    items = [
        *_doubt(connection, since),
        *_ledger(connection),
        *_queue(connection, now),
        *_webhooks(connection, since),
        *_services(connection, now),
        *(Item(**item) for item in asked.get("live") or ()),
    ]
    items.sort(key=lambda item: not item.eyes)
    return {
        "since": written(since),
        "until": written(now),
        "eyes": sum(item.eyes for item in items),
        "items": [asdict(item) for item in items],
        "live": "live" in asked,
    }


def text_of(found: Mapping[str, Any], where: str) -> str:
    """A digest as a message; `where` is the address of the Phaya that it is about."""
    eyes, items = found["eyes"], found["items"]
    head = f"Phaya at {where}, {found['until'][:10]}: "
    head += "nothing needs eyes." if not eyes else f"{eyes} {'thing needs' if eyes == 1 else 'things need'} eyes."
    return "\n".join([head, *(f"{'!' if item['eyes'] else '-'} {item['text']}" for item in items)])


def _doubt(connection: Connection, since: int) -> list[Item]:
    count, fresh, held = reconciliation.tally(connection, since)
    if not count:
        return []
    text = f"{_number(count, 'job')} whose fate at the provider is unknown or was paid back, {fresh} since yesterday; "
    return [Item("doubt", text + f"prices {Credits(held)} in all: phaya reconcile list.", eyes=True)]


def _ledger(connection: Connection) -> list[Item]:
    books = figures.books(connection)
    if books is None:
        return [Item("ledger", "The ledger has not been looked at yet.")]
    if not books.adrift:
        return [Item("ledger", f"The ledger agrees, as of {written(books.checked_at)}.")]
    text = f"{_number(books.adrift, 'balance')} off from the entries by {Credits(books.units)} in all: phaya check."
    return [Item("ledger", text, eyes=True)]


def _queue(connection: Connection, now: int) -> list[Item]:
    counted = figures.count(connection, now)
    found: list[Item] = []
    for lane in sorted(counted.late.keys() | counted.ages.keys()):
        late, age = counted.late.get(lane, 0), counted.ages.get(lane, 0)
        if late > LATE:
            text = f"Lane {lane}: work is overdue by {_span(late)}, and no node takes it."
            found.append(Item("queue", text, eyes=True))
        if age > LATE:
            text = f"Lane {lane}: the oldest queued job has waited for {_span(age)}."
            found.append(Item("queue", text, eyes=age > HOUR))
    if counted.deliveries_late > LATE:
        text = f"Webhooks: a delivery is overdue by {_span(counted.deliveries_late)}."
        found.append(Item("webhooks", text, eyes=True))
    return found


def _webhooks(connection: Connection, since: int) -> list[Item]:
    failed = connection.execute(
        select(func.count()).where(
            deliveries.c.account_id.in_(select(accounts.c.id)),  # what the index begins with
            deliveries.c.created_at >= since - 4 * DAY,  # attempts go on for three days
            deliveries.c.ended_at >= since,
            deliveries.c.state == Condition.FAILED.value,
        )
    ).scalar_one()
    disabled = connection.execute(select(func.count()).where(endpoints.c.disabled_at >= since)).scalar_one()
    found: list[Item] = []
    if failed:
        found.append(
            Item("webhooks", f"{_number(failed, 'delivery', 'deliveries')} of webhooks failed for good.", True)
        )
    if disabled:
        found.append(Item("webhooks", f"{_number(disabled, 'webhook')} disabled since yesterday.", eyes=True))
    return found


def _services(connection: Connection, now: int) -> list[Item]:
    """The error rates of services that are worse than the day before, and the whole day in one line."""
    today, before = _ends(connection, now - DAY, now + 1), _ends(connection, now - 2 * DAY, now - DAY)
    found: list[Item] = []
    worse: list[tuple[float, str, str]] = []
    for service, (ended, failed) in today.items():
        rate, former = failed / ended, _rate(before.get(service))
        if failed >= FEW and rate >= BAD and rate >= 2 * former:
            text = f"{service}: {failed} of {ended} jobs failed ({rate:.0%}; the day before {former:.0%})."
            worse.append((rate, service, text))
    found += [Item("errors", text, eyes=True) for _, _, text in sorted(worse, reverse=True)[:MOST]]
    ended, failed = (sum(numbers) for numbers in zip(*today.values(), strict=True)) if today else (0, 0)
    former = sum(ended for ended, _ in before.values())
    text = f"Jobs and chats that ended: {ended}, {failed} of them failed; the day before {former}."
    return [*found, Item("jobs", text)]


def _ends(connection: Connection, since: int, until: int) -> dict[str, tuple[int, int]]:
    """How many jobs of each service were made in a time and have ended, and how many of these failed."""
    failed = jobs.c.state == State.FAILED.value
    rows = connection.execute(
        select(jobs.c.service, func.count().label("ended"), func.count().filter(failed).label("failed"))
        .where(
            jobs.c.account_id.in_(select(accounts.c.id)),  # what the index begins with
            jobs.c.created_at >= since,
            jobs.c.created_at < until,
            jobs.c.state.in_((State.COMPLETED.value, State.FAILED.value)),
        )
        .group_by(jobs.c.service)
    )
    return {row.service: (row.ended, row.failed) for row in rows}


def _rate(numbers: tuple[int, int] | None) -> float:
    return 0.0 if numbers is None else numbers[1] / numbers[0]


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _span(milliseconds: int) -> str:
    minutes = milliseconds // MINUTE
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
