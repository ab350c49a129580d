"""The money of many jobs in one transaction: balances and caps are read and locked once, reckoned here, and written
once, with an entry for each movement.

What comes out is what ledger.charge and ledger.give_back would have written one after the other. Accounts with credits
that expire are left to them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, bindparam, insert, select, update

from phaya.credits import NOTHING, Credits
from phaya.errors import WRONG_KEY, NotEnoughCredits, Unauthorized
from phaya.jobs import Job
from phaya.ledger import CHARGE, RETURN
from phaya.schema import accounts, entries, keys, padded


@dataclass(slots=True)
class _Purse:
    """An account, or a key with what it has spent instead of a balance, and whether that has changed."""

    row: Any
    units: int
    touched: bool = False

    def move(self, units: int) -> None:
        self.units += units
        self.touched = True


class Purses:
    """Accounts and keys, locked until the transaction ends; what moves is kept here until `write`."""

    def __init__(self, connection: Connection, jobs: Collection[Job]) -> None:
        """Locks in one order everywhere, so that two nodes do not wait for each other."""
        self._connection = connection
        self._accounts = _locked(
            connection,
            accounts,
            accounts.c.balance,
            (accounts.c.expiring_at, accounts.c.suspended_at),
            {job.account_id for job in jobs},
        )
        columns = (keys.c.cap, keys.c.expires_at, keys.c.revoked_at, keys.c.suspended_at)
        self._keys = _locked(connection, keys, keys.c.spent, columns, {job.key_id for job in jobs})
        self._entries: list[dict[str, object]] = []

    def plain(self, account_id: str) -> bool:
        """Whether none of the account's credits expire."""
        return self._accounts[account_id].row.expiring_at is None

    def charge(self, drafts: Sequence[Job], now: int) -> Credits:
        """Takes the price of new jobs of one account, of all or of none, and returns the balance.

        Raises NotEnoughCredits, or Unauthorized where the key has ended since the request came.
        """
        account, key = self._accounts[drafts[0].account_id], self._keys[drafts[0].key_id]
        stopped = (key.row.revoked_at, key.row.suspended_at, account.row.suspended_at)
        if stopped != (None, None, None) or (key.row.expires_at is not None and key.row.expires_at <= now):
            raise Unauthorized(WRONG_KEY)
        price = sum((job.price for job in drafts), NOTHING)
        if account.units < price.units:
            raise NotEnoughCredits(price, Credits(account.units))
        if key.row.cap is not None and key.units + price.units > key.row.cap:
            raise NotEnoughCredits(price, Credits(max(key.row.cap - key.units, 0)), cap=True)
        for job in drafts:
            self._enter(job, CHARGE, -job.price.units, now)
        return Credits(account.units)

    def give_back(self, job: Job, amount: Credits, now: int) -> Credits:
        """Returns what a job that ends now did not use; answers the balance."""
        if amount > NOTHING:
            self._enter(job, RETURN, amount.units, now)
        return Credits(self._accounts[job.account_id].units)

    def write(self) -> None:
        """Writes what has moved. The jobs' rows must be there."""
        if self._entries:
            self._connection.execute(insert(entries), self._entries)
            self._entries = []
        _write(self._connection, accounts, accounts.c.balance, self._accounts)
        _write(self._connection, keys, keys.c.spent, self._keys)

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


def _locked(
    connection: Connection,
    table: Table,
    units: ColumnElement[int],
    columns: tuple[ColumnElement[Any], ...],
    ids: Collection[str],
) -> dict[str, _Purse]:
    # FOR NO KEY UPDATE: a new job of the account, written by another node, does not have to wait, and we not for it.
    rows = connection.execute(
        select(table.c.id, units.label("units"), *columns)
        .where(table.c.id.in_(padded(sorted(ids))))
        .order_by(table.c.id)
        .with_for_update(key_share=True)
    )
    return {row.id: _Purse(row, row.units) for row in rows}


def _write(connection: Connection, table: Table, units: ColumnElement[int], purses: dict[str, _Purse]) -> None:
    moved = [{"of": name, "units": purse.units} for name, purse in purses.items() if purse.touched]
    if moved:
        connection.execute(
            update(table).where(table.c.id == bindparam("of")).values({units: bindparam("units")}), moved
        )
    for purse in purses.values():
        purse.touched = False
