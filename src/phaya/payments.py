"""Payments by Stripe Checkout: written down before Stripe hears of them, credited once when it says that they are paid.

What is credited, and to whom, is in our row; an event only finds it. An event is kept in the transaction of what it
changes, so one whose transaction failed is new when Stripe sends it again, and one that was kept changes nothing more.
See docs/decisions/0021-a-payment-is-credited-once.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, null, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from phaya import ledger
from phaya.credits import Credits
from phaya.errors import NotFound
from phaya.schema import accounts, notices, payments
from phaya.stripe import Event, Session, name_in

PAID = ("checkout.session.completed", "checkout.session.async_payment_succeeded")
FAILED, EXPIRED = "checkout.session.async_payment_failed", "checkout.session.expired"
TAKEN_BACK = ("charge.refund", "charge.dispute.")
"""How the kinds of events begin that tell of money which Stripe took back from us."""
LONGEST_DETAIL = 500


class State(StrEnum):
    """Where a payment stands. Only `paid` is final: Stripe's events come in any order."""

    OPEN = "open"
    PENDING = "pending"  # the customer is through, the money is on its way
    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"


class Outcome(StrEnum):
    """What an event did."""

    CREDITED = "credited"
    NOTED = "noted"
    REPEATED = "repeated"  # it, or another one of the same payment, was heard before
    ATTENTION = "attention"  # the operator has to decide something
    STRANGE = "strange"  # it fits to nothing here
    IGNORED = "ignored"  # of a kind that means nothing here; not kept


@dataclass(frozen=True, slots=True)
class Payment:
    """A checkout: credits for a price in the currency's smallest unit, before taxes."""

    id: str
    account_id: str
    credits: Credits
    price: int
    currency: str
    state: State
    session: str | None
    trouble: str | None
    created_at: int
    ended_at: int | None


_COLUMNS = tuple(payments.c[field.name] for field in fields(Payment))


@dataclass(frozen=True, slots=True)
class Heard:
    """What an event did, to which payment, and what there is to say about it."""

    outcome: Outcome
    payment_id: str | None = None
    detail: str = ""


def open_payment(
    connection: Connection, account_id: str, credits: Credits, price: int, currency: str, now: int
) -> Payment:
    """Writes a payment down that Stripe is about to be asked for."""
    fresh = Payment(str(uuid.uuid4()), account_id, credits, price, currency, State.OPEN, None, None, now, None)
    values = {field.name: getattr(fresh, field.name) for field in fields(Payment)}
    connection.execute(insert(payments).values({**values, "credits": credits.units, "state": State.OPEN.value}))
    return fresh


def bind(connection: Connection, payment_id: str, session_id: str) -> None:
    """Notes Stripe's name for the checkout, unless an event was quicker and has done so."""
    connection.execute(
        update(payments)
        .where(payments.c.id == payment_id, payments.c.session.is_(None))
        .values(session=session_id, trouble=null())
    )


def give_up(connection: Connection, payment_id: str, trouble: str, now: int) -> None:
    """Ends a payment for which Stripe made no checkout, as far as we know: nobody was given its address."""
    connection.execute(
        update(payments)
        .where(payments.c.id == payment_id, payments.c.session.is_(None), payments.c.state == State.OPEN.value)
        .values(state=State.FAILED.value, trouble=trouble[:LONGEST_DETAIL], ended_at=now)
    )


def find(connection: Connection, account_id: str, payment_id: str) -> Payment:
    """An account's payment. Raises NotFound."""
    mine = (payments.c.id == payment_id, payments.c.account_id == account_id)
    row = connection.execute(select(*_COLUMNS).where(*mine)).mappings().one_or_none()
    if row is None:
        raise NotFound("There is no such checkout.")
    return _payment(row)


def hear(connection: Connection, event: Event, now: int) -> Heard:
    """Does what an event means, once, and keeps it with what it did."""
    if event.kind not in (*PAID, FAILED, EXPIRED) and not event.kind.startswith(TAKEN_BACK):
        return Heard(Outcome.IGNORED)
    session = event.session
    subject = (session.id if session else name_in(event.object, "payment_intent")) or event.id
    first = {"id": event.id, "kind": event.kind, "subject": subject[:255], "outcome": Outcome.NOTED, "created_at": now}
    try:
        with connection.begin_nested():
            # Whoever brings the same event at this moment waits here for our commit, and for our failure likewise.
            connection.execute(insert(notices).values(first))
    except IntegrityError:
        return Heard(Outcome.REPEATED)
    heard = _of_session(connection, event.kind, session, now) if session else _of_charge(connection, event)
    connection.execute(
        update(notices)
        .where(notices.c.id == event.id)
        .values(outcome=heard.outcome.value, payment_id=heard.payment_id, detail=heard.detail[:LONGEST_DETAIL])
    )
    return heard


