"""Credits that are bought: the packs, a checkout at Stripe and where it stands, and Stripe's events; and vouchers."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse

from phaya import vouchers
from phaya.clock import written
from phaya.credits import Credits, credits
from phaya.errors import Fault, Invalid, NotFound, TooLarge
from phaya.payments import Payment, State
from phaya.system import System
from phaya.tariff import Pack
from phaya.vouchers import Redeemed
from phaya.web.answers import Json
from phaya.web.caller import Phaya, Polling, Requesting
from phaya.web.openapi import AMOUNT, MAYBE_TEXT, TEXT, Schema, object_of, plain_docs, told_docs
from phaya.web.paths import API
from phaya.web.wishes import read_wish

LARGEST_BODY = 20_000
LARGEST_EVENT = 1_000_000
LONGEST_URL = 2048
CHECKOUTS = 20
"""Checkouts of one account in a minute."""
TRIES = 10
"""Codes that one account may try in a minute, right or wrong: counted before, so that many at once are not more."""
CODE = "7Q4D-0X2M-K9TB-31VE"
"""What a voucher's code looks like."""

_TRUE: Schema = {"const": True}
_PACK: Schema = {
    "id": TEXT,
    "credits": AMOUNT,
    "price": {"type": "integer", "description": "In the currency's smallest unit, before taxes."},
    "currency": TEXT,
}
_PAYMENT: Schema = {
    "id": TEXT,
    "state": {"type": "string", "enum": list(State)},
    "credits": AMOUNT,
    "price": {"type": "integer"},
    "currency": TEXT,
    "created_at": TEXT,
    "ended_at": MAYBE_TEXT,
}
_WARNINGS: Schema = {"type": "array", "items": TEXT}


class Wanted(BaseModel):
    """What is to be bought."""

    model_config = ConfigDict(strict=True)

    pack: Annotated[str | None, Field(description="The `id` of a pack.")] = None
    credits: Annotated[
        int | float | str | None,
        Field(description="Instead of `pack`: the pack with so many credits, where there is only one."),
    ] = None
    success_url: Annotated[
        str | None, Field(max_length=LONGEST_URL, description="Where Stripe sends the customer who has paid.")
    ] = None
    cancel_url: Annotated[
        str | None, Field(max_length=LONGEST_URL, description="Where it sends the customer who goes back.")
    ] = None


class Code(BaseModel):
    """A voucher."""

    model_config = ConfigDict(strict=True)

    code: Annotated[str, Field(min_length=1, max_length=100, description="Case, dashes and spaces do not matter.")]


def routes() -> APIRouter:
    """Everything below `topup`, and the redeeming of vouchers."""
    router = APIRouter(prefix=API, tags=["Top-up"])
    _add_checkout(router)
    _add_stripe(router)
    _add_vouchers(router)
    return router


