"""What one account may hold at a time: jobs under way and in the queue, and stored bytes. Settings give it to all,
and an operator may give one account another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from phaya import keys, ledger, lines
from phaya.clock import DAY
from phaya.errors import Fault, Invalid, StorageFull, TooManyRequests
from phaya.jobs import Job
from phaya.prepared import Prepared, among
from phaya.schema import accounts, allowances, holdings

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


_NAMES = tuple(field.name for field in fields(Allowance))
_LIMITS = tuple(allowances.c[name] for name in _NAMES)


@cache
def _all(lanes: tuple[str, ...]) -> Prepared:
    """For each account its limits, its stored bytes, and how many jobs it has in line in each of these lanes; and the
    newest entry of all."""
    kept = select(func.coalesce(func.sum(holdings.c.bytes), 0)).where(
        holdings.c.account_id == accounts.c.id, holdings.c.day >= bindparam("since")
    )
    return Prepared(
        select(
            accounts.c.id,
            ledger.newest().label("newest"),
            kept.correlate(accounts).scalar_subquery().label("kept"),
            *(lines.standing(accounts, lane).label(f"line_{number}") for number, lane in enumerate(lanes)),
            *_LIMITS,
        )
        .select_from(accounts.outerjoin(allowances, allowances.c.account_id == accounts.c.id))
        .where(among(accounts.c.id, "accounts"))
    )


def _but(usual: Allowance, own: Sequence[int | None]) -> Allowance:
    """The usual allowance, but for limits of one's own."""
    known = {name: value for name, value in zip(_NAMES, own, strict=True) if value is not None}
    return replace(usual, **known) if known else usual


class Census:
    """How many jobs accounts had when they were last counted, by which they need not be counted each time.

    Whoever opens a job writes an entry, and a job that has ended does not come back: so an account has at most as many
    jobs as were counted then, and as many more as entries were written since, whoever wrote them. Only where that could
    be too many are they counted again.
    """

    MOST = 50_000
    """Accounts that are remembered."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}  # jobs, less the newest entry at that moment

    def bound(self, account_id: str, newest: int) -> int | None:
        """How many jobs an account can have at the most, by the newest entry; None where it was never counted."""
        count = self._counts.get(account_id)
        return None if count is None else count + newest

    def counted(self, account_id: str, jobs: int, newest: int) -> None:
        """So many jobs were found in the transaction that has locked the account."""
        if len(self._counts) >= self.MOST:
            self._counts.clear()
        self._counts[account_id] = jobs - newest

    def forget(self) -> None:
        """A transaction was not kept: what was counted in it may never have been."""
        self._counts.clear()


@dataclass(slots=True)
class _Held:
    """An account's jobs: those before this transaction, which are all taken to be waiting where they were not counted,
    and the new ones."""

    before: tuple[int, int]
    counted: bool
    queued: int = 0
    begun: int = 0


class Room:
    """What some accounts hold and may hold, for one transaction that has locked them: so the limits are exact however
    many ask at once."""

    def __init__(
        self, connection: Connection, drafts: Sequence[Job], usual: Allowance, media_days: float, census: Census
    ) -> None:
        """Room for jobs of the accounts of these drafts, in the lanes in which they wait."""
        self.parked: dict[str, int] = {}
        """Those of the new jobs that are parked, and when they are due by their deadlines all the same."""
        whose = {draft.account_id for draft in drafts}
        self._connection = connection
        self._days = media_days
        self._census = census
        self._allowed: dict[str, Allowance] = {}
        self._stored: dict[str, int] = {}
        self._newest = 0
        lanes = tuple(sorted({one.lane for one in drafts if lines.waits(one.state.value, one.step.value)}))
        self._standing: dict[str, dict[str, int]] = {lane: {} for lane in lanes}
        since = _since(drafts[0].created_at, media_days)
        for account, newest, kept, *more in _all(lanes).run(connection, accounts=sorted(whose), since=since):
            self._newest, self._stored[account] = int(newest), int(kept)
            for lane, found in zip(lanes, more, strict=False):
                self._standing[lane][account] = found
            self._allowed[account] = _but(usual, more[len(lanes) :])
        bounds = {account: census.bound(account, self._newest) for account in whose}
        self._held = {account: _Held((bound, 0), False) for account, bound in bounds.items() if bound is not None}
        self._count(whose - self._held.keys())

    def place(self, drafts: Sequence[Job]) -> None:
        """Finds new jobs of one account their places: in line, or parked behind others of the account.

        Raises TooManyRequests or StorageFull, naming the limit, and then nothing is placed.
        """
        account = drafts[0].account_id
        allowed, held = self._allowed[account], self._held[account]
        waiting = sum(lines.waits(draft.state.value, draft.step.value) for draft in drafts)
        most = sum(held.before) + held.queued + held.begun + len(drafts)
        if not held.counted and most > min(allowed.queued, allowed.jobs):
            self._count([account])
        queued = held.before[0] + held.queued + waiting
        begun = held.before[1] + held.begun + len(drafts) - waiting
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
        held.queued += waiting
        held.begun += len(drafts) - waiting
        for draft in drafts:
            if lines.waits(draft.state.value, draft.step.value):
                self._stand(draft)

    def leave(self, drafts: Sequence[Job]) -> None:
        """These have their places, and were not opened after all."""
        for job in drafts:
            held = self._held[job.account_id]
            if lines.waits(job.state.value, job.step.value):
                held.queued -= 1
                self._standing[job.lane][job.account_id] -= 1
                self.parked.pop(job.id, None)
            else:
                held.begun -= 1

    def _count(self, account_ids: Collection[str]) -> None:
        if not account_ids:
            return
        for account, found in lines.count(self._connection, account_ids).items():
            before = sum(lane[0] for lane in found.values()), sum(lane[1] for lane in found.values())
            self._census.counted(account, sum(before), self._newest)
            held = self._held.setdefault(account, _Held(before, True))
            held.before, held.counted = before, True

    def _stand(self, draft: Job) -> None:
        line = self._standing[draft.lane]
        line[draft.account_id] += 1
        if line[draft.account_id] > lines.places(draft.lane):
            until = draft.deadline_at if draft.cancel_at is None else min(draft.deadline_at, draft.cancel_at)
            self.parked[draft.id] = until


def stored(connection: Connection, account_ids: Collection[str], now: int, media_days: float) -> dict[str, int]:
    """Bytes that are kept for accounts: what came in the days for which files are kept."""
    rows = _all(()).run(connection, accounts=sorted(account_ids), since=_since(now, media_days))
    return {account_id: int(kept) for account_id, _, kept, *_ in rows}


def _since(now: int, media_days: float) -> int:
    """The first day of which files are still kept."""
    return int(now - media_days * DAY) // DAY


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
    [(_, _, held, *own)] = _all(()).run(connection, accounts=[account_id], since=_since(now, media_days))
    _check_room(int(held), size, _but(usual, own), media_days)
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
