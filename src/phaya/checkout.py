"""How customers buy credits: the payment is written, then Stripe is asked, then its answer is written."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from phaya import payments
from phaya.clock import Clock
from phaya.database import Database
from phaya.errors import Closed
from phaya.limits import Limits
from phaya.payments import Heard, Outcome, Payment, State
from phaya.stripe import Declined, Stripe, read_event
from phaya.tariff import Pack, TopUp

log = structlog.get_logger()

CLOSED_SECONDS = 3600
LOOK_SECONDS = 5
"""Seconds between two looks at Stripe for one payment, on whichever node."""


class Checkout:
    """The sale of credits, on terms that the operator's file sets."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        limits: Limits,
        stripe: Stripe | None,
        secrets: Sequence[str],
        terms: TopUp,
        public_url: str,
    ) -> None:
        """`secrets` are those of Stripe's webhook endpoint. Without one nothing is sold: nobody would be credited."""
        self._database = database
        self._clock = clock
        self._limits = limits
        self._stripe = stripe
        self._secrets = tuple(secrets)
        self._terms = terms
        self._home = terms.return_url or f"{public_url}/api/v1/topup/return"

    @property
    def packs(self) -> tuple[Pack, ...]:
        """What can be bought now."""
        return self._terms.packs if self._stripe and self._secrets else ()

    async def begin(
        self, account_id: str, pack: Pack, success_url: str | None, cancel_url: str | None
    ) -> tuple[Payment, str]:
        """A new payment, and where the customer makes it. Raises Closed where nothing is sold, or Stripe is away."""
        if self._stripe is None or not self._secrets:
            raise Closed("No credits are sold here at the moment.", CLOSED_SECONDS)
        now = self._clock.now()
        opened = await self._database.write(
            payments.open_payment, account_id, pack.credits, pack.price, pack.currency, now
        )
        try:
            # Sent again under the payment's id, it makes one checkout; what is lost is a checkout that nobody sees.
            session = await self._stripe.open_session(self._form(opened, success_url, cancel_url), opened.id)
            if session.url is None:
                raise Declined(f"checkout {session.id} has no address")
        except Declined as error:
            await self._database.write(payments.give_up, opened.id, error.detail, self._clock.now())
            raise
        await self._database.write(payments.bind, opened.id, session.id)
        return opened, session.url

    async def look(self, account_id: str, payment_id: str) -> Payment:
        """A payment as it stands; Stripe is asked about one that is not over, so that a lost event delays nothing.

        Raises NotFound.
        """
        found = await self._database.read(payments.find, account_id, payment_id)
        if found.state not in (State.OPEN, State.PENDING) or found.session is None or self._stripe is None:
            return found
        if await self._limits.spend("checkout", found.id, 1, LOOK_SECONDS):
            return found
        try:
            session = await self._stripe.find_session(found.session)
        except Declined:
            return found
        await self._database.write(payments.settle, session, self._clock.now())
        return await self._database.read(payments.find, account_id, payment_id)

    async def hear(self, body: bytes, signature: str) -> Heard:
        """Takes an event of Stripe's; when this returns, what it did is durable.

        Raises NotStripe, or Closed where there is no secret that could prove its origin.
        """
        if not self._secrets:
            log.error("stripe.no_secret")
            raise Closed("No events are taken here: STRIPE_WEBHOOK_SECRET is not set.", CLOSED_SECONDS)
        event = read_event(body, signature, self._secrets, self._clock.now())
        heard = await self._database.write(payments.hear, event, self._clock.now())
        told = log.warning if heard.outcome in (Outcome.ATTENTION, Outcome.STRANGE) else log.info
        told(
            "stripe.event",
            told=event.id, kind=event.kind, outcome=heard.outcome, payment=heard.payment_id, detail=heard.detail,
        )  # fmt: skip
        return heard

    def _form(self, payment: Payment, success_url: str | None, cancel_url: str | None) -> dict[str, str]:
        item = "line_items[0]"
        form = {
            "mode": "payment",
            "client_reference_id": payment.id,
            "success_url": success_url or self._home,
            "cancel_url": cancel_url or success_url or self._home,
            f"{item}[quantity]": "1",
            f"{item}[price_data][currency]": payment.currency,
            f"{item}[price_data][unit_amount]": str(payment.price),
            f"{item}[price_data][product_data][name]": f"{payment.credits} credits",
            "metadata[payment]": payment.id,
            "payment_intent_data[metadata][payment]": payment.id,
            # Events tell the total in our own currency.
            "adaptive_pricing[enabled]": "false",
        }
        if self._terms.tax:
            form["automatic_tax[enabled]"] = "true"
        if self._terms.invoices:
            form["invoice_creation[enabled]"] = "true"
        return form
