"""Statements: an account's entries of a period with the balance before, after each, and at the end.

They are read and written in chunks, so that a statement of any length takes the same memory. The balances add up by
themselves: the first is the sum of all entries before the period, each other the one before it and its entry.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, func, select

from phaya import keys, ledger
from phaya.clock import written
from phaya.credits import Credits
from phaya.errors import Fault, Invalid
from phaya.ledger import Entry
from phaya.schema import entries, jobs

CHUNK = 1000
"""Entries that are in memory at a time."""
LAST = 253_402_300_799_999
"""The last moment that can be written with four digits of the year."""
Format = Literal["csv", "json"]
COLUMNS = ("time", "entry", "reason", "amount", "balance", "job_id", "service", "note")


@dataclass(frozen=True, slots=True)
class Period:
    """From `begin` up to and without `end`, in milliseconds since 1970."""

    begin: int
    end: int


def period(begin: str | None, end: str | None, now: int) -> Period:
    """The period that two dates (the last one whole) or moments name; without them, everything up to `now`.

    Raises Invalid.
    """
    first = 0 if begin is None else moment("from", begin)
    last = now if end is None else moment("to", end, whole_day=True)
    if last < first:
        raise Invalid(Fault("to", "must not be before from", place="query"))
    return Period(first, last)


def moment(field: str, text: str, *, whole_day: bool = False) -> int:
    """A date, or with `whole_day` its end, or a moment that has a time; without a zone in UTC. Raises Invalid."""
    try:
        found = datetime.fromisoformat(text)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) and whole_day:
            found += timedelta(days=1)
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return min(max(0, int(found.timestamp() * 1000)), LAST)
    except (ValueError, OverflowError):
        allowed = "must be a date such as 2026-11-01, or a moment such as 2026-11-01T12:00:00Z"
        raise Invalid(Fault(field, allowed, place="query")) from None


def opening(connection: Connection, account_id: str, begin: int) -> Credits:
    """The balance before a moment: what all entries until then add up to."""
    before = (entries.c.account_id == account_id) & (entries.c.created_at < begin)
    return Credits(
        int(connection.execute(select(func.coalesce(func.sum(entries.c.amount), 0)).where(before)).scalar_one())
    )


def page(connection: Connection, account_id: str, asked: Period, after: int, limit: int = CHUNK) -> list[Entry]:
    """The period's next entries behind the entry `after`, the oldest first."""
    rows = connection.execute(
        select(entries, jobs.c.service)
        .outerjoin(jobs, jobs.c.id == entries.c.job_id)
        .where(
            entries.c.account_id == account_id,
            entries.c.id > after,
            entries.c.created_at >= asked.begin,
            entries.c.created_at < asked.end,
        )
        .order_by(entries.c.id)
        .limit(limit)
    )
    return [ledger.entry(row) for row in rows]


def command(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The operator's command: a page of a statement, with the balance before it if it is the first."""
    account = keys.account_by_email(connection, asked["account"])
    between = Period(asked["begin"], asked["end"])
    found = page(connection, account.id, between, asked["after"])
    return {
        "account": account.email,
        "opening": opening(connection, account.id, between.begin).units if asked["after"] == 0 else None,
        "entries": [
            [one.id, one.reason, one.amount.units, one.job_id, one.service, one.note, one.created_at, one.actor]
            for one in found
        ],
    }


def told(row: Sequence[Any]) -> Entry:
    """An entry as `command` answered it."""
    number, reason, units, *rest = row
    return Entry(number, reason, Credits(units), *rest)


async def pages(read: Callable[[int], Awaitable[Sequence[Entry]]]) -> AsyncGenerator[Sequence[Entry]]:
    """Every chunk of a statement; `read` answers the one behind an entry's id."""
    after = 0
    while found := await read(after):
        yield found
        after = found[-1].id


async def statement(
    form: Format,
    email: str,
    currency: str,
    asked: Period,
    before: Credits,
    chunks: AsyncIterator[Sequence[Entry]],
    *,
    actors: bool = False,
) -> AsyncGenerator[str]:
    """The statement's text, piece by piece. With `actors` it says who entered by hand, which is not for customers."""
    sheet = _Csv(actors) if form == "csv" else _Json(actors)
    yield sheet.head(email, currency, asked, before)
    balance = before
    async for chunk in chunks:
        lines: list[str] = []
        for entry in chunk:
            balance += entry.amount
            lines.append(sheet.line(entry, balance))
        yield "".join(lines)
    yield sheet.foot(asked, balance)


class _Csv:
    """A table (RFC 4180) whose first and last line are the balances before and after."""

    def __init__(self, actors: bool) -> None:
        self._actors = actors

    def head(self, email: str, currency: str, asked: Period, before: Credits) -> str:
        columns = (*COLUMNS, "by") if self._actors else COLUMNS
        return self._row(*columns) + self._balance("opening balance", asked.begin, before)

    def line(self, entry: Entry, balance: Credits) -> str:
        cells: list[str | int] = [
            written(entry.created_at),
            entry.id,
            _text(entry.reason),
            str(entry.amount),
            str(balance),
        ]
        cells += [_text(cell or "") for cell in (entry.job_id, entry.service, entry.note)]
        return self._row(*cells, *([_text(entry.actor or "")] if self._actors else []))

    def foot(self, asked: Period, after: Credits) -> str:
        return self._balance("closing balance", asked.end, after)

    def _balance(self, name: str, moment: int, amount: Credits) -> str:
        return self._row(written(moment), "", name, "", str(amount), "", "", "", *([""] if self._actors else []))

    @staticmethod
    def _row(*cells: str | int) -> str:
        line = io.StringIO()
        csv.writer(line).writerow(cells)
        return line.getvalue()


def _text(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell


class _Json:
    """An object with a list of entries; amounts are exact numbers."""

    def __init__(self, actors: bool) -> None:
        self._actors = actors
        self._separator = ""

    def head(self, email: str, currency: str, asked: Period, before: Credits) -> str:
        top = {
            "success": True,
            "account": email,
            "currency": currency,
            "from": written(asked.begin),
            "to": written(asked.end),
            "opening_balance": before.number(),
        }
        return orjson.dumps(top).decode()[:-1] + ',"entries":['

    def line(self, entry: Entry, balance: Credits) -> str:
        told = {
            "id": entry.id,
            "created_at": written(entry.created_at),
            "reason": entry.reason,
            "amount": entry.amount.number(),
            "balance": balance.number(),
            "job_id": entry.job_id,
            "service": entry.service,
            "note": entry.note,
        }
        separator, self._separator = self._separator, ","
        return separator + orjson.dumps(told | ({"by": entry.actor} if self._actors else {})).decode()

    def foot(self, asked: Period, after: Credits) -> str:
        return f'],"closing_balance":{after}}}'
