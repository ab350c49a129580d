"""Money. A balance is the sum of its entries; a job has one charge, at most one return by the engine and at most one
refund by hand. Some of the credits in it may expire, see grants.py.

Every function runs inside the transaction that its caller opened, so that money and the job it belongs to
change together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    Subquery,
    case,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from phaya import grants
from phaya.clock import written
from phaya.credits import LARGEST, NOTHING, Credits
from phaya.errors import WRONG_KEY, Conflict, Fault, Invalid, NotEnoughCredits, NotFound, Unauthorized
from phaya.schema import accounts, entries, jobs, keys

CHARGE = "charge"
RETURN = "return"
GRANT = "grant"
ADJUSTMENT = "adjustment"
REFUND = "refund"
TOPUP = "topup"
VOUCHER = "voucher"
EXPIRY = "expiry"
GIVEN = (GRANT, TOPUP, VOUCHER)
OF_JOBS = (CHARGE, RETURN, REFUND)
BY_HAND = (ADJUSTMENT, REFUND)
_OPEN = ("queued", "processing")


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of an account's balance; a charge is negative. `actor` is who entered it by hand."""

    id: int
    reason: str
    amount: Credits
    job_id: str | None
    service: str | None
    note: str
    created_at: int
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Credits that came in: the entry, and the balance after it."""

    entry_id: int
    balance: Credits


@dataclass(frozen=True, slots=True)
class Refund:
    """A job's credits given back by hand: how many, what the job still keeps, and the balance after it."""

    account_id: str
    amount: Credits
    kept: Credits
    balance: Credits


def newest() -> ScalarSelect[int]:
    """The id of the newest entry of all accounts."""
    return select(func.coalesce(func.max(entries.c.id), 0)).scalar_subquery()


def balance(connection: Connection, account_id: str) -> Credits:
    """What the account can spend."""
    return Credits(connection.execute(select(accounts.c.balance).where(accounts.c.id == account_id)).scalar_one())


def grant(
    connection: Connection,
    account_id: str,
    amount: Credits,
    note: str,
    now: int,
    actor: str | None = None,
    expires_at: int | None = None,
) -> Credits:
    """Adds credits, which may be good until a moment only, and returns the new balance.

    Raises Invalid where the amount is not positive, or too large, or the moment has passed.
    """
    return receive(connection, account_id, GRANT, amount, note, now, actor=actor, expires_at=expires_at).balance


def receive(
    connection: Connection,
    account_id: str,
    reason: str,
    amount: Credits,
    note: str,
    now: int,
    *,
    actor: str | None = None,
    expires_at: int | None = None,
) -> Receipt:
    """Adds credits for one of the reasons of `GIVEN`. Raises what `grant` raises."""
    if amount <= NOTHING:
        raise Invalid(Fault("amount", "must be more than 0"))
    if expires_at is not None and expires_at <= now:
        raise Invalid(Fault("expires", "must be in the future"))
    after = _add(connection, account_id, amount)
    entry_id = _enter(connection, account_id, None, None, reason, amount, note, now, actor)
    if expires_at is not None:
        grants.add(connection, account_id, amount, expires_at, now)
    return Receipt(entry_id, after)


def expire(connection: Connection, account_id: str, now: int) -> int:
    """Takes what is left of grants whose time has come, by one entry for each; answers how many grants ended."""
    # As an UPDATE of the balance would lock it. FOR UPDATE would also wait for whoever has written a row that belongs
    # to the account, such as a new job, and two of those who want to charge it would wait for each other.
    row = select(accounts.c.balance).where(accounts.c.id == account_id).with_for_update(key_share=True)
    held = connection.execute(row).scalar_one()
    taken: dict[str, Credits] = {}
    for grant in grants.lapsed(connection, account_id, now):
        # A node of a version that knew no grants may have spent more than was noted.
        taken[grant.id] = part = min(grant.remaining, Credits(held))
        if part:
            held = _add(connection, account_id, -part).units
            note = f"left of {grant.amount} credits that came {written(grant.created_at)}"
            _enter(connection, account_id, None, None, EXPIRY, -part, note, now)
    if taken:
        grants.close(connection, account_id, taken, now)
    return len(taken)


