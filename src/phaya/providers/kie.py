"""KIE.ai: tasks of its jobs API, songs and films of its dedicated Suno and Veo routes (docs.kie.ai).

KIE answers nearly everything with HTTP 200 and tells in the body's `code` what it means, so the envelope is
read before anything else (`kie_envelope`). A creation is sent once, whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import cast

import aiohttp
import orjson
import structlog
from pydantic import JsonValue

from phaya.calls import KieSuno, KieTask, KieVeo, Look, Refused, RemoteCall
from phaya.clock import SECOND, Clock, SystemClock
from phaya.providers import Balance, Budget, Unavailable, Unknown
from phaya.providers.kie_envelope import (
    BUSY,
    UNSURE,
    Answer,
    read_answer,
    record_in,
    ticket_in,
    usable_ticket,
)
from phaya.providers.kie_records import amount, read_record
from phaya.providers.suno import read_songs
from phaya.providers.timing import Timed
from phaya.providers.transport import BROKEN, NEVER_CONNECTED, asked_pause, fault, whole_body
from phaya.providers.veo import read_film

log = structlog.get_logger()

SYSTEM_CLOCK = SystemClock()
LONGEST_ANSWER = 2 * 1024 * 1024
SIGNATURE_AGE = 300
"""Seconds that a callback's signature may be old or early; KIE documents none, its clients take this."""

NO_CALLBACK = "https://callback.invalid/"
"""Suno's route demands a callback address and takes any. This one leads nowhere, on purpose and for good."""


