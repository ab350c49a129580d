"""Money. A balance is the sum of its entries; a job has one charge and at most one return.

Every function runs inside the transaction that its caller opened, so that money and the job it belongs to
change together or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, case, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from phaya.credits import NOTHING, Credits
from phaya.errors import Fault, Invalid, NotEnoughCredits
from phaya.schema import accounts, entries, jobs, keys

CHARGE = "charge"
RETURN = "return"
GRANT = "grant"


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of an account's balance; a charge is negative."""

    id: int
    reason: str
    amount: Credits
    job_id: str | None
    service: str | None
    note: str
    created_at: int


def balance(connection: Connection, account_id: str) -> Credits:
    """What the account can spend."""
    return Credits(connection.execute(select(accounts.c.balance).where(accounts.c.id == account_id)).scalar_one())


def grant(connection: Connection, account_id: str, amount: Credits, note: str, now: int) -> Credits:
    """Adds credits and returns the new balance. Raises Invalid where the amount is not positive."""
    if amount <= NOTHING:
        raise Invalid(Fault("amount", "must be more than 0"))
    _enter(connection, account_id, None, None, GRANT, amount, note, now)
    after = connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(balance=accounts.c.balance + amount.units)
        .returning(accounts.c.balance)
    ).scalar_one()
    return Credits(after)


def charge(connection: Connection, account_id: str, key_id: str, job_id: str, amount: Credits, now: int) -> Credits:
    """Takes a job's price from the account, within the key's cap, and returns the new balance.

    Raises NotEnoughCredits, and then nothing has changed once the caller's transaction is rolled back.
    """
    after = connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id, accounts.c.balance >= amount.units)
        .values(balance=accounts.c.balance - amount.units)
        .returning(accounts.c.balance)
    ).scalar()
    if after is None:
        raise NotEnoughCredits(amount, balance(connection, account_id))
    within = connection.execute(
        update(keys)
        .where(keys.c.id == key_id, or_(keys.c.cap.is_(None), keys.c.spent + amount.units <= keys.c.cap))
        .values(spent=keys.c.spent + amount.units)
    ).rowcount
    if not within:
        left = connection.execute(select(keys.c.cap - keys.c.spent).where(keys.c.id == key_id)).scalar_one()
        raise NotEnoughCredits(amount, Credits(max(left, 0)), cap=True)
    _enter(connection, account_id, key_id, job_id, CHARGE, -amount, "", now)
    return Credits(after)


def give_back(connection: Connection, account_id: str, key_id: str, job_id: str, amount: Credits, now: int) -> bool:
    """Returns what a job did not use. The second return of a job changes nothing and answers False."""
    if amount <= NOTHING:
        return False
    try:
        with connection.begin_nested():
            _enter(connection, account_id, key_id, job_id, RETURN, amount, "", now)
    except IntegrityError:
        return False  # unique (job_id, reason): it was returned before
    connection.execute(
        update(accounts).where(accounts.c.id == account_id).values(balance=accounts.c.balance + amount.units)
    )
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
    return [
        Entry(row.id, row.reason, Credits(row.amount), row.job_id, row.service, row.note, row.created_at)
        for row in rows
    ]


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
        select(keys.c.name, keys.c.prefix, keys.c.spent, spent.label("total"))
        .outerjoin(used, used.c.key_id == keys.c.id)
        .where(keys.c.spent != spent)
    ):
        faults.append(
            f"key {row.name} ({row.prefix}…): spent {Credits(row.spent)}, entries say {Credits(int(row.total))}"
        )

    money = (
        select(
            entries.c.job_id,
            func.sum(case((entries.c.reason == CHARGE, -entries.c.amount), else_=0)).label("charged"),
            func.sum(case((entries.c.reason == RETURN, entries.c.amount), else_=0)).label("returned"),
        )
        .where(entries.c.job_id.is_not(None))
        .group_by(entries.c.job_id)
        .subquery()
    )
    charged, returned = func.coalesce(money.c.charged, 0), func.coalesce(money.c.returned, 0)
    open_states = ("queued", "processing")
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
                jobs.c.state.in_(open_states) & ((jobs.c.returned != 0) | jobs.c.next_at.is_(None)),
            )
        )
    ):
        faults.append(
            f"job {row.id} is {row.state}: price {Credits(row.price)}, returned {Credits(row.returned)}; "
            f"entries say charged {Credits(int(row.took))}, returned {Credits(int(row.gave))}"
        )
    orphans = connection.execute(
        select(func.count())
        .select_from(entries)
        .where(entries.c.job_id.is_not(None), ~exists().where(jobs.c.id == entries.c.job_id))
    ).scalar_one()
    if orphans:
        faults.append(f"{orphans} entries belong to no job")
    return faults


def _enter(
    connection: Connection,
    account_id: str,
    key_id: str | None,
    job_id: str | None,
    reason: str,
    amount: Credits,
    note: str,
    now: int,
) -> None:
    connection.execute(
        insert(entries).values(
            account_id=account_id,
            key_id=key_id,
            job_id=job_id,
            reason=reason,
            amount=amount.units,
            note=note,
            created_at=now,
        )
    )
