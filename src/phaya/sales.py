"""Vouchers and payments as an operator sees them. Each public function is an operator's command, see operator.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from phaya import keys, payments, vouchers
from phaya.clock import DAY, written
from phaya.credits import Credits
from phaya.errors import Fault, Invalid
from phaya.statements import moment
from phaya.vouchers import LONGEST_GRANT, Voucher

PAGE = 500


def make_vouchers(connection: Connection, secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Makes vouchers. `credits` is an amount, `by` and `note` have been checked; `once` names the form that asks, where
    it is one. `made` says how many there are now that were not there before. Raises Invalid and Conflict."""
    amount: Credits = asked["credits"]
    expires_at = until(asked.get("expires"), now)
    made = vouchers.create(
        connection,
        secret,
        amount,
        now,
        actor=asked["by"],
        count=asked["count"],
        uses=asked["uses"],
        expires_at=expires_at,
        grant_days=asked.get("grant_days"),
        note=asked["note"],
        once=asked.get("once"),
    )
    return {
        "vouchers": [{"id": voucher_id, "code": code} for voucher_id, code in made.vouchers],
        "made": len(made.vouchers) if made.fresh else 0,
        "credits": str(amount),
        "uses": asked["uses"],
        "grant_days": asked.get("grant_days"),
        "expires_at": written(expires_at),
    }


def list_vouchers(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A page of the vouchers, without their codes. `after` is the `next` of the page before."""
    found = vouchers.listing(connection, _after(asked), **_page(asked))
    return {
        "vouchers": [_told(voucher, now) for voucher in found],
        "next": _next([(voucher.created_at, voucher.id) for voucher in found]),
    }


def revoke_voucher(connection: Connection, _secret: bytes, now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Ends a voucher. Raises NotFound."""
    return _told(vouchers.revoke(connection, asked["id"], now), now)


def list_payments(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A page of the payments, of one account or of all. Raises NotFound."""
    account_id = None
    if asked.get("account") is not None:
        account_id = keys.account_by_email(connection, asked["account"]).id
    found = payments.listing(connection, account_id, _after(asked), **_page(asked))
    return {
        "payments": [
            {
                "id": payment.id,
                "account": keys.find_account(connection, payment.account_id).email,
                "state": payment.state,
                "credits": str(payment.credits),
                "price": payment.price,
                "currency": payment.currency,
                "session": payment.session,
                "trouble": payment.trouble,
                "created_at": written(payment.created_at),
                "ended_at": written(payment.ended_at),
            }
            for payment in found
        ],
        "next": _next([(payment.created_at, payment.id) for payment in found]),
    }


def list_events(connection: Connection, _secret: bytes, _now: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A page of Stripe's events that need the operator's attention, or fit to nothing here."""
    found = payments.remarkable(connection, _after(asked), **_page(asked))
    return {
        "events": [
            {
                "id": row["id"],
                "kind": row["kind"],
                "outcome": row["outcome"],
                "account": row["account"],
                "payment": row["payment_id"],
                "credits": None if row["credits"] is None else str(Credits(row["credits"])),
                "subject": row["subject"],
                "detail": row["detail"],
                "created_at": written(row["created_at"]),
            }
            for row in found
        ],
        "next": _next([(row["created_at"], row["id"]) for row in found]),
    }


def until(text: str | None, now: int) -> int | None:
    """The moment that a number of days from now, a date (which counts whole) or a moment names. Raises Invalid."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        if not 1 <= len(text.lstrip("0")) <= 4 or int(text) > LONGEST_GRANT:
            raise Invalid(Fault("expires", f"must be from 1 to {LONGEST_GRANT} days, or a date"))
        return now + int(text) * DAY
    found = moment("expires", text, whole_day=True)
    if found <= now:
        raise Invalid(Fault("expires", "must be in the future"))
    return found


def _told(voucher: Voucher, now: int) -> dict[str, Any]:
    if voucher.revoked_at is not None:
        state = "revoked"
    elif voucher.used >= voucher.uses:
        state = "used"
    else:
        state = "open" if voucher.expires_at is None or voucher.expires_at > now else "expired"
    return {
        "id": voucher.id,
        "state": state,
        "credits": str(voucher.credits),
        "uses": voucher.uses,
        "used": voucher.used,
        "grant_days": voucher.grant_days,
        "note": voucher.note,
        "by": voucher.actor,
        "created_at": written(voucher.created_at),
        "expires_at": written(voucher.expires_at),
        "revoked_at": written(voucher.revoked_at),
    }


def _after(asked: Mapping[str, Any]) -> tuple[int, str] | None:
    return (asked["after"][0], asked["after"][1]) if asked.get("after") else None


def _page(asked: Mapping[str, Any]) -> dict[str, Any]:
    """How much is asked for: pages from the oldest on, or only the newest so many."""
    return {"limit": asked["newest"], "newest": True} if asked.get("newest") else {"limit": PAGE}


def _next(seen: Sequence[tuple[int, str]]) -> list[Any] | None:
    return list(seen[-1]) if len(seen) == PAGE else None
