"""What stands before every route: a request that there is no time for is refused before anything is done for it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from phaya.errors import Overloaded
from phaya.load import Load
from phaya.web.answers import refusal

ALWAYS = frozenset({"/healthz", "/readyz", "/metrics"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def exempt(path: str) -> bool:
    """Whether a request is taken however busy we are: who looks after us, and providers that call back, which is what
    jobs in flight wait for."""
    return path in ALWAYS or path.endswith("/callback")


def refused(load: Load, method: str, path: str) -> bool:
    """Whether there is no time for a request. Counts it, if so."""
    if exempt(path) or not load.full(reading=method in READING):
        return False
    load.refused += 1
    return True


class Threshold:
    """Counts the requests in work, and lets no more of them in than can be done."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        load: Load = scope["app"].state.system.load
        if refused(load, scope["method"], scope["path"]):
            return await refusal(Request(scope), Overloaded())(scope, receive, send)
        if exempt(scope["path"]):
            return await self.app(scope, receive, send)
        load.requests += 1
        try:
            await self.app(scope, receive, send)
        finally:
            load.requests -= 1
        return None
