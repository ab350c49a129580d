"""The console's credits: vouchers, payments at Stripe, and when a balance is low."""

from __future__ import annotations

import html
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from conftest import Phaya, running, settings
from phaya.web.console.credits import written_price
from stripe_stand_in import KEY, SECRET, StandIn, standing_in, tell
from test_console import Browser, browsing

pytestmark = pytest.mark.anyio

PACKS = '[topup]\npacks = [{ credits = 100, price = 10000, currency = "thb" }]\n'


@pytest.fixture(scope="module")
async def stand_in() -> AsyncGenerator[StandIn]:
    async with standing_in() as made:
        yield made


@pytest.fixture(scope="module")
async def phaya(tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn) -> AsyncGenerator[Phaya]:
    """A Phaya that sells credits, and calls less than 20 of them little."""
    folder = tmp_path_factory.mktemp("credits")
    (folder / "prices.toml").write_text(PACKS)
    stripe = {"STRIPE_SECRET_KEY": KEY, "STRIPE_WEBHOOK_SECRET": SECRET, "STRIPE_BASE_URL": stand_in.url}
    async with running(folder, PHAYA_CONFIG=folder / "prices.toml", PHAYA_LOW_BALANCE="20", **stripe) as made:
        yield made


@asynccontextmanager
async def signed_in(phaya: Phaya, credits: str = "50") -> AsyncGenerator[tuple[Browser, str]]:
    key = await phaya.new_key(credits)
    async with browsing(phaya) as browser:
        assert await browser.sign_in(key=key) == 303
        yield browser, key


async def sent(browser: Browser, path: str, **form: str) -> tuple[int, str]:
    data = {"csrf": browser.csrf, **form}
    async with browser.session.post(browser.url + path, data=data, headers={"Origin": browser.url}) as answer:
        return answer.status, html.unescape(await answer.text())


async def test_a_voucher_is_redeemed_once(phaya: Phaya) -> None:
    made = await phaya.operate(
        "vouchers create", credits="25", by="Ann", count=1, uses=1, expires=None, grant_days=None, note="Songkran"
    )
    code = made["vouchers"][0]["code"].lower().replace("-", " ")
    async with signed_in(phaya) as (browser, key):
        status, page = await sent(browser, "/credits/voucher", code=code)
        again, refused = await sent(browser, "/credits/voucher", code=code)

    assert (200, 404) == (status, again)
    assert "Added: 25 credits." in page
    assert "Songkran" in page
    assert "This code is not valid, has been used, or is not valid any more." in refused
    assert await phaya.balance(key) == 75


async def test_an_empty_code_says_what_is_needed(phaya: Phaya) -> None:
    async with signed_in(phaya) as (browser, _):
        status, page = await sent(browser, "/credits/voucher", code=" ")

    assert (422, True) == (status, "Enter the code of your voucher." in page)


async def test_codes_are_not_guessed_by_the_minute(phaya: Phaya) -> None:
    async with signed_in(phaya) as (browser, _):
        statuses = [(await sent(browser, "/credits/voucher", code=f"wrong {n}"))[0] for n in range(12)]

    assert statuses == [404] * 10 + [429] * 2


async def test_a_pack_is_paid_at_stripe_and_then_in_the_balance(phaya: Phaya, stand_in: StandIn) -> None:
    async with signed_in(phaya) as (browser, key):
        _, leaving = await sent(browser, "/credits/topup", pack="100-thb")
        (session,) = [one for one in stand_in.sessions if f"/{one}" in leaving]
        assert f'content="1; url={stand_in.sessions[session]["url"]}"' in leaving
        assert stand_in.asked[-1][1]["success_url"] == f"{phaya.url}/credits?paid=1"
        _, waiting, _ = await browser.get("/credits?paid=1")
        stand_in.pay(session)
        await tell(phaya.session, phaya.url, stand_in.completed(session))
        _, paid, _ = await browser.get("/credits?paid=1")

    assert "Stripe has not confirmed the payment of 100 credits yet." in waiting
    assert "Thank you. Added: 100 credits." in paid
    assert "100.00 THB" in paid
    assert await phaya.balance(key) == 150


async def test_a_pack_that_is_not_sold_begins_no_payment(phaya: Phaya, stand_in: StandIn) -> None:
    before = len(stand_in.asked)
    async with signed_in(phaya) as (browser, _):
        status, page = await sent(browser, "/credits/topup", pack="1000-thb")

    assert (422, True) == (status, "This pack is not sold any more." in page)
    assert len(stand_in.asked) == before


async def test_without_stripe_nothing_is_offered_for_sale(tmp_path: Path) -> None:
    async with running(tmp_path) as phaya, signed_in(phaya) as (browser, _):
        _, page, _ = await browser.get("/credits")
        status, _ = await sent(browser, "/credits/topup", pack="100-thb")

    assert "/credits/topup" not in page
    assert "/credits/voucher" in page
    assert status == 422


@pytest.mark.parametrize(("balance", "low"), [("19.5", True), ("20", False)])
async def test_a_balance_is_low_below_the_setting(phaya: Phaya, balance: str, low: bool) -> None:
    async with signed_in(phaya, balance) as (browser, _):
        _, page, _ = await browser.get("/gallery")

    assert (f"Your balance is low: {balance} credits." in page) is low


@pytest.mark.parametrize("wrong", ["-1", "some", "0.0000000001"])
def test_a_low_balance_is_an_amount(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValidationError, match="must be an amount of credits such as"):
        settings(tmp_path, PHAYA_LOW_BALANCE=wrong)


@pytest.mark.parametrize(
    ("price", "currency", "written"),
    [
        (10000, "thb", "100.00 THB"),
        (95000000, "thb", "950,000.00 THB"),
        (1200, "jpy", "1,200 JPY"),
        (5, "kwd", "0.005 KWD"),
    ],
)
def test_a_price_is_written_with_its_currencys_digits(price: int, currency: str, written: str) -> None:
    assert written_price(price, currency) == written


async def test_the_balance_is_told_to_a_page_that_stays_open(phaya: Phaya) -> None:
    async with (
        signed_in(phaya, "12.3456") as (browser, _),
        browser.session.get(browser.url + "/credits/balance") as answer,
    ):
        assert (await answer.json(), answer.headers["Cache-Control"]) == ({"balance": "12.34"}, "no-store")


async def test_every_reason_of_an_entry_has_words(phaya: Phaya) -> None:
    """Whatever moved a balance, the page with its statement opens."""
    email = "reasons@phaya.example"
    key = await phaya.new_key("10", account=email)
    voucher = await phaya.operate(
        "vouchers create", credits="1", by="Ann", count=1, uses=1, expires=None, grant_days=1, note=""
    )
    await phaya.post("user/vouchers/redeem", {"code": voucher["vouchers"][0]["code"]}, key=key)
    await phaya.operate("credits adjust", account=email, amount="-2", reason="test", by="Ann")
    job = (await phaya.post("text-to-image/generate", {"prompt": "[fail] a"}, key=key)).json["job_id"]
    await phaya.finish("text-to-image", job, key)
    async with browsing(phaya) as browser:
        assert await browser.sign_in(key=key) == 303
        status, page, _ = await browser.get("/credits")

    assert status == 200
    assert all(word in page for word in ("Voucher", "Correction", "Charge", "Return", "Credits added"))
    assert await phaya.balance(key) == Decimal(9)
