"""The routes of every generation service, made from the catalog."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, cast

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import JsonValue

from phaya import jobs
from phaya.catalog.acceptance import Accepted, accept
from phaya.catalog.service import Generation
from phaya.credits import NOTHING
from phaya.errors import Fault, Invalid, NotFound, TooLarge
from phaya.jobs import Job, State
from phaya.system import System
from phaya.tariff import Tariff, write_rates
from phaya.ways import unpack_ways
from phaya.web.answers import Json
from phaya.web.caller import Caller, Phaya, Polling, Requesting, system
from phaya.web.openapi import create_docs, first_word, plain_docs, status_docs

LARGEST_BODY = 32_000_000
"""Bytes of a JSON body at the most; inputs may be data URLs."""

MESSAGES = {
    State.QUEUED: "The job waits for its turn.",
    State.PROCESSING: "The job is being worked on.",
    State.COMPLETED: "The result is ready.",
    State.CANCELLED: "The job was cancelled; its credits were returned.",
}


async def read_json(request: Request, largest: int = LARGEST_BODY) -> Any:
    """The request's JSON body. Raises TooLarge, or Invalid where it is no JSON."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            raise TooLarge(f"The body has more than {largest // 1_000_000} MB.")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(Fault("body", f"is not JSON: {error}", "json_invalid")) from None


def strictly(request: Request, phaya: System) -> bool:
    """Whether slips are refused: by setting, or by `Prefer: handling=strict` (RFC 7240)."""
    preferences = request.headers.get("prefer", "").replace(" ", "").lower()
    return phaya.settings.strict or "handling=strict" in preferences


def routes(tariff: Tariff) -> APIRouter:
    """Create, estimate and callback of each service on sale; status, cancel and history of each home."""
    router = APIRouter()
    homes: dict[str, list[type[Generation]]] = {}
    for service in tariff.services.values():
        _add_service(router, service, tariff)
        homes.setdefault(service.home(), []).append(service)
    for home, services in homes.items():
        _add_home(router, home, services, tariff)
    return router


def _add_service(router: APIRouter, service: type[Generation], tariff: Tariff) -> None:
    async def create(request: Request, phaya: Phaya, caller: Requesting) -> Json:
        caller.need(service.path, "generate")
        return Json(await open_job(phaya, caller, service, await read_json(request), strict=strictly(request, phaya)))

    async def estimate(request: Request, phaya: Phaya, caller: Requesting) -> Json:
        phaya.tariff.serve(service.path)
        body = await read_json(request)
        accepted = accept(service, body, strict=strictly(request, phaya))
        return Json(await quote(phaya, caller, accepted))

    async def callback(request: Request) -> Json:
        body = await read_json(request, 2_000_000)
        job, token = (request.query_params.get(name, "") for name in ("job", "token"))
        if not await system(request).workflow.heard(job, token, request.headers, body):
            raise NotFound("There is no job that this callback could belong to.")
        return Json({"code": 200, "msg": "success"})

    name, tags = service.name(), [service.name()]
    rates = tariff.rates(service.path)
    router.add_api_route(
        f"/{service.create_path()}", create, methods=["POST"], name=name, operation_id=f"create_{_word(service.path)}",
        openapi_extra=create_docs(service, rates), responses=plain_docs(), tags=list(tags),
    )  # fmt: skip
    router.add_api_route(
        f"/{service.path}/estimate", estimate, methods=["POST"], name=f"Price of {name}",
        operation_id=f"estimate_{_word(service.path)}", openapi_extra=create_docs(service, rates, estimate=True),
        responses=plain_docs(), tags=list(tags),
    )  # fmt: skip
    # Without FastAPI's reading of parameters, which would cost as much as all the rest: callbacks come in crowds.
    router.add_route(f"/{service.path}/callback", callback, methods=["POST"], include_in_schema=False)


def _add_home(router: APIRouter, home: str, services: list[type[Generation]], tariff: Tariff) -> None:
    """The routes by job: one set where a service is at home, shared where several are."""
    paths = tuple(service.path for service in services)

    def spoken(job: Job) -> type[Generation]:
        """In whose words a job is told here: its own at its home, elsewhere those of the place."""
        return tariff.services[job.service] if job.service in paths else services[0]

    async def status(job_id: str, phaya: Phaya, caller: Polling) -> Json:
        job = await own_job(phaya, caller, job_id)
        return Json(tell(phaya, job, spoken(job)))

    async def cancel(job_id: str, phaya: Phaya, caller: Requesting) -> Json:
        job = await own_job(phaya, caller, job_id)
        caller.need(job.service, "generate")
        done = await phaya.workflow.cancel(job_id, caller.account_id)
        message = "The job was cancelled and its credits returned." if done else "The job has already ended."
        return Json({"success": done, "message": message})

    async def history(
        phaya: Phaya,
        caller: Requesting,
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        status_filter: str | None = None,
    ) -> Json:
        states = _states(services[0], status_filter)
        found = await phaya.database.read(jobs.history, caller.account_id, paths, limit, states)
        return Json({"success": True, "history": [tell(phaya, job, spoken(job)) for job in found]})

    name = services[0].name() if len(services) == 1 else home.replace("-", " ").capitalize()
    tags = [name]
    router.add_api_route(
        f"/{home}/status/{{job_id}}", status, methods=["GET"], name=f"Status of {name}",
        operation_id=f"status_{_word(home)}", openapi_extra=status_docs(name, services), responses=plain_docs(),
        tags=list(tags),
    )  # fmt: skip
    router.add_api_route(
        f"/{home}/cancel/{{job_id}}", cancel, methods=["POST"], name=f"Cancel {name}",
        operation_id=f"cancel_{_word(home)}", responses=plain_docs(), tags=list(tags),
    )  # fmt: skip
    router.add_api_route(
        f"/{home}/history", history, methods=["GET"], name=f"History of {name}",
        operation_id=f"history_{_word(home)}", responses=plain_docs(), tags=list(tags),
    )  # fmt: skip


