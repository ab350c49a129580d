"""Who calls: the key of a request, its scope and its quota. The one place where these are decided."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phaya import keys
from phaya.errors import Forbidden, Unauthorized
from phaya.keys import Key
from phaya.limits import Quota, QuotaSpent
from phaya.origins import Address, address_of, household
from phaya.system import System

REQUESTS, POLLS = "requests", "polls"


@dataclass(frozen=True, slots=True)
class Caller:
    """A request's key."""

    key: Key

    @property
    def account_id(self) -> str:
        """Who pays."""
        return self.key.account_id

    def need(self, *scopes: str) -> None:
        """Raises Forbidden unless the key has one of these scopes."""
        if not self.key.allows(*scopes):
            raise Forbidden(f"This key's scopes do not allow this; it needs '{scopes[0]}'.")


def system(request: Request) -> System:
    """The running Phaya, from the application's state."""
    return request.app.state.system


async def running(request: Request) -> System:
    """The same for routes: what is no coroutine, FastAPI has a thread do, and waits for it at every request."""
    return system(request)


def credential(request: Request) -> str:
    """The key's text as sent. Raises Unauthorized where none is."""
    return given_key(request.headers.get("authorization", ""), request.headers.get("x-api-key", ""))


def given_key(authorization: str, alone: str) -> str:
    """The key's text in these two headers. Raises Unauthorized where none is."""
    kind, _, text = authorization.partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return text.strip()
    if text := alone.strip():
        return text
    raise Unauthorized(keys.MISSING)


async def admit(request: Request, phaya: System, key: Key, quota: str) -> None:
    """Counts a request in one of its key's windows. Raises QuotaSpent."""
    try:
        request.state.quota = await phaya.limits.take(key.id, quota, allowance(phaya, key, quota))
    except QuotaSpent as error:
        request.state.quota = error.quota
        raise


def allowance(phaya: System, key: Key, quota: str) -> int:
    """How many requests a minute a key may make in one of its windows."""
    polls = quota == POLLS
    limit = phaya.settings.polls_per_minute if polls else phaya.settings.requests_per_minute
    if key.rate is None:
        return limit
    # A key of its own rate polls in proportion: one 429 on a poll makes clients give up a paid job.
    return max(limit, key.rate * 10) if polls else key.rate


async def identify(phaya: System, address: Address | None, text: str) -> Key:
    """The living key with this text, where it may be used from this address: the one way in for keys, at every door.

    Raises Unauthorized, Forbidden where the key is tied to other networks, or TooManyRequests where too many wrong keys
    came from there.
    """
    stranger = household(address)
    phaya.brake.check(stranger, text)
    try:
        key = await phaya.keyring.find(text)
    except Unauthorized:
        phaya.brake.wrong(stranger)
        raise
    phaya.brake.right(text)
    key.check_origin(address)
    return key


async def enter(request: Request, quota: str) -> Caller:
    """The caller, counted in one of the key's windows. Raises what `identify` raises, or QuotaSpent."""
    phaya = system(request)
    key = await identify(phaya, address_of(request.scope.get("client")), credential(request))
    await admit(request, phaya, key, quota)
    return Caller(key)


async def requesting(request: Request) -> Caller:
    """The caller of an ordinary route."""
    return await enter(request, REQUESTS)


async def polling(request: Request) -> Caller:
    """The caller of a status route, which has a quota of its own."""
    return await enter(request, POLLS)


async def listening(request: Request) -> AsyncGenerator[Caller]:
    """The caller of an event stream: it counts as a poll, and holds a place until the stream ends."""
    caller = await enter(request, POLLS)
    with system(request).lookout.place(caller.key.id, caller.account_id):
        yield caller


Requesting = Annotated[Caller, Depends(requesting)]
Polling = Annotated[Caller, Depends(polling)]
Listening = Annotated[Caller, Depends(listening)]
Phaya = Annotated[System, Depends(running)]


class QuotaHeaders:
    """Writes the remaining quota on every answer to a known key."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on; adds the headers when the answer starts."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        state: dict[str, object] = scope.setdefault("state", {})

        async def mark(message: Message) -> None:
            quota = state.get("quota")
            if message["type"] == "http.response.start" and isinstance(quota, Quota):
                headers = MutableHeaders(scope=message)
                for name, value in quota.headers:
                    headers.append(name.decode(), value.decode())
            await send(message)

        return await self.app(scope, receive, mark)