def adjust(connection: Connection, account_id: str, amount: Credits, note: str, now: int, actor: str) -> Credits:
    """Corrects a balance by hand, up or down but never below zero, and returns it.

    Raises Invalid where the amount is 0 or too large, and NotEnoughCredits.
    """
    if not amount:
        raise Invalid(Fault("amount", "must not be 0"))
    if amount < NOTHING:
        expire(connection, account_id, now)
    after = _add(connection, account_id, amount)
    if amount < NOTHING:
        grants.draw(connection, account_id, -amount, None, now)
    _enter(connection, account_id, None, None, ADJUSTMENT, amount, note, now, actor)
    return after


def refund(connection: Connection, job_id: str, amount: Credits | None, note: str, now: int, actor: str) -> Refund:
    """Gives back by hand what an ended job kept of its price, or a part of it, once.

    Raises NotFound, Conflict where there is nothing to give back, and Invalid where the amount is more than was kept.
    """
    columns = (jobs.c.account_id, jobs.c.key_id, jobs.c.state, jobs.c.price, jobs.c.returned)
    job = connection.execute(select(*columns).where(jobs.c.id == job_id).with_for_update()).one_or_none()
    if job is None:
        raise NotFound(f"There is no job {job_id[:64]}.")
    if job.state in _OPEN:
        raise Conflict(f"Job {job_id} has not ended: cancel it, or wait for its end.")
    kept = Credits(job.price - job.returned)
    if not kept:
        raise Conflict(f"Job {job_id} kept nothing: of its price {Credits(job.price)} everything was returned.")
    before = select(entries.c.amount).where(entries.c.job_id == job_id, entries.c.reason == REFUND)
    if (given := connection.execute(before).scalar()) is not None:
        raise Conflict(
            f"Job {job_id} was given {Credits(given)} back by hand before, and a job can be only once. "
            "Correct the balance by an adjustment."
        )
    amount = kept if amount is None else amount
    if not NOTHING < amount <= kept:
        raise Invalid(Fault("amount", f"must be more than 0 and at most {kept}, which is what the job kept"))
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(returned=jobs.c.returned + amount.units))
    after = _add(connection, job.account_id, amount)
    connection.execute(update(keys).where(keys.c.id == job.key_id).values(spent=keys.c.spent - amount.units))
    _enter(connection, job.account_id, job.key_id, job_id, REFUND, amount, note, now, actor)
    return Refund(job.account_id, amount, kept - amount, after)


def charge(connection: Connection, account_id: str, key_id: str, job_id: str, amount: Credits, now: int) -> Credits:
    """Takes a job's price from the account, within the key's cap, and returns the new balance.

    Raises NotEnoughCredits, or Unauthorized where the key has ended, and then nothing has changed once the caller's
    transaction is rolled back.
    """
    known = accounts.c.expiring_at
    take = (
        update(accounts)
        .where(accounts.c.id == account_id, accounts.c.balance >= amount.units, or_(known.is_(None), known > now))
        .values(balance=accounts.c.balance - amount.units)
        .returning(accounts.c.balance, known)
    )
    taken = connection.execute(take).one_or_none()
    if taken is None and expire(connection, account_id, now):
        taken = connection.execute(take).one_or_none()
    if taken is None:
        raise NotEnoughCredits(amount, balance(connection, account_id))
    if taken.expiring_at is not None:
        grants.draw(connection, account_id, amount, job_id, now)
    within = connection.execute(
        update(keys)
        .where(keys.c.id == key_id, or_(keys.c.cap.is_(None), keys.c.spent + amount.units <= keys.c.cap), _lives(now))
        .values(spent=keys.c.spent + amount.units)
    ).rowcount
    if not within:
        left = connection.execute(select(keys.c.cap - keys.c.spent).where(keys.c.id == key_id, _lives(now))).scalar()
        if left is None:
            raise Unauthorized(WRONG_KEY)
        raise NotEnoughCredits(amount, Credits(max(left, 0)), cap=True)
    _enter(connection, account_id, key_id, job_id, CHARGE, -amount, "", now)
    return Credits(taken.balance)


