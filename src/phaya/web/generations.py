"""The routes of every generation service, made from the catalog."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, cast

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import JsonValue
from starlette.responses import Response

from phaya import jobs
from phaya.catalog.acceptance import Accepted, accept
from phaya.catalog.service import Generation
from phaya.clock import SECOND
from phaya.credits import NOTHING
from phaya.errors import Fault, Invalid, NotFound, TooLarge
from phaya.jobs import Job, Search, State
from phaya.system import System
from phaya.tariff import Tariff, write_rates
from phaya.ways import unpack_ways
from phaya.web.answers import Json
from phaya.web.caller import Caller, Listening, Phaya, Polling, Requesting, system
from phaya.web.openapi import KNOWN, SEEN, create_docs, event_docs, first_word, plain_docs, status_docs
from phaya.web.preferences import preferences
from phaya.web.waits import (
    CancelAfter,
    IfNoneMatch,
    LastEventId,
    Patience,
    Prefer,
    Wait,
    event_answer,
    poll_after,
    status_answer,
)

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
    return phaya.settings.strict or preferences(request).get("handling", "").lower() == "strict"


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
    async def create(
        request: Request,
        phaya: Phaya,
        caller: Requesting,
        wait: Wait = None,
        prefer: Prefer = None,
        cancel_after: CancelAfter = None,
    ) -> Json:
        caller.need(service.path, "generate")
        patience = Patience.of(request, wait)
        with patience.place(phaya, caller):  # refused before the charge, not after it
            body, strict = await read_json(request), strictly(request, phaya)
            opened = await open_job(phaya, caller, service, body, strict=strict, cancel_after=cancel_after)
            if patience.seconds and not opened.get("dry_run"):
                opened = await _settled(request, phaya, caller, opened, patience)
        return Json(opened, headers=patience.headers)

    async def estimate(request: Request, phaya: Phaya, caller: Requesting) -> Json:
        phaya.tariff.serve(service.path)
        body = await read_json(request)
        accepted = accept(service, body, strict=strictly(request, phaya))
        return Json(await quote(phaya, caller, accepted))

    async def callback(request: Request, job: str, token: str) -> Json:
        body = await read_json(request, 2_000_000)
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
    router.add_api_route(f"/{service.path}/callback", callback, methods=["POST"], include_in_schema=False)


def _add_home(router: APIRouter, home: str, services: list[type[Generation]], tariff: Tariff) -> None:
    """The routes by job: one set where a service is at home, shared where several are."""
    paths = tuple(service.path for service in services)

    def spoken(job: Job) -> type[Generation]:
        """In whose words a job is told here: its own at its home, elsewhere those of the place."""
        return tariff.services[job.service] if job.service in paths else services[0]

    async def status(
        job_id: str,
        request: Request,
        phaya: Phaya,
        caller: Polling,
        wait: Wait = None,
        prefer: Prefer = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        find = partial(own_job, phaya, caller, job_id)
        return await status_answer(request, phaya, caller, wait, find, lambda job: tell(phaya, job, spoken(job)))

    async def events(
        job_id: str, request: Request, phaya: Phaya, caller: Listening, last_event_id: LastEventId = None
    ) -> Response:
        find = partial(own_job, phaya, caller, job_id)
        return await event_answer(request, phaya, find, lambda job: tell(phaya, job, spoken(job)))

    async def cancel(job_id: str, phaya: Phaya, caller: Requesting) -> Json:
        return await call_off(phaya, caller, await own_job(phaya, caller, job_id))

    async def history(
        phaya: Phaya,
        caller: Requesting,
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        status_filter: str | None = None,
    ) -> Json:
        states = _states(services[0], status_filter)
        found = await phaya.database.read(jobs.history, caller.account_id, Search.of(paths, states), limit)
        return Json({"success": True, "history": [tell(phaya, job, spoken(job)) for job in found]})

    name = services[0].name() if len(services) == 1 else home.replace("-", " ").capitalize()
    tags = [name]
    router.add_api_route(
        f"/{home}/status/{{job_id}}", status, methods=["GET"], name=f"Status of {name}",
        operation_id=f"status_{_word(home)}", openapi_extra=status_docs(name, services),
        responses=plain_docs() | KNOWN, tags=list(tags),
    )  # fmt: skip
    router.add_api_route(
        f"/{home}/status/{{job_id}}/events", events, methods=["GET"], name=f"Progress of {name}",
        operation_id=f"events_{_word(home)}", response_class=Response, openapi_extra=event_docs(),
        responses=plain_docs() | SEEN, tags=list(tags),
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
    phaya: System,
    caller: Caller,
    service: type[Generation],
    body: Any,
    *,
    strict: bool,
    cancel_after: int | None = None,
) -> Mapping[str, object]:
    """Validates, prices, checks inputs, charges and starts; or only prices where `dry_run` is asked for.

    After `cancel_after` seconds the job is cancelled, if it has not ended by then.
    """
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
    cancel_at = None if cancel_after is None else job.created_at + cancel_after * SECOND
    job = replace(job, ways=ways, rates=kept_rates, cancel_at=cancel_at)
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


async def _settled(
    request: Request, phaya: System, caller: Caller, opened: Mapping[str, object], patience: Patience
) -> Mapping[str, object]:
    """A create answer that waited: with the status of its job where that ended in time, else as it was."""
    job_id = str(opened["job_id"])
    await patience.end_of(job_id, request, phaya)
    job = await own_job(phaya, caller, job_id)
    if not job.state.ended:
        return opened
    told = tell(phaya, job, phaya.tariff.services[job.service])
    return {**opened, **told, "credits_balance": await phaya.balance(caller.account_id)}


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


async def call_off(phaya: System, caller: Caller, job: Job) -> Json:
    """Cancels the caller's job, if it has not ended. Raises Forbidden."""
    caller.need(job.service, "generate")
    done = await phaya.workflow.cancel(job.id, caller.account_id)
    message = "The job was cancelled and its credits returned." if done else "The job has already ended."
    return Json({"success": done, "message": message})


