"""A stand-in for Stripe on a loopback port: it speaks the two requests that Phaya makes, takes money when a test says
so, and signs its events as Stripe does."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from conftest import Reply
from phaya.serving import listen, serving

KEY = "sk_test_stand_in"
SECRET = "whsec_stand_in"
VERSION = "2026-10-28.endive"


def signature(body: bytes, *secrets: str, moment: int | None = None) -> str:
    """The `Stripe-Signature` of a body: one `v1` for each secret, and a `v0` that nobody looks at."""
    at = int(time.time()) if moment is None else moment
    marks = [hmac.new(one.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest() for one in secrets]
    return ",".join([f"t={at}", *(f"v1={mark}" for mark in marks), f"v0={'0' * 64}"])


@dataclass
class StandIn:
    """What it was asked, and the checkouts that it made. Each of `failures` is answered once instead."""

    url: str
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    made: dict[str, str] = field(default_factory=dict[str, str])
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list[tuple[str, dict[str, str]]])
    failures: list[int] = field(default_factory=list[int])

    def app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)

        @app.post("/v1/checkout/sessions")
        async def create(request: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
            async with request.form() as form:
                fields = {name: str(value) for name, value in form.items()}
            self.asked.append((request.method, fields))
            if refused := self._refusal(request):
                return refused
            once = request.headers["idempotency-key"]
            if once not in self.made:
                session = self._session(fields)
                self.made[once] = session["id"]
            if self.failures:  # made, but the answer is lost
                return _error(self.failures.pop(0), "api_error", "An error occurred")
            return JSONResponse(self.sessions[self.made[once]])

        @app.get("/v1/checkout/sessions/{session_id}")
        async def find(session_id: str, request: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
            self.asked.append((request.method, {"id": session_id}))
            if refused := self._refusal(request):
                return refused
            if self.failures:
                return _error(self.failures.pop(0), "api_error", "An error occurred")
            if session_id not in self.sessions:
                return _error(404, "invalid_request_error", f"No such checkout.session: '{session_id}'")
            return JSONResponse(self.sessions[session_id])

        return app

    def _refusal(self, request: Request) -> JSONResponse | None:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, "invalid_request_error", "Invalid API Key provided: sk_test_***")
        if request.headers.get("stripe-version") != VERSION:
            return _error(400, "invalid_request_error", "Invalid Stripe API version")
        return None

    def _session(self, fields: dict[str, str]) -> dict[str, Any]:
        number = next(self.numbers)
        total = int(fields["line_items[0][price_data][unit_amount]"]) * int(fields["line_items[0][quantity]"])
        name = f"cs_test_{number:04d}"
        self.sessions[name] = {
            "id": name,
            "object": "checkout.session",
            "amount_subtotal": total,
            "amount_total": total,
            "client_reference_id": fields["client_reference_id"],
            "currency": fields["line_items[0][price_data][currency]"],
            "livemode": False,
            "metadata": {"payment": fields["metadata[payment]"]},
            "mode": fields["mode"],
            "payment_intent": None,
            "payment_status": "unpaid",
            "status": "open",
            "success_url": fields["success_url"],
            "url": f"https://checkout.stripe.com/c/pay/{name}",
        }
        return self.sessions[name]

    def pay(self, session_id: str, *, later: bool = False, **changes: Any) -> None:
        """The customer pays; `later` by a way that takes days."""
        session = self.sessions[session_id]
        session |= {"status": "complete", "payment_intent": f"pi_{session_id[8:]}", "url": None}
        session |= {"payment_status": "unpaid" if later else "paid"} | changes

    def event(self, kind: str, told: dict[str, Any] | str) -> bytes:
        """The body of a new event about an object, or about a checkout as it stands."""
        about = self.sessions[told] if isinstance(told, str) else told
        return orjson.dumps(
            {
                "id": f"evt_{next(self.numbers):06d}",
                "object": "event",
                "api_version": VERSION,
                "created": int(time.time()),
                "data": {"object": about},
                "livemode": False,
                "pending_webhooks": 1,
                "type": kind,
            }
        )

    def completed(self, session_id: str) -> bytes:
        return self.event("checkout.session.completed", session_id)


async def tell(session: aiohttp.ClientSession, phaya_url: str, body: bytes, header: str | None = None) -> Reply:
    """Sends an event to Phaya, signed now unless the test signs it."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if header != "":
        headers["Stripe-Signature"] = signature(body, SECRET) if header is None else header
    async with session.post(f"{phaya_url}/api/v1/topup/stripe/webhook", data=body, headers=headers) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


@asynccontextmanager
async def standing_in() -> AsyncGenerator[StandIn]:
    with listen("127.0.0.1", 0) as listener:
        made = StandIn(f"http://127.0.0.1:{listener.getsockname()[1]}")
        async with serving(made.app(), listener):
            yield made


def _error(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"type": kind, "message": message}}, status)
