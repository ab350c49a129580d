"""Credits that are bought by Stripe Checkout: credited once whatever happens, and never for an event that proves
nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
import stripe
from sqlalchemy import text

from cluster import cluster
from conftest import BOTH, SQLITE, Phaya, Reply, running
from phaya import payments
from phaya.stripe import NotStripe, read_event
from stripe_stand_in import KEY, SECRET, StandIn, signature, standing_in, tell

pytestmark = pytest.mark.anyio

ENGINES = BOTH
OLD = "whsec_before_the_rotation"
PACKS = """
[topup]
packs = [
  { credits = 100, price = 10000, currency = "thb" },
  { credits = 1000, price = 95000, currency = "THB" },
  { credits = 1000, price = 2900, currency = "usd" },
]
"""


@pytest.fixture(scope="module")
async def stand_in() -> AsyncGenerator[StandIn]:
    async with standing_in() as made:
        yield made


def terms(folder: Path, stand_in: StandIn, **values: Any) -> dict[str, Any]:
    """Settings of a Phaya that sells credits."""
    file = folder / "prices.toml"
    file.write_text(PACKS)
    return {
        "PHAYA_CONFIG": file,
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_WEBHOOK_SECRET": f"{SECRET}, {OLD}",
        "STRIPE_BASE_URL": stand_in.url,
    } | values


@pytest.fixture(scope="module")
async def phaya(
    tmp_path_factory: pytest.TempPathFactory, database_url: str | None, stand_in: StandIn
) -> AsyncGenerator[Phaya]:
    folder = tmp_path_factory.mktemp("topup")
    async with running(folder, **terms(folder, stand_in, PHAYA_DATABASE_URL=database_url)) as made:
        yield made


async def begin(phaya: Phaya, key: str, **wanted: Any) -> tuple[str, str]:
    """A checkout that was begun: our name for it, and Stripe's."""
    answer = await phaya.post("topup/checkout", wanted or {"pack": "100-thb"}, key=key)
    assert answer.status == 200, answer.content
    return answer.json["id"], answer.json["url"].rpartition("/")[2]


async def hear(phaya: Phaya, body: bytes, header: str | None = None) -> Reply:
    return await tell(phaya.session, phaya.url, body, header)


async def stands(phaya: Phaya, payment: str, key: str) -> str:
    answer = await phaya.get(f"topup/checkout/{payment}", key=key)
    assert answer.status == 200, answer.content
    return answer.json["state"]


async def topups(phaya: Phaya, key: str) -> list[dict[str, Any]]:
    history = (await phaya.get("user/credits/history", key=key)).json["history"]
    return [entry for entry in history if entry["reason"] == "topup"]


async def test_the_packs_are_told_to_everybody(phaya: Phaya) -> None:
    async with phaya.session.get(f"{phaya.url}/api/v1/topup/packs") as answer:
        assert answer.status == 200
        assert (await answer.json())["packs"] == [
            {"id": "100-thb", "credits": 100, "price": 10000, "currency": "thb"},
            {"id": "1000-thb", "credits": 1000, "price": 95000, "currency": "thb"},
            {"id": "1000-usd", "credits": 1000, "price": 2900, "currency": "usd"},
        ]