def tell(phaya: System, job: Job, route: type[Generation]) -> Mapping[str, object]:
    """A job in the words and fields of the route that was asked, whichever service made it."""
    kept = phaya.results.told(job)
    shown = kept if job.state is State.COMPLETED else None
    result = shown.links[0] if shown and shown.links else None
    message = job.error if job.state is State.FAILED else MESSAGES[job.state]
    if job.state is State.COMPLETED and kept is None:
        message = "The result was deleted after its storage time."
    usual = phaya.tariff.services[job.service].seconds
    answer = tell_row(
        phaya, job, route.words.spell(job.state), message, {**route.answer.spell(shown), "result_url": result}, usual
    )
    if (ways := unpack_ways(job.ways)) and ways.current != job.service:
        answer["made_by"] = ways.current
    if kept and kept.links and job.state in (State.FAILED, State.CANCELLED):
        # It arrived after the refund; it is the user's, without a second charge.
        told = list(kept.links) or [*phaya.tariff.services[job.service].answer.spell(kept).values()]
        answer["late_result"] = cast("JsonValue", told)
    return answer


def tell_row(
    phaya: System, job: Job, status: str, message: str | None, result: Mapping[str, object], usual: float
) -> dict[str, object]:
    """What any job's row says, with its status word, message and result fields. `usual` is how many seconds such
    jobs take."""
    age = (phaya.clock.now() - job.created_at) / SECOND
    progress = job.progress / 1000
    if not progress and job.state is State.PROCESSING:
        # KIE tells nothing of it for most models: then by the time such jobs take.
        progress = round(0.95 * (1 - math.exp(-age / usual)), 2)
    answer: dict[str, object] = {
        "success": True,
        "job_id": job.id,
        "id": job.id,
        "task_id": job.ticket,
        "service": job.service,
        "status": status,
        "state": job.state,
        "progress": progress,
        "message": message,
        **result,
        "error": job.error if job.state in (State.FAILED, State.CANCELLED) else None,
        "error_code": job.error_code,
        "credits_used": job.price,
        "credits_refunded": job.returned,
        "created_at": phaya.written(job.created_at),
        "completed_at": phaya.written(job.ended_at),
        "processing_time_ms": (job.ended_at or phaya.clock.now()) - job.created_at,
        "poll_after": None if job.state.ended else poll_after(age, usual),
        "sandbox": job.sandbox,
    }
    if job.cancel_at is not None:
        answer["cancel_at"] = phaya.written(job.cancel_at)
    return answer


def _states(service: type[Generation], word: str | None) -> tuple[State, ...]:
    if not word:
        return ()
    states = tuple(State(state) for state in service.words.states(word))
    if not states:
        allowed = ", ".join(dict.fromkeys([*service.words.value, *State]))
        raise Invalid(Fault("status_filter", f"must be one of {allowed}", "enum", "query"))
    return states