def give_back(connection: Connection, account_id: str, key_id: str, job_id: str, amount: Credits, now: int) -> bool:
    """Returns what a job did not use. The second return of a job changes nothing and answers False."""
    if amount <= NOTHING:
        return False
    try:
        with connection.begin_nested():
            _enter(connection, account_id, key_id, job_id, RETURN, amount, "", now)
    except IntegrityError:
        return False  # unique (job_id, reason): it was returned before
    expiring_at = connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(balance=accounts.c.balance + amount.units)
        .returning(accounts.c.expiring_at)
    ).scalar_one()
    if expiring_at is not None:
        price = select(-entries.c.amount).where(entries.c.job_id == job_id, entries.c.reason == CHARGE)
        grants.restore(connection, job_id, Credits(connection.execute(price).scalar_one()), amount, now)
    connection.execute(update(keys).where(keys.c.id == key_id).values(spent=keys.c.spent - amount.units))
    return True


def statement(connection: Connection, account_id: str, limit: int) -> list[Entry]:
    """The account's newest entries, newest first."""
    rows = connection.execute(
        select(entries, jobs.c.service)
        .outerjoin(jobs, jobs.c.id == entries.c.job_id)
        .where(entries.c.account_id == account_id)
        .order_by(entries.c.id.desc())
        .limit(limit)
    )
    return [entry(row) for row in rows]


def entry(row: Row[Any]) -> Entry:
    """An entry from its row, which has the job's service beside it."""
    return Entry(row.id, row.reason, Credits(row.amount), row.job_id, row.service, row.note, row.created_at, row.actor)


def audit(connection: Connection) -> list[str]:
    """Proves that balances, entries, caps and jobs agree; each line is a disagreement, none means clean."""
    faults: list[str] = []
    sums = (
        select(entries.c.account_id, func.sum(entries.c.amount).label("total"))
        .group_by(entries.c.account_id)
        .subquery()
    )
    total = func.coalesce(sums.c.total, 0)
    for row in connection.execute(
        select(accounts.c.email, accounts.c.balance, total.label("total"))
        .outerjoin(sums, sums.c.account_id == accounts.c.id)
        .where(accounts.c.balance != total)
    ):
        faults.append(f"account {row.email}: balance {Credits(row.balance)}, entries say {Credits(int(row.total))}")

    used = (
        select(entries.c.key_id, (-func.sum(entries.c.amount)).label("total"))
        .where(entries.c.job_id.is_not(None))
        .group_by(entries.c.key_id)
        .subquery()
    )
    spent = func.coalesce(used.c.total, 0)
    for row in connection.execute(
        select(keys.c.name, keys.c.prefix, keys.c.spent, keys.c.cap, spent.label("total"))
        .outerjoin(used, used.c.key_id == keys.c.id)
        .where(or_(keys.c.spent != spent, keys.c.spent > keys.c.cap))
    ):
        cap = "" if row.cap is None else f", its cap is {Credits(row.cap)}"
        faults.append(
            f"key {row.name} ({row.prefix}…): spent {Credits(row.spent)}, entries say {Credits(int(row.total))}{cap}"
        )

    money = (
        select(
            entries.c.job_id,
            func.sum(case((entries.c.reason == CHARGE, -entries.c.amount), else_=0)).label("charged"),
            func.sum(case((entries.c.reason.in_((RETURN, REFUND)), entries.c.amount), else_=0)).label("returned"),
        )
        .where(entries.c.job_id.is_not(None))
        .group_by(entries.c.job_id)
        .subquery()
    )
    charged, returned = func.coalesce(money.c.charged, 0), func.coalesce(money.c.returned, 0)
    for row in connection.execute(
        select(
            jobs.c.id,
            jobs.c.state,
            jobs.c.price,
            jobs.c.returned,
            charged.label("took"),
            returned.label("gave"),
        )
        .outerjoin(money, money.c.job_id == jobs.c.id)
        .where(
            or_(
                jobs.c.price != charged,
                jobs.c.returned != returned,
                jobs.c.state.in_(("failed", "cancelled")) & (jobs.c.returned != jobs.c.price),
                jobs.c.state.in_(_OPEN) & (jobs.c.returned != 0),
            )
        )
    ):
        faults.append(
            f"job {row.id} is {row.state}: price {Credits(row.price)}, returned {Credits(row.returned)}; "
            f"entries say charged {Credits(int(row.took))}, returned {Credits(int(row.gave))}"
        )
    of_job, by_hand = entries.c.reason.in_(OF_JOBS), entries.c.reason.in_(BY_HAND)
    for row in connection.execute(
        select(entries.c.id, entries.c.reason, entries.c.amount, entries.c.job_id)
        .outerjoin(jobs, jobs.c.id == entries.c.job_id)
        .where(
            or_(
                entries.c.reason.not_in((*OF_JOBS, *GIVEN, ADJUSTMENT, EXPIRY)),
                of_job & (jobs.c.id.is_(None) | (jobs.c.account_id != entries.c.account_id)),
                of_job & func.coalesce(jobs.c.key_id != entries.c.key_id, true()),
                ~of_job & entries.c.job_id.is_not(None),
                by_hand & entries.c.actor.is_(None),
                (entries.c.reason == CHARGE) & (entries.c.amount > 0),
                (entries.c.reason == EXPIRY) & (entries.c.amount >= 0),
                entries.c.reason.in_((RETURN, REFUND, *GIVEN)) & (entries.c.amount <= 0),
            )
        )
    ):
        faults.append(f"entry {row.id}: {row.reason} of {Credits(row.amount)} for job {row.job_id} cannot be")
    return [*faults, *grants.audit(connection)]


