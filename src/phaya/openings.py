"""How jobs are opened: the row, its charge and the key of the request that asked for it, together or not at all.

Many requests share one transaction, see crowd.py; each of them is accepted or refused by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from phaya import idempotency, jobs, ledger
from phaya.allowances import GENEROUS, Allowance, Census, Room
from phaya.credits import NOTHING, Credits
from phaya.errors import Conflict, NotEnoughCredits, PhayaError
from phaya.idempotency import Answer, Stamp, Taken
from phaya.jobs import Job
from phaya.purses import Purses
from phaya.schema import accounts


@dataclass(frozen=True, slots=True)
class Opening:
    """The jobs of one request, all of one account: all are opened, or none.

    With a stamp the same request opens nothing twice. `tell` makes what is answered of the balance; it is kept for the
    next time.
    """

    drafts: Sequence[Job]
    stamp: Stamp | None = None
    tell: Callable[[Credits], Answer] | None = None
    usual: Allowance = GENEROUS
    """What an account may hold, where it has no allowance of its own."""
    media_days: float = 14
    """How long files are kept."""
    census: Census = field(default_factory=Census)
    """How many jobs accounts had when somebody counted them."""

    @property
    def first(self) -> Job:
        """The job by which the request is known."""
        return self.drafts[0]


def open_job(connection: Connection, job: Job, parked: Mapping[str, int] | None = None) -> Credits:
    """Writes a job and its charge, together; returns the balance. Raises NotEnoughCredits or Unauthorized."""
    jobs.insert_jobs(connection, [job], parked)
    return ledger.charge(connection, job.account_id, job.key_id, job.id, job.price, job.created_at)


def open_one(connection: Connection, opening: Opening) -> Credits:
    """Writes jobs, their charges and the key of the request that asks for them, together; returns the balance.

    The key comes first: whoever is second with it must find the first one's answer, and not an empty balance.
    Raises NotEnoughCredits or Unauthorized; TooManyRequests or StorageFull where the account holds as much as it may;
    Taken, Reused, InProgress or NotKept where the request, or its key, was sent before.
    """
    drafts, stamp, first = opening.drafts, opening.stamp, opening.first
    if stamp is not None:
        idempotency.claim(connection, stamp, first.id, first.created_at)
    left = ledger.balance(connection, first.account_id) if len(drafts) > 1 else None
    price = sum((job.price for job in drafts), NOTHING)
    if left is not None and left < price:
        raise NotEnoughCredits(price, left)
    # As a charge locks it: a new job of the account, written by others, does not wait for this.
    connection.execute(select(accounts.c.id).where(accounts.c.id == first.account_id).with_for_update(key_share=True))
    room = Room(connection, drafts, opening.usual, opening.media_days, opening.census)
    room.place(drafts)
    for job in drafts:
        left = open_job(connection, job, room.parked)
    assert left is not None
    _keep(connection, opening, left)
    return left


def open_many(connection: Connection, openings: Sequence[Opening]) -> list[Credits | Exception]:
    """What `open_one` would do with each of them one after the other, in a few statements for all: their balances, or
    how they were refused."""
    outcomes: list[Credits | Exception | None] = [None] * len(openings)
    keyed: dict[tuple[str, str], int] = {}
    alone: set[int] = set()
    for number, opening in enumerate(openings):
        if (stamp := opening.stamp) is not None and keyed.setdefault((stamp.account_id, stamp.key), number) != number:
            alone.add(number)  # its first one is in this crowd, and must be answered before
    # In one order everywhere, and before any account is locked, so that two nodes do not wait for each other.
    for _, number in sorted(keyed.items()):
        opening = openings[number]
        assert opening.stamp is not None
        try:
            idempotency.claim(connection, opening.stamp, opening.first.id, opening.first.created_at)
        except (Taken, Conflict) as refused:
            outcomes[number] = refused
    drafts = [draft for opening in openings for draft in opening.drafts]
    purses = Purses(connection, drafts)
    room = Room(connection, drafts, openings[0].usual, openings[0].media_days, openings[0].census)
    opened: list[Job] = []
    for number, opening in enumerate(openings):
        if outcomes[number] is not None or number in alone:
            continue
        if not purses.plain(opening.first.account_id):
            alone.add(number)
            _free(connection, opening)
            continue
        placed = False
        try:
            room.place(opening.drafts)
            placed = True
            outcomes[number] = purses.charge(opening.drafts, opening.first.created_at)
        except PhayaError as refused:
            outcomes[number] = refused
            if placed:
                room.leave(opening.drafts)
            _free(connection, opening)
        else:
            opened.extend(opening.drafts)
    purses.write(jobs.insertion(opened, room.parked))
    for opening, outcome in zip(openings, outcomes, strict=True):
        if isinstance(outcome, Credits):
            _keep(connection, opening, outcome)
    for number in sorted(alone):
        try:
            with connection.begin_nested():
                outcomes[number] = open_one(connection, openings[number])
        except (PhayaError, Taken) as refused:
            outcomes[number] = refused
    done = [outcome for outcome in outcomes if outcome is not None]
    assert len(done) == len(openings)
    return done


def _keep(connection: Connection, opening: Opening, left: Credits) -> None:
    if (stamp := opening.stamp) is not None and opening.tell is not None:
        price = sum((job.price for job in opening.drafts), NOTHING)
        idempotency.keep(connection, stamp.account_id, stamp.key, opening.first.id, opening.tell(left), price)


def _free(connection: Connection, opening: Opening) -> None:
    if (stamp := opening.stamp) is not None:
        idempotency.free(connection, stamp.account_id, stamp.key, opening.first.id)