def _word(path: str) -> str:
    return path.replace("-", "_").replace("/", "_")


async def open_job(
    phaya: System, caller: Caller, service: type[Generation], body: Any, *, strict: bool
) -> Mapping[str, object]:
    """Validates, prices, checks inputs, charges and starts; or only prices where `dry_run` is asked for."""
    phaya.tariff.serve(service.path)
    accepted = accept(service, body, strict=strict)
    dry = body.get("dry_run", False)
    if not isinstance(dry, bool):
        raise Invalid(Fault("dry_run", "must be true or false"))
    if dry:
        return await quote(phaya, caller, accepted)
    await phaya.offers.check(accepted.request)
    request = await phaya.intake.take(accepted.request)
    rates = phaya.tariff.rates(service.path)
    call, ways = await phaya.offers.ways(request)
    job = phaya.workflow.draft(
        caller.account_id,
        caller.key.id,
        service.path,
        request,
        call,
        request.price(rates),
        service.minutes,
    )
    kept_rates = None if service.cost is Generation.cost else write_rates(rates)
    job = replace(job, ways=ways, rates=kept_rates)
    left = await phaya.workflow.open(job)
    return {
        "success": True,
        "job_id": job.id,
        "id": job.id,
        "task_id": None,
        "service": service.path,
        "status": first_word(service),
        "state": job.state,
        "message": MESSAGES[job.state],
        "credits_used": job.price,
        "credits_balance": left,
        "status_url": f"{phaya.public_url}/api/v1/{service.home()}/status/{job.id}",
        "sandbox": job.sandbox,
        "warnings": [*accepted.warnings, *phaya.workflow.roster.kie_routes.notes(call)],
    }


async def quote(phaya: System, caller: Caller, accepted: Accepted[Generation]) -> Mapping[str, object]:
    """The price of a request; nothing is charged and nothing started."""
    service, request = type(accepted.request), accepted.request
    if service.priced_by_length:
        request = await phaya.intake.take(request, keep=False)
    price = request.price(phaya.tariff.rates(service.path))
    most = "" if service.cost is Generation.cost else "at most "
    balance = await phaya.balance(caller.account_id)
    return {
        "success": True,
        "dry_run": True,
        "service": service.path,
        "credits": price,
        "credits_used": NOTHING,
        "credits_balance": balance,
        "affordable": balance >= price,
        "message": f"This would cost {most}{price} credits; nothing was charged.",
        "warnings": [*accepted.warnings, *phaya.workflow.roster.kie_routes.notes(request.call())],
    }


async def own_job(phaya: System, caller: Caller, job_id: str) -> Job:
    """The caller's job. Raises NotFound for unknown jobs and, in the same words, for those of others."""
    job = await phaya.database.read(jobs.find, job_id, caller.account_id)
    if job is None or job.service not in phaya.tariff.services:
        raise NotFound(f"There is no job {job_id[:64]}.")
    return job


def tell(phaya: System, job: Job, route: type[Generation]) -> Mapping[str, object]:
    """A job in the words and fields of the route that was asked, whichever service made it."""
    kept = phaya.results.told(job)
    shown = kept if job.state is State.COMPLETED else None
    result = shown.links[0] if shown and shown.links else None
    message = job.error if job.state is State.FAILED else MESSAGES[job.state]
    if job.state is State.COMPLETED and kept is None:
        message = "The result was deleted after its storage time."
    answer: dict[str, object] = {
        "success": True,
        "job_id": job.id,
        "id": job.id,
        "task_id": job.ticket,
        "service": job.service,
        "status": route.words.spell(job.state),
        "state": job.state,
        "progress": round(_progress(phaya, job), 3),
        "message": message,
        **route.answer.spell(shown),
        "result_url": result,
        "error": job.error if job.state in (State.FAILED, State.CANCELLED) else None,
        "error_code": job.error_code,
        "credits_used": job.price,
        "credits_refunded": job.returned,
        "created_at": phaya.written(job.created_at),
        "completed_at": phaya.written(job.ended_at),
        "processing_time_ms": (job.ended_at or phaya.clock.now()) - job.created_at,
        "sandbox": job.sandbox,
    }
    if (ways := unpack_ways(job.ways)) and ways.current != job.service:
        answer["made_by"] = ways.current
    if kept and kept.links and job.state in (State.FAILED, State.CANCELLED):
        # It arrived after the refund; it is the user's, without a second charge.
        told = list(kept.links) or [*phaya.tariff.services[job.service].answer.spell(kept).values()]
        answer["late_result"] = cast("JsonValue", told)
    return answer


def _progress(phaya: System, job: Job) -> float:
    """How far the job is, 0..1. KIE tells nothing of it for most models: then by the time such jobs take."""
    if job.progress or job.state is not State.PROCESSING:
        return job.progress / 1000
    age = (phaya.clock.now() - job.created_at) / 1000
    return 0.95 * (1 - math.exp(-age / phaya.tariff.services[job.service].seconds))


def _states(service: type[Generation], word: str | None) -> tuple[State, ...]:
    if not word:
        return ()
    states = tuple(State(state) for state in service.words.states(word))
    if not states:
        allowed = ", ".join(dict.fromkeys([*service.words.value, *State]))
        raise Invalid(Fault("status_filter", f"must be one of {allowed}", "enum", "query"))
    return states
