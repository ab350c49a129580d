"""A caller's own account: profile, credits, statement; and the open list of services and prices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.responses import StreamingResponse

from phaya import grants, keys, ledger, statements
from phaya.catalog.embedding import EmbeddingRequest
from phaya.catalog.language import ChatRequest
from phaya.clock import SECOND
from phaya.credits import Credits
from phaya.grants import Grant
from phaya.ledger import Entry
from phaya.system import System
from phaya.tariff import Tariff
from phaya.web.answers import Json
from phaya.web.caller import Phaya, Requesting
from phaya.web.openapi import body_schema, plain_docs, statement_docs
from phaya.web.paths import API


def routes() -> APIRouter:
    """Account and catalogue."""
    router = APIRouter(prefix=API)
    docs = plain_docs()

    @router.get("/user/profile", tags=["Account"], operation_id="profile", responses=docs)
    async def profile(phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Who the key belongs to, what the account holds and what the key may do."""
        await _expire(phaya, caller.account_id)
        account = await phaya.database.read(keys.find_account, caller.account_id)
        key = caller.key
        return Json(
            {
                "success": True,
                "user_id": account.id,
                "email": account.email,
                "credits_balance": account.balance,
                "currency": phaya.settings.currency,
                "key": {
                    "id": key.id,
                    "name": key.name,
                    "scopes": sorted(key.scopes),
                    "cap": key.cap,
                    "spent": key.spent,
                    "rate": key.rate,
                },
            }
        )

    @router.post("/user/key/rotate", tags=["Account"], operation_id="rotate_key", responses=docs)
    async def rotate(  # pyright: ignore[reportUnusedFunction]
        phaya: Phaya,
        caller: Requesting,
        overlap: Annotated[
            int, Query(alias="overlap_seconds", ge=0, le=2_592_000, description="For how long the former text goes on.")
        ] = 86_400,
    ) -> Json:
        """A new text for the key that asks, shown in this answer only. It needs the scope `keys`."""
        caller.need("keys")
        now = phaya.clock.now()
        text, key = await phaya.database.write(
            keys.rotate, phaya.secret, caller.account_id, caller.key.id, now, overlap * SECOND
        )
        phaya.keyring.forget()
        until = phaya.written(now + overlap * SECOND)
        return Json({"success": True, "key": text, "key_id": key.id, "former_until": until})

    @router.get("/user/credits", tags=["Account"], operation_id="credits", responses=docs)
    async def balance(phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """The balance, straight from the ledger."""
        await _expire(phaya, caller.account_id)
        held, living = await phaya.database.read(_held, caller.account_id, phaya.clock.now())
        currency = phaya.settings.currency
        return Json(
            {
                "success": True,
                "user_id": caller.account_id,
                "credits_balance": held,
                "credits_balance_formatted": f"{held} {currency}",
                "currency": currency,
                "cached": False,
                "expiring": [
                    {"amount": grant.remaining, "expires_at": phaya.written(grant.expires_at)} for grant in living
                ],
            }
        )

    @router.get("/user/credits/history", tags=["Account"], operation_id="credits_history", responses=docs)
    async def statement(  # pyright: ignore[reportUnusedFunction]
        phaya: Phaya, caller: Requesting, limit: Annotated[int, Query(ge=1, le=500)] = 50
    ) -> Json:
        """The newest movements of the balance, newest first; a charge is negative."""
        found = await phaya.database.read(ledger.statement, caller.account_id, limit)
        return Json(
            {
                "success": True,
                "history": [
                    {
                        "id": entry.id,
                        "reason": entry.reason,
                        "amount": entry.amount,
                        "job_id": entry.job_id,
                        "service": entry.service,
                        "note": entry.note,
                        "created_at": phaya.written(entry.created_at),
                    }
                    for entry in found
                ],
            }
        )

    @router.get(
        "/user/credits/statement",
        tags=["Account"],
        operation_id="credits_statement",
        response_class=StreamingResponse,
        responses={**docs, 200: statement_docs()},
    )
    async def export(  # pyright: ignore[reportUnusedFunction]
        phaya: Phaya,
        caller: Requesting,
        begin: Annotated[str | None, Query(alias="from", description="First day or moment, UTC.")] = None,
        end: Annotated[str | None, Query(alias="to", description="Last day, whole, or the moment after.")] = None,
        form: Annotated[statements.Format, Query(alias="format")] = "json",
    ) -> StreamingResponse:
        """Every movement of a period, oldest first, with the balances before, between and after them."""
        asked = statements.period(begin, end, phaya.clock.now())
        account = await phaya.database.read(keys.find_account, caller.account_id)
        before = await phaya.database.read(statements.opening, account.id, asked.begin)
        # The first chunk is read before the answer begins, so that trouble with the database is told as such.
        first = await phaya.database.read(statements.page, account.id, asked, 0)

        async def read(after: int) -> Sequence[Entry]:
            return await phaya.database.read(statements.page, account.id, asked, after) if after else first

        text = statements.statement(form, account.email, phaya.settings.currency, asked, before, statements.pages(read))
        if form == "json":
            return StreamingResponse(text, media_type="application/json")
        name = {"Content-Disposition": 'attachment; filename="statement.csv"'}
        return StreamingResponse(text, media_type="text/csv", headers=name)

    @router.post("/user/credits/invalidate-cache", tags=["Account"], operation_id="credits_cache", responses=docs)
    async def invalidate(caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Kept for clients: balances are never cached, so there is nothing to do."""
        return Json({"success": True, "user_id": caller.account_id, "message": "Balances are never cached."})

    @router.get("/services", tags=["Catalogue"], operation_id="services")
    async def services(phaya: Phaya) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Every service with its fields, prices and an example; no key needed."""
        return Json({"success": True, "currency": phaya.settings.currency, "services": await on_sale(phaya)})

    return router


async def _expire(phaya: System, account_id: str) -> None:
    """Takes what has expired before a balance is told; the sweep may be minutes late."""
    now = phaya.clock.now()
    if await phaya.database.read(grants.lapsed, account_id, now):
        await phaya.database.write(ledger.expire, account_id, now)


def _held(connection: Connection, account_id: str, now: int) -> tuple[Credits, list[Grant]]:
    return ledger.balance(connection, account_id), grants.living(connection, account_id, now)


async def on_sale(phaya: System) -> list[dict[str, object]]:
    """The catalog as data, with what cannot be had right now, and why."""
    closures = await phaya.offers.closures()
    found = listing(phaya.public_url, phaya.tariff)
    for service in found:
        closed = closures.get(str(service["service"]))
        service["available"] = closed is None
        if closed is not None:
            service["reason"] = closed.message
            service["substitute"] = phaya.tariff.terms[str(service["service"])].substitute
    return found


def listing(public_url: str, tariff: Tariff) -> list[dict[str, object]]:
    """The catalog as data."""
    base = f"{public_url}/api/v1"
    found: list[dict[str, object]] = [
        {
            "service": service.path,
            "name": service.name(),
            "summary": service.summary(),
            "makes": service.answer.media,
            "create": f"{base}/{service.create_path()}",
            "status": f"{base}/{service.home()}/status/{{job_id}}",
            "estimate": f"{base}/{service.path}/estimate",
            "cancel": f"{base}/{service.home()}/cancel/{{job_id}}",
            "words": list(dict.fromkeys(service.words.value)),
            "result_fields": list(service.answer.fields),
            "prices": dict(tariff.rates(service.path)),
            "usual_seconds": service.seconds,
            "deadline_seconds": int(service.minutes * 60),
            "schema": body_schema(service),
            "example": service.example,
        }
        for service in tariff.services.values()
    ]
    found.append(
        {
            "service": ChatRequest.path,
            "name": ChatRequest.model_name,
            "summary": "A conversation with a language model, with tools, pictures and structured answers",
            "makes": "text",
            "create": f"{base}/{ChatRequest.path}/chat/completions",
            "prices": {f"a million {name} tokens": rate for name, rate in tariff.rates(ChatRequest.path).items()},
            "schema": body_schema(ChatRequest),
            "example": ChatRequest.example,
        }
    )
    found.append(
        {
            "service": EmbeddingRequest.path,
            "name": EmbeddingRequest.name,
            "summary": "Texts as vectors, for search and comparison",
            "makes": "vectors",
            "create": f"{base}/{EmbeddingRequest.path}/create",
            "prices": {"a million input tokens": tariff.rates(EmbeddingRequest.path)["input"]},
            "schema": body_schema(EmbeddingRequest),
            "example": EmbeddingRequest.example,
        }
    )
    return found
