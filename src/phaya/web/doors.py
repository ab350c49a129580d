"""All doors of the app, and what stands before them."""

from __future__ import annotations

import difflib

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from phaya.errors import Fault, Invalid, NotFound, Parted, PhayaError
from phaya.idempotency import Taken
from phaya.settings import Settings
from phaya.tariff import Tariff
from phaya.web import (
    account,
    agents,
    characters,
    chat,
    console,
    generations,
    jobs,
    media,
    metrics,
    platforms,
    topup,
    voices,
    webhooks,
)
from phaya.web.answers import Json, refusal
from phaya.web.caller import Phaya, QuotaHeaders
from phaya.web.openai import install as install_openai
from phaya.web.paths import Signpost
from phaya.web.repeats import replayed
from phaya.web.threshold import Threshold

log = structlog.get_logger()


def install(app: FastAPI, settings: Settings, tariff: Tariff) -> None:
    """Hangs every route, error shape and header into the app."""
    app.add_middleware(Signpost)
    app.add_middleware(QuotaHeaders)
    app.add_middleware(Threshold)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],  # OpenAI's client in a browser sends a dozen of its own
        expose_headers=[
            *("RateLimit", "RateLimit-Policy", "Retry-After", "ETag", "Preference-Applied"),
            *("X-Should-Retry", "X-Job-Id", "X-Request-Id", "Idempotency-Replayed"),
        ],
        max_age=86400,
    )
    parts = (characters, voices, media, platforms, chat, account, webhooks, topup, jobs)
    _hang(app, generations.routes(tariff), *(part.routes() for part in parts), _health(), metrics.routes())
    install_openai(app)
    agents.install(app)
    _hang(app, console.routes())
    app.add_exception_handler(PhayaError, _refused)
    app.add_exception_handler(Taken, replayed)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_exception_handler(HTTPException, _missed)
    app.add_exception_handler(ClientDisconnect, _vanished)
    app.add_exception_handler(Exception, broken)


def _hang(app: FastAPI, *routers: APIRouter) -> None:
    """Hangs routes into the app as they are. FastAPI's `include_router` would make each of them once more with the
    first request: 4 MB, and a fifth of a second in which nobody is answered."""
    for router in routers:
        app.router.routes.extend(router.routes)


def _health() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def alive() -> Json:  # pyright: ignore[reportUnusedFunction]
        return Json({"status": "alive"})

    @router.get("/readyz")
    async def ready(phaya: Phaya) -> Json:  # pyright: ignore[reportUnusedFunction]
        troubles: dict[str, str] = {}
        try:
            await phaya.database.ready()
        except Exception as error:  # noqa: BLE001 - whatever it is, the database is of no use
            troubles["database"] = type(error).__name__
        try:
            await phaya.results.ready()
        except Exception as error:  # noqa: BLE001 - whatever it is, the storage is of no use
            troubles["storage"] = type(error).__name__
        resting, meters = await phaya.breaker.resting(), phaya.limits.meters
        providers = ["kie"] * (phaya.workflow.roster.kie is not None) + ["openrouter"] * (phaya.openrouter is not None)
        providers += ["gemini"] * (phaya.workflow.roster.gemini is not None)
        body = {
            "status": "not ready" if troubles else "ready",
            "troubles": troubles,
            "load": phaya.load.told,
            "sandbox": phaya.settings.sandbox,
            # Without the shared limits each node keeps its own, and all goes on.
            "limits": f"local since {phaya.written(alone)}" if (alone := meters.alone_since) else meters.place,
            # A resting provider is no trouble of this process: other services and all reading go on.
            "providers": dict.fromkeys(providers, "ready")
            | {name: f"resting until {phaya.written(rest.until)}: {rest.reason}" for name, rest in resting.items()},
        }
        return Json(body, 503 if troubles else 200)

    return router


async def _refused(request: Request, error: Exception) -> Json:
    assert isinstance(error, PhayaError)
    return refusal(request, error)


async def _misread(request: Request, error: Exception) -> Json:
    assert isinstance(error, RequestValidationError)
    faults = [
        Fault(
            ".".join(str(part) for part in detail["loc"][1:]),
            detail["msg"],
            detail["type"],
            str(detail["loc"][0]),
        )
        for detail in error.errors()
    ]
    return refusal(request, Invalid(*faults))


async def _missed(request: Request, error: Exception) -> Json:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        near = difflib.get_close_matches(path, _paths(request.app), n=1, cutoff=0.5)
        hint = f" The nearest path is {near[0]}." if near else " See /openapi.json for all paths."
        return refusal(request, NotFound(f"There is no {path[:200]}.{hint}"))
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        answer = refusal(request, MethodNotAllowed(f"{path[:200]} does not take {request.method}; it takes {allowed}."))
        answer.headers["Allow"] = allowed
        return answer
    return refusal(request, _Other(error.status_code, str(error.detail)))


async def _vanished(request: Request, error: Exception) -> Response:
    """The client has gone before its request was whole: nobody reads the answer, and nothing is wrong here."""
    log.info("request.abandoned", path=request.url.path)
    return Response(status_code=400)


async def broken(request: Request, error: Exception) -> Json:
    """The answer to what should not have happened."""
    log.error("request.failed", path=request.url.path, exc_info=error)
    return refusal(
        request, PhayaError("Something went wrong on our side. Nothing was charged that is not in your jobs.")
    )


async def parted(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer to what there is no time for, as the process has to stop."""
    await refusal(Request(scope), Parted())(scope, receive, send)


class MethodNotAllowed(PhayaError):
    """The path exists, for other methods."""

    status = 405
    code = "method_not_allowed"


class _Other(PhayaError):
    code = "http_error"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]


def _paths(app: FastAPI) -> list[str]:
    # Not from the document, which would be made, and kept, for the first who errs.
    routes = iter_route_contexts(app.routes)
    told = (route for route in routes if isinstance(route.original_route, APIRoute) and route.include_in_schema)
    return list(dict.fromkeys(route.path_format or "" for route in told))