class Kie:
    """KIE.ai behind one or several keys of one operator."""

    name = "kie"
    creations = Budget(20, 10)
    looks = Budget(10, 1)

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        keys: Sequence[str],
        webhook_keys: Sequence[str] = (),
        clock: Clock = SYSTEM_CLOCK,
        *,
        connect_seconds: float = 10,
        submit_seconds: float = 120,
        look_seconds: float = 25,
    ) -> None:
        """`session` serves looks; it should keep no cookies: KIE sets one, which several keys would share.

        A creation is known to take over 90 seconds, so `submit_seconds` is long; the other two are short.
        """
        self.keys = tuple(keys)
        self._session = session
        self.base_url = base_url.rstrip("/")
        self._webhook_keys = tuple(key.encode() for key in webhook_keys)
        self._clock = clock
        # `total` ends an answer that comes drop by drop; it cannot run out while connecting.
        self._submit_time = aiohttp.ClientTimeout(
            total=connect_seconds + submit_seconds, connect=connect_seconds, sock_read=submit_seconds
        )
        self._look_time = aiohttp.ClientTimeout(total=look_seconds, connect=connect_seconds)

    async def submit(self, call: RemoteCall, key: str, callback_url: str | None) -> str:
        """Starts the task, once, and returns its ticket. Raises Rejected, Unavailable or Unknown."""
        path, body = _request(call, callback_url)
        sent = orjson.dumps(body)
        with Timed(self.name, "submit", "generate_content", body.get("model") or call.kind) as timed:
            try:
                async with self._fresh_session() as session:
                    answer = await self._ask(session, "POST", path, key, self._submit_time, sent=sent)
            except NEVER_CONNECTED as error:
                raise Unavailable(BUSY, fault(error)) from error
            except BROKEN as error:
                raise Unknown(UNSURE, fault(error)) from error
            ticket = ticket_in(answer)
            timed.note({"gen_ai.response.id": ticket})
            return ticket

    async def look(self, call: RemoteCall, key: str, ticket: str) -> Look:
        """Says where the task stands. Raises NotThere, Unavailable (look again), Unknown (strange words)."""
        match call:
            case KieTask():
                path, read = "/api/v1/jobs/recordInfo", read_record
            case KieSuno():
                path, read = "/api/v1/generate/record-info", read_songs
            case KieVeo():
                path, read = "/api/v1/veo/record-info", read_film
        with Timed(self.name, "look") as timed:
            timed.note({"gen_ai.response.id": ticket})
            try:
                answer = await self._ask(self._session, "GET", path, key, self._look_time, query={"taskId": ticket})
            except BROKEN as error:
                raise Unavailable(BUSY, fault(error)) from error
            record = record_in(answer)
            try:
                found = record if isinstance(record, Refused) else read(record)
            except Unknown as error:
                raise Unknown(error.message, f"{error.detail}; {answer.described}") from error
            if isinstance(found, Refused):
                log.info("kie.refused", ticket=ticket, code=found.code, answer=answer.start)
            return found

    async def credit(self, key: str) -> Decimal:
        """What is left on the key's account, in KIE's credits. Raises Unavailable where KIE does not say."""
        with Timed(self.name, "credit"):
            try:
                answer = await self._ask(self._session, "GET", "/api/v1/chat/credit", key, self._look_time)
            except BROKEN as error:
                raise Unavailable(BUSY, fault(error)) from error
            left = amount(answer.data) if answer.status == 200 and answer.code == 200 else None
            if left is None:
                raise Unavailable(BUSY, answer.described)
            return Decimal(left)

    async def balances(self) -> Sequence[Balance]:
        """Where each of the keys stands, in their order. Raises Unavailable."""
        return [Balance(left, "KIE") for left in await asyncio.gather(*map(self.credit, self.keys))]

    def callback_ticket(self, body: object) -> str | None:
        """The ticket that a callback's body names, if it names one.

        The jobs API and Veo say `data.taskId`, Suno `data.task_id`, and KIE's own sample has it at the top.
        """
        whole = _mapping(body)
        found = (place.get(name) for place in (_mapping(whole.get("data")), whole) for name in ("taskId", "task_id"))
        return next((ticket for value in found if (ticket := usable_ticket(value))), None)

    def callback_is_signed(self, headers: Mapping[str, str], ticket: str | None) -> bool:
        """Whether the callback's signature is right; true where no webhook key is configured.

        KIE signs the ticket and the time, not the body: a good signature proves no more than that KIE once
        had something to say about this ticket. See docs.kie.ai/common-api/webhook-verification.
        """
        if not self._webhook_keys:
            return True
        given = {name.lower(): value for name, value in headers.items()}
        stamp = given.get("x-webhook-timestamp", "")
        signature = given.get("x-webhook-signature", "").encode("utf-8", "replace")
        if ticket is None or not re.fullmatch(r"[0-9]{1,12}", stamp):
            return False
        if abs(self._clock.now() - int(stamp) * SECOND) > SIGNATURE_AGE * SECOND:
            return False
        signed = f"{ticket}.{stamp}".encode("utf-8", "replace")
        expected = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in self._webhook_keys]
        return any([hmac.compare_digest(signature, right) for right in expected])  # noqa: C419 - all are compared

    def _fresh_session(self) -> aiohttp.ClientSession:
        """A session for one creation, with a connection of its own.

        A pooled connection may be closed by KIE in the moment that it is reused, and nobody could tell then
        whether the creation was taken. (aiohttp itself sends no POST again: it only repeats idempotent
        methods.)
        """
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._session.headers,
            trust_env=self._session.trust_env,
        )

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        key: str,
        timeout: aiohttp.ClientTimeout,
        *,
        query: Mapping[str, str] | None = None,
        sent: bytes | None = None,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        if sent is not None:
            headers["Content-Type"] = "application/json"
        async with session.request(
            method,
            self.base_url + path,
            params=query,
            data=sent,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            body = await whole_body(response, LONGEST_ANSWER, key)
            return read_answer(response.status, body, asked_pause(response.headers))


def _request(call: RemoteCall, callback_url: str | None) -> tuple[str, dict[str, JsonValue]]:
    """The path and body of a creation, with KIE's exact names: it ignores those that it does not know."""
    match call:
        case KieTask():
            body: dict[str, JsonValue] = {"model": call.model, "input": dict(call.input)}
            if callback_url is not None:
                body["callBackUrl"] = callback_url
            return "/api/v1/jobs/createTask", body
        case KieSuno():
            return "/api/v1/generate", dict(call.body) | {"callBackUrl": callback_url or NO_CALLBACK}
        case KieVeo():
            called = {} if callback_url is None else {"callBackUrl": callback_url}
            return "/api/v1/veo/generate", {**call.body, **called}


def _mapping(value: object) -> Mapping[object, object]:
    return cast("Mapping[object, object]", value) if isinstance(value, dict) else {}