def _add_checkout(router: APIRouter) -> None:
    docs = plain_docs()
    listed: Schema = {"success": _TRUE, "packs": {"type": "array", "items": object_of(_PACK)}}

    @router.get("/topup/packs", operation_id="topup_packs", openapi_extra=told_docs("What can be bought", listed))
    async def packs(phaya: Phaya) -> Json:  # pyright: ignore[reportUnusedFunction]
        """No key needed. Empty where this Phaya sells no credits by card."""
        return Json({"success": True, "packs": [_told_pack(pack) for pack in phaya.checkout.packs]})

    begun: Schema = {"success": _TRUE, **_PAYMENT, "url": TEXT, "warnings": _WARNINGS}

    @router.post(
        "/topup/checkout", operation_id="topup_checkout", responses=docs,
        openapi_extra=told_docs("Begin to buy a pack", begun, Wanted, {"pack": "100-thb"}),
    )  # fmt: skip
    async def checkout(request: Request, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """The customer pays at `url`, a page of Stripe's. Nothing is charged here, so a lost answer costs nothing."""
        wanted, warnings = await read_wish(request, phaya, Wanted, LARGEST_BODY)
        pack = _chosen(phaya.checkout.packs, wanted)
        success, cancel = _address("success_url", wanted.success_url), _address("cancel_url", wanted.cancel_url)
        payment, url = await begin_payment(phaya, caller.account_id, pack, success, cancel)
        return Json({"success": True, **_told(payment), "url": url, "warnings": warnings})

    @router.get(
        "/topup/checkout/{payment_id}", operation_id="topup_payment", responses=docs,
        openapi_extra=told_docs("Where a checkout stands", {"success": _TRUE, **_PAYMENT}),
    )  # fmt: skip
    async def payment(payment_id: str, phaya: Phaya, caller: Polling) -> Json:  # pyright: ignore[reportUnusedFunction]
        """`paid` means that the credits are in the balance."""
        return Json({"success": True, **_told(await phaya.checkout.look(caller.account_id, payment_id[:64]))})

    @router.get("/topup/return", include_in_schema=False)
    async def back() -> PlainTextResponse:  # pyright: ignore[reportUnusedFunction]
        """Where customers come back to who were sent from no page of their own."""
        return PlainTextResponse("Thank you. If you have paid, your credits are in your balance within moments.\n")


def _add_stripe(router: APIRouter) -> None:
    @router.post("/topup/stripe/webhook", include_in_schema=False)
    async def hear(request: Request, phaya: Phaya) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Stripe's events. It sends one again until it is answered with 2xx, so that is only said once it is kept."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_EVENT:
                raise TooLarge("No event of Stripe's is as large as this.")
        heard = await phaya.checkout.hear(bytes(body), request.headers.get("stripe-signature", ""))
        return Json({"received": True, "outcome": heard.outcome})


def _add_vouchers(router: APIRouter) -> None:
    told: Schema = {"success": _TRUE, "credits": AMOUNT, "expires_at": MAYBE_TEXT, "credits_balance": AMOUNT}

    @router.post(
        "/user/vouchers/redeem", operation_id="voucher_redeem", responses=plain_docs(),
        openapi_extra=told_docs(
            "Redeem a voucher", told | {"warnings": _WARNINGS}, Code, {"code": CODE}
        ),
    )  # fmt: skip
    async def redeem(request: Request, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """An account redeems a code once. `expires_at` tells until when its credits are good, null means for ever."""
        given, warnings = await read_wish(request, phaya, Code, LARGEST_BODY)
        done = await redeem_code(phaya, caller.account_id, given.code)
        return Json(
            {
                "success": True,
                "credits": done.credits,
                "expires_at": written(done.expires_at),
                "credits_balance": done.balance,
                "warnings": warnings,
            }
        )


async def begin_payment(
    phaya: System, account_id: str, pack: Pack, success: str | None, cancel: str | None
) -> tuple[Payment, str]:
    """A new payment, and where the customer makes it. Raises TooManyRequests and Closed."""
    await phaya.limits.take(account_id, "checkouts", CHECKOUTS)
    return await phaya.checkout.begin(account_id, pack, success, cancel)


async def redeem_code(phaya: System, account_id: str, code: str) -> Redeemed:
    """What a code brought the account. Raises TooManyRequests and WrongCode."""
    await phaya.limits.take(account_id, "voucher codes", TRIES)
    return await phaya.database.write(vouchers.redeem, phaya.secret, account_id, code, phaya.clock.now())


def _chosen(packs: tuple[Pack, ...], wanted: Wanted) -> Pack:
    """The pack that is meant. Raises Invalid, or NotFound where nothing is sold."""
    if not packs:
        raise NotFound("No credits are sold here.")
    known = ", ".join(pack.id for pack in packs)
    if (wanted.pack is None) == (wanted.credits is None):
        raise Invalid(Fault("pack", f"either this or credits is needed; packs are {known}", "missing"))
    if wanted.pack is not None:
        field, found = "pack", [pack for pack in packs if pack.id == wanted.pack]
    else:
        amount = _amount(str(wanted.credits))
        field, found = "credits", [pack for pack in packs if pack.credits == amount]
    if len(found) != 1:
        raise Invalid(Fault(field, f"must name one of the packs {known}", "enum"))
    return found[0]


def _amount(text: str) -> Credits:
    try:
        return credits(text)
    except ValueError as error:
        raise Invalid(Fault("credits", str(error))) from None


def _address(field: str, url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise Invalid(Fault(field, "must be an http or https address", "url"))
    return url


def _told_pack(pack: Pack) -> dict[str, object]:
    return {"id": pack.id, "credits": pack.credits, "price": pack.price, "currency": pack.currency}


def _told(payment: Payment) -> dict[str, object]:
    return {
        "id": payment.id,
        "state": payment.state,
        "credits": payment.credits,
        "price": payment.price,
        "currency": payment.currency,
        "created_at": written(payment.created_at),
        "ended_at": written(payment.ended_at),
    }