def settle(connection: Connection, session: Session, now: int) -> Heard:
    """Credits a payment whose checkout is paid, unless that was done before, however and by whomever it is told."""
    row = _row(connection, session)
    if row is None:
        return Heard(Outcome.STRANGE, detail="no checkout of this Phaya")
    known = {"session": session.id, "intent": session.intent or row["intent"]}
    here = payments.c.id == row["id"]
    if row["state"] == State.PAID:
        return Heard(Outcome.REPEATED, row["id"], "credited before")
    if not session.paid:
        stands: dict[str, Any] = {}
        if session.status == "complete" and row["state"] == State.OPEN:
            stands = {"state": State.PENDING.value}
        elif session.status == "expired":
            stands = {"state": State.EXPIRED.value, "ended_at": now}
        connection.execute(update(payments).where(here).values(stands | known))
        return Heard(Outcome.NOTED, row["id"], "not paid yet")
    if session.currency != row["currency"] or session.total is None or session.total < row["price"]:
        wrong = f"paid {session.total} {session.currency}, asked for {row['price']} {row['currency']}"
        connection.execute(update(payments).where(here).values(trouble=wrong, **known))
        return Heard(Outcome.STRANGE, row["id"], wrong)
    amount, note = Credits(row["credits"]), f"payment {row['id']}"
    receipt = ledger.receive(connection, row["account_id"], ledger.TOPUP, amount, note, now)
    done = {"state": State.PAID.value, "entry_id": receipt.entry_id, "trouble": null(), "ended_at": now}
    connection.execute(update(payments).where(here).values(done | known))
    return Heard(Outcome.CREDITED, row["id"], f"{amount} credits")


def listing(
    connection: Connection, account_id: str | None, after: tuple[int, str] | None, limit: int, *, newest: bool = False
) -> list[Payment]:
    """A page of payments, the oldest first; `after` is when the last one before it was made, and its id. Or the
    `newest` ones, newest first."""
    order = (payments.c.created_at, payments.c.id)
    query = select(*_COLUMNS).order_by(*(column.desc() for column in order) if newest else order).limit(limit)
    if account_id is not None:
        query = query.where(payments.c.account_id == account_id)
    if after is not None:
        query = query.where(tuple_(payments.c.created_at, payments.c.id) > after)
    return [_payment(row) for row in connection.execute(query).mappings()]


def newest(connection: Connection, account_id: str, limit: int) -> list[Payment]:
    """An account's last payments, the newest first."""
    query = select(*_COLUMNS).where(payments.c.account_id == account_id)
    order = (payments.c.created_at.desc(), payments.c.id.desc())
    return [_payment(row) for row in connection.execute(query.order_by(*order).limit(limit)).mappings()]


def remarkable(
    connection: Connection, after: tuple[int, str] | None, limit: int, *, newest: bool = False
) -> list[dict[str, Any]]:
    """A page of the events that an operator should know of, the oldest first, each with its payment's account. Or the
    `newest` ones, newest first."""
    told = (Outcome.ATTENTION.value, Outcome.STRANGE.value)
    where = notices.outerjoin(payments, payments.c.id == notices.c.payment_id).outerjoin(
        accounts, accounts.c.id == payments.c.account_id
    )
    columns = (notices, accounts.c.email.label("account"), payments.c.credits)
    query = select(*columns).select_from(where).where(notices.c.outcome.in_(told)).limit(limit)
    if after is not None:
        query = query.where(tuple_(notices.c.created_at, notices.c.id) > after)
    order = (notices.c.created_at, notices.c.id)
    query = query.order_by(*(column.desc() for column in order) if newest else order)
    return [dict(row) for row in connection.execute(query).mappings()]


def audit(connection: Connection) -> Iterator[str]:
    """Where payments and entries disagree, one line each."""
    columns = (payments.c.id, payments.c.entry_id, payments.c.account_id, payments.c.credits.label("amount"))
    yield from ledger.unmatched(connection, ledger.TOPUP, select(*columns).subquery())


def _of_session(connection: Connection, kind: str, session: Session, now: int) -> Heard:
    if kind in PAID:
        return settle(connection, session, now)
    row = _row(connection, session)
    if row is None:
        return Heard(Outcome.STRANGE, detail="no checkout of this Phaya")
    if row["state"] == State.PAID:
        return Heard(Outcome.NOTED, row["id"], "but it was paid before")
    state = State.FAILED if kind == FAILED else State.EXPIRED
    connection.execute(
        update(payments).where(payments.c.id == row["id"]).values(state=state.value, session=session.id, ended_at=now)
    )
    return Heard(Outcome.NOTED, row["id"])


def _of_charge(connection: Connection, event: Event) -> Heard:
    """Money that was taken back changes no balance: the operator does, who knows what was agreed."""
    told = ("amount_refunded", "amount", "currency", "reason", "status")
    detail = ", ".join(f"{name} {event.object[name]}" for name in told if event.object.get(name) is not None)
    intent = name_in(event.object, "payment_intent")
    payment_id = None
    if intent is not None:
        payment_id = connection.execute(select(payments.c.id).where(payments.c.intent == intent)).scalars().first()
    return Heard(Outcome.STRANGE if payment_id is None else Outcome.ATTENTION, payment_id, detail)


def _row(connection: Connection, session: Session) -> RowMapping | None:
    """Our payment of a checkout, locked: by Stripe's name for it, or where we have not noted that yet, by ours."""
    ours = payments.c.session == session.id
    if session.reference is not None:
        ours = or_(ours, (payments.c.id == session.reference) & payments.c.session.is_(None))
    return connection.execute(select(payments).where(ours).with_for_update(key_share=True)).mappings().one_or_none()


def _payment(row: RowMapping) -> Payment:
    values: dict[str, Any] = {column.name: row[column.name] for column in _COLUMNS}
    values["credits"], values["state"] = Credits(row["credits"]), State(row["state"])
    return Payment(**values)
