"""Vouchers: codes that somebody was given, each good for credits so many times, and once for an account.

A code is shown when it is made; the database holds its HMAC only.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from phaya import codes, ledger
from phaya.clock import DAY
from phaya.credits import NOTHING, Credits
from phaya.errors import Conflict, Fault, Invalid, NotFound
from phaya.schema import redemptions, vouchers

MOST = 1000
"""Vouchers that are made at a time."""
MOST_USES = 1_000_000
LONGEST_GRANT = 3650
"""Days."""

WRONG = "This code is not valid, has been used, or is not valid any more."
OTHERS = "This form has made other vouchers before. Reload the page for a new one."


class WrongCode(NotFound):
    """The code redeems nothing for this account, whatever the reason is."""

    code = "voucher_not_valid"

    def __init__(self) -> None:
        super().__init__(WRONG)


@dataclass(frozen=True, slots=True)
class Voucher:
    """What a code is good for. `grant_days` bounds how long its credits are, `expires_at` until when it is taken."""

    id: str
    credits: Credits
    uses: int
    used: int
    grant_days: int | None
    note: str
    actor: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class Made:
    """The id and the code of each voucher of a request, and whether it was this one that made them."""

    vouchers: Sequence[tuple[str, str]]
    fresh: bool


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a code brought: credits, until when they are good, and the balance with them."""

    credits: Credits
    expires_at: int | None
    balance: Credits


def digest(secret: bytes, code: str) -> str:
    """The HMAC-SHA256 that stands for a code, however it is typed."""
    return hmac.new(secret, b"voucher " + codes.plain(code).encode(), hashlib.sha256).hexdigest()


def create(
    connection: Connection,
    secret: bytes,
    credits: Credits,
    now: int,
    *,
    actor: str,
    count: int = 1,
    uses: int = 1,
    expires_at: int | None = None,
    grant_days: int | None = None,
    note: str = "",
    once: str | None = None,
) -> Made:
    """Makes vouchers, whose codes are kept nowhere. `once` names the form that asks for them: sent again, it makes no
    more and is answered with the same codes. Raises Invalid, and Conflict where that form has made others before."""
    if credits <= NOTHING:
        raise Invalid(Fault("credits", "must be more than 0"))
    for field, value, most in (
        ("count", count, MOST),
        ("uses", uses, MOST_USES),
        ("grant_days", grant_days, LONGEST_GRANT),
    ):
        if value is not None and not 1 <= value <= most:
            raise Invalid(Fault(field, f"must be from 1 to {most}, not {value}"))
    if expires_at is not None and expires_at <= now:
        raise Invalid(Fault("expires", "must be in the future"))
    form = once and f"vouchers of {actor}: {once}"
    made = [_drawn(secret, form, number) for number in range(count)]
    common = {
        "credits": credits.units,
        "uses": uses,
        "grant_days": grant_days,
        "note": note,
        "actor": actor,
        "created_at": now,
        "expires_at": expires_at,
    }
    rows = [common | {"id": voucher_id, "hash": digest(secret, code)} for voucher_id, code in made]
    if not form:
        connection.execute(insert(vouchers), rows)
        return Made(made, fresh=True)
    try:
        with connection.begin_nested():
            connection.execute(insert(vouchers), rows)
    except IntegrityError:
        _recognize(connection, [*(voucher_id for voucher_id, _ in made), _drawn(secret, form, count)[0]], common)
        return Made(made, fresh=False)
    return Made(made, fresh=True)


