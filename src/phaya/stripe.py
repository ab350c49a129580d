"""Stripe's wire: two requests of its REST API, and the events that it signs (docs.stripe.com/api, …/webhooks).

Its own SDK is not needed for this, and would block the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import orjson
import structlog

from phaya.clock import SECOND
from phaya.errors import Closed, PhayaError
from phaya.providers.transport import BROKEN, fault, start_of, whole_body

log = structlog.get_logger()

VERSION = "2026-10-28.endive"
"""The version of the API whose words are spoken and understood here, whatever the Stripe account's own is."""
TOLERANCE = 300
"""Seconds that an event's signature may be old, or early, as in Stripe's own libraries."""
LONGEST_ANSWER = 1_000_000
TRIES = 3
TRY_SECONDS = 20.0
LONGEST_PAUSE = 2.0
AWAY = "Payments cannot be taken at the moment. Nothing was paid; try again soon."


class NotStripe(PhayaError):
    """The signature does not prove that Stripe has sent this, and sent it just now."""

    status = 400
    code = "bad_signature"


class Declined(Closed):
    """Stripe did not do what it was asked, or did not answer. `detail` is for the operator."""

    def __init__(self, detail: str) -> None:
        super().__init__(AWAY)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Session:
    """A checkout at Stripe. `reference` is our own name for it; `total` is in the currency's smallest unit."""

    id: str
    url: str | None
    reference: str | None
    status: str | None
    paid: bool
    total: int | None
    currency: str | None
    intent: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """What Stripe tells: its name for the telling, what happened, and the object that it happened to."""

    id: str
    kind: str
    object: Mapping[str, Any]

    @property
    def session(self) -> Session | None:
        """The checkout that the event is about, if it is about one."""
        return read_session(self.object) if self.object.get("object") == "checkout.session" else None


class Stripe:
    """Stripe behind one secret key."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        key: str,
        *,
        pause: float = 0.5,
        seconds: float = TRY_SECONDS,
    ) -> None:
        """A request may take `seconds`; after `pause` seconds one that failed is made again, three times in all."""
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._pause = pause
        self._time = aiohttp.ClientTimeout(total=seconds)

    async def open_session(self, fields: Mapping[str, str], once: str) -> Session:
        """Makes a checkout; the same `once` makes it once, however often it is asked for. Raises Declined."""
        return read_session(await self._ask("POST", "/v1/checkout/sessions", fields, {"Idempotency-Key": once}))

    async def find_session(self, session_id: str) -> Session:
        """Where a checkout stands. Raises Declined."""
        if not re.fullmatch(r"\w{1,255}", session_id, re.ASCII):
            raise Declined(f"strange name of a checkout: {session_id!r}")
        return read_session(await self._ask("GET", f"/v1/checkout/sessions/{session_id}", None, {}))

    async def _ask(
        self, method: str, path: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """A request that may be made again: what it changes carries an Idempotency-Key."""
        sent = {"Authorization": f"Bearer {self._key}", "Stripe-Version": VERSION, **headers}
        trouble = ""
        for again in range(TRIES):
            if again:
                await asyncio.sleep(min(self._pause * 2 ** (again - 1), LONGEST_PAUSE))
            try:
                async with self._session.request(
                    method, self._base_url + path, data=form, headers=sent, timeout=self._time, allow_redirects=False
                ) as answer:
                    body = await whole_body(answer, LONGEST_ANSWER, self._key)
            except BROKEN as error:
                trouble = fault(error)
                continue
            if answer.status == 200:
                return _object(body)
            trouble = f"HTTP {answer.status}: {start_of(body)}"
            if answer.status not in (409, 429) and answer.status < 500:
                break  # it would be refused again
        log.error("stripe.failed", request=f"{method} {path}", trouble=trouble)
        raise Declined(trouble)


def read_event(body: bytes, header: str, secrets: Sequence[str], now: int) -> Event:
    """The event in a request, once one of the secrets proves that Stripe has signed it within `TOLERANCE` of `now`
    (milliseconds since 1970). Raises NotStripe; without any secret, always."""
    moments = re.findall(r"(?:^|,)\s*t=(\d{1,12})(?=\s*(?:,|$))", header, re.ASCII)
    if len(moments) != 1:
        raise NotStripe("The header Stripe-Signature is missing or has no timestamp.")
    marks = re.findall(r"(?:^|,)\s*v1=([0-9a-f]{64})(?=\s*(?:,|$))", header, re.ASCII)
    content = moments[0].encode() + b"." + body
    known = [hmac.new(secret.encode(), content, hashlib.sha256).hexdigest() for secret in secrets if secret]
    if not any([hmac.compare_digest(mark, one) for mark in marks for one in known]):  # noqa: C419 - all, in equal time
        raise NotStripe("No signature in Stripe-Signature is by a secret of this endpoint.")
    if abs(now - int(moments[0]) * SECOND) > TOLERANCE * SECOND:
        raise NotStripe(f"The signature is more than {TOLERANCE} seconds from now.")
    try:
        told = _object(body)
        told_id, kind, subject = told["id"], told["type"], told["data"]["object"]
    except (Declined, LookupError, TypeError):
        raise NotStripe("The body is signed, but is no event.") from None
    if not (isinstance(told_id, str) and isinstance(kind, str) and isinstance(subject, dict) and told_id):
        raise NotStripe("The body is signed, but is no event.")
    return Event(told_id[:255], kind[:100], cast("Mapping[str, Any]", subject))


def read_session(told: Mapping[str, Any]) -> Session:
    """A checkout as Stripe writes it. Raises Declined where it has no name."""
    total = told.get("amount_total")
    session_id = _text(told, "id")
    if session_id is None:
        raise Declined("a checkout without a name")
    return Session(
        id=session_id,
        url=_text(told, "url"),
        reference=_text(told, "client_reference_id"),
        status=_text(told, "status"),
        paid=told.get("payment_status") == "paid",
        total=total if isinstance(total, int) and not isinstance(total, bool) and 0 <= total < 2**63 else None,
        currency=_text(told, "currency"),
        intent=name_in(told, "payment_intent"),
    )


def name_in(told: Mapping[str, Any], field: str) -> str | None:
    """Stripe's name for an object that another one refers to, by its name alone or as a whole."""
    value = told.get(field)
    return _text(cast("Mapping[str, Any]", value), "id") if isinstance(value, dict) else _text(told, field)


def _text(told: Mapping[str, Any], field: str) -> str | None:
    value = told.get(field)
    return value if isinstance(value, str) and 0 < len(value) <= 2048 else None


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        raise Declined(f"no JSON object: {start_of(body)}")
    return cast("Mapping[str, Any]", told)
