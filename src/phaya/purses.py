"""The money of many jobs in one transaction: balances and caps are read and locked once, reckoned here, and written
once, with an entry for each movement.

What comes out is what ledger.charge and ledger.give_back would have written one after the other. Accounts with credits
that expire are left to them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, Table, bindparam, insert, select, update

from phaya.credits import NOTHING, Credits
from phaya.errors import WRONG_KEY, NotEnoughCredits, Unauthorized
from phaya.jobs import Job
from phaya.ledger import CHARGE, RETURN
from phaya.prepared import Prepared, Writing, among, write_together
from phaya.schema import accounts, entries, keys


def _move(table: Table, units: ColumnElement[int]) -> Prepared:
    return Prepared(update(table).where(table.c.id == bindparam("of")).values({units: bindparam("units")}))


_OF_ACCOUNT = (accounts.c.id, accounts.c.balance, accounts.c.suspended_at, accounts.c.expiring_at)
_OF_KEY = (keys.c.id, keys.c.spent, keys.c.suspended_at, keys.c.cap, keys.c.expires_at, keys.c.revoked_at)
# FOR NO KEY UPDATE: a new job of the account, written by another node, does not have to wait, and we not for it.
# In one order everywhere, an account before its keys (PostgreSQL locks as the tables are named here), so that two nodes
# do not wait for each other.
_LOCK = Prepared(
    select(*_OF_ACCOUNT, *_OF_KEY)
    .join_from(accounts, keys, keys.c.account_id == accounts.c.id)
    .where(among(keys.c.id, "keys"))
    .order_by(accounts.c.id, keys.c.id)
    .with_for_update(key_share=True)
)
_MOVE_ACCOUNTS = _move(accounts, accounts.c.balance)
_MOVE_KEYS = _move(keys, keys.c.spent)
_COLUMNS = ("account_id", "key_id", "job_id", "reason", "amount", "note", "created_at", "actor")
_ENTER = Prepared(insert(entries).values({name: bindparam(name) for name in _COLUMNS}).inline())


@dataclass(slots=True)
class _Purse:
    """What moves by the unit, and whether it has."""

    units: int
    suspended_at: int | None
    touched: bool = field(default=False, init=False)

    def move(self, units: int) -> None:
        self.units += units
        self.touched = True


@dataclass(slots=True)
class _Account(_Purse):
    """A balance."""

    expiring_at: int | None


@dataclass(slots=True)
class _Key(_Purse):
    """What a key has spent."""

    cap: int | None
    expires_at: int | None
    revoked_at: int | None

    def taken(self, now: int) -> bool:
        return (self.revoked_at, self.suspended_at) == (None, None) and (
            self.expires_at is None or self.expires_at > now
        )


class Purses:
    """Accounts and keys, locked until the transaction ends; what moves is kept here until `write`."""

    def __init__(self, connection: Connection, jobs: Collection[Job]) -> None:
        """Locks the accounts and keys of these jobs."""
        self._connection = connection
        rows = _LOCK.run(connection, keys=sorted({job.key_id for job in jobs}))
        self._accounts = {row[0]: _Account(*row[1:4]) for row in rows}
        self._keys = {row[4]: _Key(*row[5:]) for row in rows}
        self._entries: list[dict[str, object]] = []

    def plain(self, account_id: str) -> bool:
        """Whether none of the account's credits expire."""
        return self._accounts[account_id].expiring_at is None

    def charge(self, drafts: Sequence[Job], now: int) -> Credits:
        """Takes the price of new jobs of one account, of all or of none, and returns the balance.

        Raises NotEnoughCredits, or Unauthorized where the key has ended since the request came.
        """
        account, key = self._accounts[drafts[0].account_id], self._keys[drafts[0].key_id]
        if account.suspended_at is not None or not key.taken(now):
            raise Unauthorized(WRONG_KEY)
        price = sum((job.price for job in drafts), NOTHING)
        if account.units < price.units:
            raise NotEnoughCredits(price, Credits(account.units))
        if key.cap is not None and key.units + price.units > key.cap:
            raise NotEnoughCredits(price, Credits(max(key.cap - key.units, 0)), cap=True)
        for job in drafts:
            self._enter(job, CHARGE, -job.price.units, now)
        return Credits(account.units)

    def give_back(self, job: Job, amount: Credits, now: int) -> Credits:
        """Returns what a job that ends now did not use; answers the balance."""
        if amount > NOTHING:
            self._enter(job, RETURN, amount.units, now)
        return Credits(self._accounts[job.account_id].units)

    def write(self, jobs: Writing) -> None:
        """Writes what has moved, with the rows of the jobs for which it has."""
        moved = (_MOVE_ACCOUNTS, _moved(self._accounts)), (_MOVE_KEYS, _moved(self._keys))
        write_together(self._connection, jobs, (_ENTER, self._entries), *moved)
        self._entries = []

    def _enter(self, job: Job, reason: str, units: int, now: int) -> None:
        self._accounts[job.account_id].move(units)
        self._keys[job.key_id].move(-units)
        self._entries.append(
            {
                "account_id": job.account_id,
                "key_id": job.key_id,
                "job_id": job.id,
                "reason": reason,
                "amount": units,
                "note": "",
                "created_at": now,
                "actor": None,
            }
        )


def _moved(purses: Mapping[str, _Purse]) -> list[dict[str, object]]:
    moved = {name: purse for name, purse in purses.items() if purse.touched}
    for purse in moved.values():
        purse.touched = False
    return [{"of": name, "units": purse.units} for name, purse in moved.items()]