def redeem(connection: Connection, secret: bytes, account_id: str, code: str, now: int) -> Redeemed:
    """Gives an account what a code is good for. Raises WrongCode, and then nothing has changed once the caller's
    transaction is rolled back."""
    taken = connection.execute(
        update(vouchers)
        .where(
            vouchers.c.hash == digest(secret, code),
            vouchers.c.used < vouchers.c.uses,
            vouchers.c.revoked_at.is_(None),
            or_(vouchers.c.expires_at.is_(None), vouchers.c.expires_at > now),
        )
        .values(used=vouchers.c.used + 1)
        .returning(vouchers.c.id, vouchers.c.credits, vouchers.c.grant_days, vouchers.c.note)
    ).one_or_none()
    if taken is None:
        raise WrongCode
    until = None if taken.grant_days is None else now + taken.grant_days * DAY
    amount, note = Credits(taken.credits), taken.note or f"voucher {taken.id}"
    receipt = ledger.receive(connection, account_id, ledger.VOUCHER, amount, note, now, expires_at=until)
    try:
        with connection.begin_nested():
            connection.execute(
                insert(redemptions).values(
                    voucher_id=taken.id, account_id=account_id, entry_id=receipt.entry_id, created_at=now
                )
            )
    except IntegrityError:  # this account has redeemed it before
        raise WrongCode from None
    return Redeemed(amount, until, receipt.balance)


def revoke(connection: Connection, voucher_id: str, now: int) -> Voucher:
    """Ends a voucher; what it brought stays. A second time changes nothing. Raises NotFound."""
    done = connection.execute(
        update(vouchers)
        .where(vouchers.c.id == voucher_id)
        .values(revoked_at=func.coalesce(vouchers.c.revoked_at, now))
        .returning(vouchers)
    )
    row = done.mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no voucher {voucher_id[:64]}.")
    return _voucher(row)


def listing(
    connection: Connection, after: tuple[int, str] | None, limit: int, *, newest: bool = False
) -> list[Voucher]:
    """A page of all vouchers, the oldest first; `after` is when the last one before it was made, and its id. Or the
    `newest` ones, newest first."""
    order = (vouchers.c.created_at, vouchers.c.id)
    query = select(vouchers).order_by(*(column.desc() for column in order) if newest else order).limit(limit)
    if after is not None:
        query = query.where(tuple_(vouchers.c.created_at, vouchers.c.id) > after)
    return [_voucher(row) for row in connection.execute(query).mappings()]


def audit(connection: Connection) -> Iterator[str]:
    """Where vouchers, redemptions and entries disagree, one line each."""
    columns = (vouchers.c.id, redemptions.c.entry_id, redemptions.c.account_id, vouchers.c.credits.label("amount"))
    given = select(*columns).join(redemptions, redemptions.c.voucher_id == vouchers.c.id)
    yield from ledger.unmatched(connection, ledger.VOUCHER, given.subquery())
    counted = select(redemptions.c.voucher_id, func.count().label("n")).group_by(redemptions.c.voucher_id).subquery()
    times = func.coalesce(counted.c.n, 0)
    for row in connection.execute(
        select(vouchers.c.id, vouchers.c.used, times.label("n"))
        .outerjoin(counted, counted.c.voucher_id == vouchers.c.id)
        .where(vouchers.c.used != times)
    ):
        yield f"voucher {row.id}: used {row.used} times, redeemed {row.n} times"


def _drawn(secret: bytes, form: str | None, number: int) -> tuple[str, str]:
    """The id and the code of a voucher: random, or those that belong to a form."""
    if not form:
        return str(uuid.uuid4()), codes.draw()
    mark = hmac.digest(secret, f"id {number} of {form}".encode(), hashlib.sha256)
    return str(uuid.UUID(bytes=mark[:16], version=4)), codes.derived(secret, form, number)


def _recognize(connection: Connection, ids: Sequence[str], common: Mapping[str, Any]) -> None:
    """Raises Conflict unless a form has made exactly these vouchers: all but the last one of the ids, and with the same
    values, but for the moment."""
    rows = connection.execute(select(vouchers).where(vouchers.c.id.in_(ids))).mappings().all()
    same = all(row[name] == value for row in rows for name, value in common.items() if name != "created_at")
    if len(rows) != len(ids) - 1 or not same:
        raise Conflict(OTHERS)


def _voucher(row: RowMapping) -> Voucher:
    values: dict[str, Any] = {field.name: row[field.name] for field in fields(Voucher)}
    values["credits"] = Credits(row["credits"])
    return Voucher(**values)