async def test_what_is_paid_is_in_the_balance_and_on_the_statement(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key("5")
    payment, session = await begin(phaya, key, credits=100)
    assert (await stands(phaya, payment, key), await phaya.balance(key)) == ("open", 5)

    stand_in.pay(session)
    heard = await hear(phaya, stand_in.completed(session))

    assert (heard.status, heard.json["outcome"]) == (200, "credited")
    assert (await stands(phaya, payment, key), await phaya.balance(key)) == ("paid", 105)
    (entry,) = await topups(phaya, key)
    assert (entry["amount"], entry["note"], entry["job_id"]) == (100, f"payment {payment}", None)
    assert await phaya.audit() == []


async def test_stripe_is_asked_for_what_our_row_says(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key()
    payment, session = await begin(phaya, key, pack="1000-usd", success_url="https://shop.example/thanks")

    method, form = stand_in.asked[-1]
    assert method == "POST"
    assert form["client_reference_id"] == payment
    assert form["line_items[0][price_data][unit_amount]"] == "2900"
    assert form["line_items[0][price_data][currency]"] == "usd"
    assert form["success_url"] == form["cancel_url"] == "https://shop.example/thanks"
    assert stand_in.made[payment] == session


async def test_the_same_event_five_times_credits_once(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key("0.5")
    _, session = await begin(phaya, key)
    stand_in.pay(session)
    body = stand_in.completed(session)

    heard = [await hear(phaya, body) for _ in range(3)] + await asyncio.gather(*(hear(phaya, body) for _ in range(2)))

    assert [answer.status for answer in heard] == [200] * 5
    assert [answer.json["outcome"] for answer in heard] == ["credited", *["repeated"] * 4]
    assert await phaya.balance(key) == Decimal("100.5")


async def test_twenty_events_of_one_checkout_at_once_credit_once(phaya: Phaya, stand_in: StandIn) -> None:
    """Two kinds, each sent under ten names, while the customer's page looks too."""
    key = await phaya.new_key("0.5")
    payment, session = await begin(phaya, key)
    stand_in.pay(session)
    kinds = ("checkout.session.completed", "checkout.session.async_payment_succeeded")
    bodies = [stand_in.event(kind, session) for kind in kinds for _ in range(10)]

    *heard, state = await asyncio.gather(*(hear(phaya, body) for body in bodies), stands(phaya, payment, key))

    assert {cast("Reply", answer).status for answer in heard} == {200}
    assert state in ("open", "paid")
    assert await phaya.balance(key) == Decimal("100.5")
    assert len(await topups(phaya, key)) == 1
    assert await phaya.audit() == []


async def test_a_crash_between_the_write_and_the_answer_credits_once(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key("0.5")
    _, session = await begin(phaya, key)
    stand_in.pay(session)
    body = stand_in.completed(session)
    now = phaya.system.clock.now()
    event = read_event(body, signature(body, SECRET), [SECRET], now)
    await phaya.system.database.write(payments.hear, event, now)  # and here the process dies

    again = await hear(phaya, body)

    assert (again.status, again.json["outcome"]) == (200, "repeated")
    assert await phaya.balance(key) == Decimal("100.5")


async def test_a_credit_that_failed_is_not_answered_with_success_and_its_retry_is_not_swallowed(
    phaya: Phaya, stand_in: StandIn, engine: str
) -> None:
    key = await phaya.new_key("0.5")
    payment, session = await begin(phaya, key)
    stand_in.pay(session)
    body = stand_in.completed(session)
    broken, mended = _broken_ledger(engine)
    await phaya.system.database.write(lambda connection: [connection.execute(text(one)) for one in broken])

    failed = await hear(phaya, body)
    await phaya.system.database.write(lambda connection: [connection.execute(text(one)) for one in mended])

    assert failed.status == 500
    assert await phaya.balance(key) == Decimal("0.5")
    assert (await hear(phaya, body)).json["outcome"] == "credited"
    assert (await stands(phaya, payment, key), await phaya.balance(key)) == ("paid", Decimal("100.5"))


def _broken_ledger(engine: str) -> tuple[list[str], list[str]]:
    """Statements after which no top-up can be entered, and those that mend it."""
    if engine == SQLITE:
        made = "CREATE TRIGGER broken BEFORE INSERT ON entries WHEN NEW.reason = 'topup'"
        made += " BEGIN SELECT RAISE(ABORT, 'broken'); END"
        return [made], ["DROP TRIGGER broken"]
    made = "ALTER TABLE entries ADD CONSTRAINT broken CHECK (reason <> 'topup') NOT VALID"
    return [made], ["ALTER TABLE entries DROP CONSTRAINT broken"]


@pytest.mark.parametrize("header", ["", "t=1,v1=00", "nonsense", "t=NOW", "t=1,t=2"])
async def test_an_event_without_a_signature_is_refused(phaya: Phaya, stand_in: StandIn, header: str) -> None:
    header = header.replace("NOW", str(int(time.time())))
    key = await phaya.new_key("0.5")
    _, session = await begin(phaya, key)
    stand_in.pay(session)

    heard = await hear(phaya, stand_in.completed(session), header)

    assert (heard.status, heard.json["error"]) == (400, "bad_signature")
    assert await phaya.balance(key) == Decimal("0.5")


@pytest.mark.parametrize(
    ("secret", "age"),
    [("whsec_of_somebody_else", 0), (SECRET, 301), (SECRET, -302), ("", 0)],
    ids=["another secret", "too old", "from the future", "empty secret"],
)
async def test_a_signature_that_proves_nothing_is_refused(
    phaya: Phaya, stand_in: StandIn, secret: str, age: int
) -> None:
    key = await phaya.new_key("0.5")
    _, session = await begin(phaya, key)
    stand_in.pay(session)
    body = stand_in.completed(session)

    heard = await hear(phaya, body, signature(body, secret, moment=int(time.time()) - age))

    assert (heard.status, heard.json["error"]) == (400, "bad_signature")
    assert await phaya.balance(key) == Decimal("0.5")


async def test_a_body_that_was_changed_is_refused(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key("0.5")
    _, session = await begin(phaya, key)
    stand_in.pay(session)
    body = stand_in.completed(session)

    heard = await hear(phaya, body.replace(b"10000", b"10001"), signature(body, SECRET))

    assert heard.status == 400
    assert await phaya.balance(key) == Decimal("0.5")


@pytest.mark.parametrize("secrets", [(OLD,), ("whsec_next", SECRET), (OLD, SECRET)])
async def test_during_a_rotation_both_secrets_are_taken(
    phaya: Phaya, stand_in: StandIn, secrets: tuple[str, ...]
) -> None:
    key = await phaya.new_key("0.5")
    _, session = await begin(phaya, key)
    stand_in.pay(session)
    body = stand_in.completed(session)

    heard = await hear(phaya, body, signature(body, *secrets))

    assert heard.json["outcome"] == "credited"


async def test_our_reading_of_signatures_is_that_of_stripes_own_library(stand_in: StandIn) -> None:
    body = stand_in.event("charge.refunded", {"object": "charge", "note": "ราคา ฿100"})
    now = int(time.time())
    headers = [
        signature(body, SECRET),
        signature(body, "other", SECRET),
        signature(body, "other"),
        signature(body, SECRET, moment=now - 400),
        signature(body + b" ", SECRET),
        stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET),  # pyright: ignore[reportUnknownMemberType] - untyped there
        "t=12,v0=00",
        "",
    ]
    ours, theirs = list[bool](), list[bool]()
    for header in headers:
        try:
            ours.append(read_event(body, header, [SECRET], now * 1000).kind == "charge.refunded")
        except NotStripe:
            ours.append(False)
        try:
            told = stripe.Webhook.construct_event(body, header, SECRET)  # pyright: ignore[reportUnknownMemberType] - untyped there
            theirs.append(told.type == "charge.refunded")
        except stripe.SignatureVerificationError:
            theirs.append(False)

    assert ours == theirs == [True, True, False, False, False, True, False, False]


async def test_an_event_may_come_before_stripes_answer_was_written(phaya: Phaya, stand_in: StandIn) -> None:
    """Our row is committed before Stripe hears of it, so an event always finds it, if need be by our own name."""
    key = await phaya.new_key("0.5")
    payment, session = await begin(phaya, key)
    await phaya.system.database.write(
        lambda connection: connection.execute(
            text("UPDATE payments SET session = NULL WHERE id = :id"), {"id": payment}
        )
    )
    stand_in.pay(session)

    assert (await hear(phaya, stand_in.completed(session))).json["outcome"] == "credited"
    await phaya.system.database.write(payments.bind, payment, session)

    assert (await stands(phaya, payment, key), await phaya.balance(key)) == ("paid", Decimal("100.5"))


async def test_events_in_any_order_end_in_one_credit(phaya: Phaya, stand_in: StandIn) -> None:
    """A payment that takes days fails at first, and its checkout expires, before all that was said of it arrives."""
    key = await phaya.new_key("0.5")
    payment, session = await begin(phaya, key)
    stand_in.pay(session, later=True)
    completed = stand_in.completed(session)
    failed = stand_in.event("checkout.session.async_payment_failed", session)
    expired = stand_in.event("checkout.session.expired", session)

    assert (await hear(phaya, completed)).json["outcome"] == "noted"
    assert await stands(phaya, payment, key) == "pending"
    assert (await hear(phaya, failed)).json["outcome"] == "noted"
    assert await stands(phaya, payment, key) == "failed"
    stand_in.pay(session)
    succeeded = stand_in.event("checkout.session.async_payment_succeeded", session)
    assert (await hear(phaya, succeeded)).json["outcome"] == "credited"
    for late in (expired, completed, stand_in.completed(session)):
        assert (await hear(phaya, late)).status == 200

    assert (await stands(phaya, payment, key), await phaya.balance(key)) == ("paid", Decimal("100.5"))


async def test_a_lost_event_is_made_up_for_by_looking(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key("0.5")
    payment, session = await begin(phaya, key)
    stand_in.pay(session)

    assert (await stands(phaya, payment, key), await phaya.balance(key)) == ("paid", Decimal("100.5"))
    assert (await hear(phaya, stand_in.completed(session))).json["outcome"] == "repeated"
    assert await phaya.balance(key) == Decimal("100.5")


async def test_an_event_of_a_checkout_that_is_not_ours_is_kept_and_credits_nobody(
    phaya: Phaya, stand_in: StandIn
) -> None:
    """Other shops on the same Stripe account have events too. Saying no would only make Stripe send them again."""
    account = "a victim"
    told = {
        "id": "cs_test_foreign", "object": "checkout.session", "payment_status": "paid", "status": "complete",
        "amount_total": 10000, "currency": "thb", "client_reference_id": account, "metadata": {"credits": "1000000"},
    }  # fmt: skip
    body = stand_in.event("checkout.session.completed", told)

    heard = await hear(phaya, body)

    assert (heard.status, heard.json["outcome"]) == (200, "strange")
    events = (await phaya.operate("payments events"))["events"]
    assert orjson.loads(body)["id"] in [event["id"] for event in events if event["outcome"] == "strange"]
    assert await phaya.audit() == []


@pytest.mark.parametrize("changes", [{"amount_total": 9999}, {"currency": "vnd"}, {"amount_total": None}])
async def test_a_sum_that_we_did_not_ask_for_is_left_to_the_operator(
    phaya: Phaya, stand_in: StandIn, changes: dict[str, Any]
) -> None:
    key = await phaya.new_key("0.5")
    payment, session = await begin(phaya, key)
    stand_in.pay(session, **changes)

    heard = await hear(phaya, stand_in.completed(session))

    assert (heard.status, heard.json["outcome"]) == (200, "strange")
    assert await phaya.balance(key) == Decimal("0.5")
    listed = {one["id"]: one for one in (await phaya.operate("payments list"))["payments"]}
    assert listed[payment]["trouble"].endswith("asked for 10000 thb")


async def test_taxes_on_top_do_not_matter(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key("0.5")
    _, session = await begin(phaya, key)
    stand_in.pay(session, amount_total=10700)

    assert (await hear(phaya, stand_in.completed(session))).json["outcome"] == "credited"
    assert await phaya.balance(key) == Decimal("100.5")


async def test_a_refund_at_stripe_is_shown_to_the_operator_and_takes_nothing(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key("0.5", account="refunded@phaya.example")
    payment, session = await begin(phaya, key)
    stand_in.pay(session)
    await hear(phaya, stand_in.completed(session))
    charge = {
        "id": "ch_1", "object": "charge", "payment_intent": stand_in.sessions[session]["payment_intent"],
        "amount": 10000, "amount_refunded": 4000, "currency": "thb",
    }  # fmt: skip

    heard = await hear(phaya, stand_in.event("charge.refunded", charge))
    dispute = charge | {"id": "dp_1", "object": "dispute", "reason": "fraudulent", "status": "needs_response"}
    await hear(phaya, stand_in.event("charge.dispute.created", dispute))

    assert (heard.status, heard.json["outcome"]) == (200, "attention")
    assert await phaya.balance(key) == Decimal("100.5")
    mine = [one for one in (await phaya.operate("payments events"))["events"] if one["payment"] == payment]
    assert [(one["kind"], one["account"], one["credits"]) for one in mine] == [
        ("charge.refunded", "refunded@phaya.example", "100"),
        ("charge.dispute.created", "refunded@phaya.example", "100"),
    ]
    assert mine[0]["detail"].startswith("amount_refunded 4000")


async def test_other_kinds_of_events_are_taken_and_forgotten(phaya: Phaya, stand_in: StandIn) -> None:
    heard = await hear(phaya, stand_in.event("invoice.paid", {"id": "in_1", "object": "invoice"}))

    assert (heard.status, heard.json["outcome"]) == (200, "ignored")


async def test_a_lost_answer_of_stripe_makes_no_second_checkout(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key()
    before = len(stand_in.sessions)
    stand_in.failures = [500]

    payment, session = await begin(phaya, key)

    assert len(stand_in.sessions) == before + 1
    assert stand_in.made[payment] == session


async def test_a_refusal_of_stripe_is_said_so_and_noted(phaya: Phaya, stand_in: StandIn) -> None:
    key = await phaya.new_key(account="unlucky@phaya.example")
    stand_in.failures = [402]

    answer = await phaya.post("topup/checkout", {"pack": "100-thb"}, key=key)

    assert (answer.status, answer.json["error"]) == (503, "service_unavailable")
    (noted,) = (await phaya.operate("payments list", account="unlucky@phaya.example"))["payments"]
    assert (noted["state"], noted["trouble"][:9]) == ("failed", "HTTP 402:")
    session = stand_in.made[noted["id"]]
    stand_in.pay(session)  # it was made for all that, and somebody found it
    assert (await hear(phaya, stand_in.completed(session))).json["outcome"] == "credited"


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({}, "pack"),
        ({"pack": "100-thb", "credits": 100}, "pack"),
        ({"pack": "7-thb"}, "pack"),
        ({"credits": 1000}, "credits"),
        ({"credits": "many"}, "credits"),
        ({"credits": True}, "credits"),
        ({"pack": "100-thb", "success_url": "javascript:alert(1)"}, "success_url"),
    ],
)
async def test_what_cannot_be_bought_is_refused_by_its_field(phaya: Phaya, wanted: dict[str, Any], field: str) -> None:
    answer = await phaya.post("topup/checkout", wanted, key=await phaya.new_key())

    assert answer.status == 422, answer.content
    assert any(fault["loc"][1] == field for fault in answer.json["detail"])


async def test_nobody_sees_a_checkout_of_somebody_else(phaya: Phaya) -> None:
    payment, _ = await begin(phaya, await phaya.new_key())

    answer = await phaya.get(f"topup/checkout/{payment}", key=await phaya.new_key())

    assert answer.status == 404


@pytest.mark.parametrize("secret", ["", " , "])
async def test_without_a_webhook_secret_every_event_is_refused_and_nothing_is_sold(
    tmp_path: Path, stand_in: StandIn, secret: str
) -> None:
    async with running(tmp_path, **terms(tmp_path, stand_in, STRIPE_WEBHOOK_SECRET=secret)) as phaya:
        body = stand_in.event("checkout.session.completed", {"object": "checkout.session", "id": "cs_1"})

        for header in ("", signature(body, ""), signature(body, SECRET)):
            heard = await tell(phaya.session, phaya.url, body, header)
            assert (heard.status, heard.json["error"]) == (503, "service_unavailable")
        assert (await phaya.get("topup/packs")).json["packs"] == []
        assert (await phaya.post("topup/checkout", {"pack": "100-thb"})).status == 404


async def test_tax_and_invoices_are_left_to_stripe(tmp_path: Path, stand_in: StandIn) -> None:
    values = terms(tmp_path, stand_in)
    values["PHAYA_CONFIG"].write_text(PACKS + 'tax = true\ninvoices = true\nreturn_url = "https://shop.example/back"\n')
    async with running(tmp_path, **values) as phaya:
        await begin(phaya, phaya.key)

    form = stand_in.asked[-1][1]
    assert (form["automatic_tax[enabled]"], form["invoice_creation[enabled]"]) == ("true", "true")
    assert form["success_url"] == "https://shop.example/back"


async def test_no_kill_while_an_event_is_heard_loses_or_doubles_a_credit(tmp_path: Path, stand_in: StandIn) -> None:
    """A real process is killed while five events arrive; Stripe sends again what was not answered with success."""
    sold = {name: str(value) for name, value in terms(tmp_path, stand_in).items()}
    async with cluster(tmp_path, extra=sold, embedded=True) as run:
        node = await run.serve()
        known, bodies = {"Authorization": f"Bearer {run.key}"}, list[bytes]()
        for _ in range(5):
            url = f"{node.url}/api/v1/topup/checkout"
            async with run.session.post(url, json={"pack": "100-thb"}, headers=known) as answer:
                session = (await answer.json())["url"].rpartition("/")[2]
            stand_in.pay(session)
            bodies.append(stand_in.completed(session))
        waiting = bodies
        for _ in range(4):
            telling = asyncio.gather(*(tell(run.session, node.url, body) for body in waiting), return_exceptions=True)
            await asyncio.sleep(run.dice.uniform(0, 0.03))
            await run.kill(node)
            told = await telling
            # One of those that were answered is told again, for want of the answer on the way.
            waiting = [body for body, one in zip(waiting, told, strict=True) if not isinstance(one, Reply)] or bodies[
                :1
            ]
            await run.start(node)
        for body in bodies:
            assert (await tell(run.session, node.url, body)).status == 200
        async with run.session.get(f"{node.url}/api/v1/user/credits", headers=known) as answer:
            assert (await answer.json())["credits_balance"] == 100_500
        assert await run.check() == []