def unmatched(connection: Connection, reason: str, origin: Subquery) -> Iterator[str]:
    """Where entries of a reason and what they came from disagree. `origin` gives `id`, `entry_id`, `account_id` and
    `amount` (units) of each of these."""
    columns = (entries.c.id, entries.c.amount, origin.c.id.label("origin"))
    told = entries.outerjoin(origin, origin.c.entry_id == entries.c.id)
    alike = (origin.c.amount == entries.c.amount) & (origin.c.account_id == entries.c.account_id)
    for row in connection.execute(
        select(*columns).select_from(told).where(entries.c.reason == reason, func.coalesce(~alike, true()))
    ):
        yield f"entry {row.id}: {reason} of {Credits(row.amount)} does not fit to {row.origin or 'anything'}"
    for row in connection.execute(
        select(origin.c.id, origin.c.entry_id)
        .outerjoin(entries, (entries.c.id == origin.c.entry_id) & (entries.c.reason == reason))
        .where(origin.c.entry_id.is_not(None), entries.c.id.is_(None))
    ):
        yield f"{reason} {row.id} names entry {row.entry_id}, which is none of it"


def _lives(now: int) -> ColumnElement[bool]:
    """Whether a key is taken: neither it nor its account was stopped, and it has not run out."""
    stopped = select(accounts.c.id).where(accounts.c.id == keys.c.account_id, accounts.c.suspended_at.is_not(None))
    living = keys.c.revoked_at.is_(None) & keys.c.suspended_at.is_(None) & ~stopped.exists()
    return living & or_(keys.c.expires_at.is_(None), keys.c.expires_at > now)


def _enter(
    connection: Connection,
    account_id: str,
    key_id: str | None,
    job_id: str | None,
    reason: str,
    amount: Credits,
    note: str,
    now: int,
    actor: str | None = None,
) -> int:
    done = connection.execute(
        insert(entries).values(
            account_id=account_id,
            key_id=key_id,
            job_id=job_id,
            reason=reason,
            amount=amount.units,
            note=note,
            created_at=now,
            actor=actor,
        )
    )
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def _add(connection: Connection, account_id: str, amount: Credits) -> Credits:
    """Moves a balance within what it may be. Raises NotEnoughCredits or Invalid."""
    room = accounts.c.balance.between(max(0, -amount.units), LARGEST - max(0, amount.units))
    after = connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id, room)
        .values(balance=accounts.c.balance + amount.units)
        .returning(accounts.c.balance)
    ).scalar()
    if after is not None:
        return Credits(after)
    if amount < NOTHING:
        raise NotEnoughCredits(-amount, balance(connection, account_id))
    raise Invalid(Fault("amount", "would make the balance larger than Phaya can hold"))
