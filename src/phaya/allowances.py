"""What one account may hold at a time: jobs under way and in the queue, and stored bytes. Settings give it to all,
and an operator may give one account another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from phaya import keys, lines
from phaya.clock import DAY
from phaya.errors import Fault, Invalid, StorageFull, TooManyRequests
from phaya.jobs import Job
from phaya.schema import accounts, allowances, holdings, padded

LARGEST = {"jobs": 2**31 - 1, "queued": 2**31 - 1, "bytes": 2**63 - 1}
AGAIN = 15
"""Seconds after which a full queue is worth another try."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many jobs and calls may be under way or wait, how many jobs may wait to be begun, and how many bytes may be
    stored."""

    jobs: int
    queued: int
    bytes: int


GENEROUS = Allowance(jobs=20_000, queued=10_000, bytes=100_000_000_000)
"""What settings say unless an operator says otherwise."""


def of(connection: Connection, account_ids: Collection[str], usual: Allowance) -> dict[str, Allowance]:
    """Accounts' allowances: the usual one, but for what was set apart for them."""
    found = dict.fromkeys(account_ids, usual)
    asked = select(allowances).where(allowances.c.account_id.in_(padded(sorted(account_ids))))
    for row in connection.execute(asked):
        own = {field.name: getattr(row, field.name) for field in fields(Allowance)}
        known = {name: value for name, value in own.items() if value is not None}
        found[row.account_id] = replace(usual, **known)
    return found


class Room:
    """What some accounts hold and may hold, for one transaction that has locked them: so the limits are exact however
    many ask at once."""

    def __init__(
        self, connection: Connection, account_ids: Collection[str], now: int, usual: Allowance, media_days: float
    ) -> None:
        self._days = media_days
        self._allowed = of(connection, account_ids, usual)
        self._stored = stored(connection, account_ids, now, media_days)
        counts = lines.count(connection, account_ids)
        self._queued = {account: sum(lane[0] for lane in found.values()) for account, found in counts.items()}
        self._begun = {account: sum(lane[1] for lane in found.values()) for account, found in counts.items()}
        self._standing = Counter(
            {(account, name): lane[2] for account, found in counts.items() for name, lane in found.items()}
        )

    def place(self, drafts: Sequence[Job]) -> list[Job]:
        """New jobs of one account in their places: in line, or parked behind others of the account.

        Raises TooManyRequests or StorageFull, naming the limit, and then nothing is placed.
        """
        account = drafts[0].account_id
        allowed = self._allowed[account]
        waiting = sum(lines.waits(draft.state.value, draft.step.value) for draft in drafts)
        queued, begun = self._queued[account] + waiting, self._begun[account] + len(drafts) - waiting
        if queued > allowed.queued:
            raise TooManyRequests(
                f"This account has {allowed.queued} jobs waiting to be begun, and may not have more at a time "
                "(limit: queued jobs). Nothing was charged.",
                AGAIN,
            )
        if queued + begun > allowed.jobs:
            raise TooManyRequests(
                f"This account has {allowed.jobs} jobs and calls under way, and may not have more at a time "
                "(limit: jobs in flight). Nothing was charged.",
                AGAIN,
            )
        _check_room(self._stored[account], 0, allowed, self._days)
        self._queued[account], self._begun[account] = queued, begun
        return [self._placed(draft) for draft in drafts]

    def leave(self, placed: Sequence[Job]) -> None:
        """These were not opened after all."""
        for job in placed:
            if lines.waits(job.state.value, job.step.value):
                self._queued[job.account_id] -= 1
                self._standing[job.account_id, job.lane] -= 1
            else:
                self._begun[job.account_id] -= 1

    def _placed(self, draft: Job) -> Job:
        if not lines.waits(draft.state.value, draft.step.value):
            return draft
        self._standing[draft.account_id, draft.lane] += 1
        if self._standing[draft.account_id, draft.lane] <= lines.places(draft.lane):
            return draft
        until = draft.deadline_at if draft.cancel_at is None else min(draft.deadline_at, draft.cancel_at)
        return replace(draft, parked=True, next_at=until)


def stored(connection: Connection, account_ids: Collection[str], now: int, media_days: float) -> dict[str, int]:
    """Bytes that are kept for accounts: what came in the days for which files are kept."""
    since = int(now - media_days * DAY) // DAY
    theirs = holdings.c.account_id.in_(padded(sorted(account_ids))) & (holdings.c.day >= since)
    rows = connection.execute(
        select(holdings.c.account_id, func.sum(holdings.c.bytes).label("bytes"))
        .where(theirs)
        .group_by(holdings.c.account_id)
    )
    return dict.fromkeys(account_ids, 0) | {row.account_id: int(row.bytes) for row in rows}


def _check_room(held: int, size: int, allowed: Allowance, media_days: float) -> None:
    """Raises StorageFull where an account has no room for so many bytes more."""
    if held + size > allowed.bytes or held >= allowed.bytes:
        raise StorageFull(
            f"This account has {held / 1e6:.1f} MB of files stored and may have {allowed.bytes / 1e6:g} MB "
            f"(limit: stored bytes). Each is deleted {media_days:g} days after it came."
        )


def hold(connection: Connection, account_id: str, size: int, now: int) -> None:
    """Notes that so many bytes are now stored for an account."""
    if not size:
        return
    today = (holdings.c.account_id == account_id) & (holdings.c.day == now // DAY)
    more = update(holdings).where(today).values(bytes=holdings.c.bytes + size)
    if connection.execute(more).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(holdings).values(account_id=account_id, day=now // DAY, bytes=size))
    except IntegrityError:  # another node noted the day's first bytes at this moment
        connection.execute(more)


def take_in(connection: Connection, account_id: str, size: int, usual: Allowance, now: int, media_days: float) -> None:
    """Notes the bytes of a file that an account brings, where it has room for them. Raises StorageFull."""
    connection.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update(key_share=True))
    held = stored(connection, [account_id], now, media_days)[account_id]
    _check_room(held, size, of(connection, [account_id], usual)[account_id], media_days)
    hold(connection, account_id, size, now)


def forget(connection: Connection, before: int, limit: int) -> int:
    """Forgets the days of which nothing is kept any more, up to `limit` of them; answers how many."""
    old = select(holdings.c.account_id, holdings.c.day).where(holdings.c.day < before // DAY).limit(limit)
    found = connection.execute(old).all()
    for row in found:
        connection.execute(delete(holdings).where(holdings.c.account_id == row.account_id, holdings.c.day == row.day))
    return len(found)


def command(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The operator's command: shows what is set apart for an account, and changes what is named; `usual` takes a limit
    back to what all accounts have."""
    account = keys.account_by_email(connection, asked["account"])
    changes: dict[str, int | None] = {}
    for name, largest in LARGEST.items():
        given = asked.get(name)
        if given is None:
            continue
        if given == "usual":
            changes[name] = None
            continue
        text = str(given)
        if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= largest):
            raise Invalid(Fault(name, "must be a whole number that is not negative, or 'usual'"))
        changes[name] = int(text)
    if changes:
        mine = allowances.c.account_id == account.id
        if not connection.execute(update(allowances).where(mine).values(changes)).rowcount:
            connection.execute(insert(allowances).values(account_id=account.id, **changes))
    row = connection.execute(select(allowances).where(allowances.c.account_id == account.id)).one_or_none()
    return {
        "account": account.email,
        "changed": bool(changes),
        "limits": {name: None if row is None else getattr(row, name) for name in LARGEST},
        "held": {
            **dict(zip(("queued", "under_way"), _sums(connection, account.id), strict=True)),
            "bytes": stored(connection, [account.id], now, asked["media_days"])[account.id],
        },
    }


def _sums(connection: Connection, account_id: str) -> tuple[int, int]:
    counts = lines.count(connection, [account_id])[account_id].values()
    return sum(found[0] for found in counts), sum(found[1] for found in counts)
