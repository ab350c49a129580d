"""The routes of every generation service, made from the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from phaya import jobs, telling, webhooks
from phaya.catalog.acceptance import Accepted, accept
from phaya.catalog.service import Generation
from phaya.credits import NOTHING, Credits
from phaya.errors import Fault, Invalid, NotFound, TooLarge
from phaya.idempotency import Answer, Stamp
from phaya.jobs import Job, Search, State
from phaya.redaction import asked
from phaya.system import System
from phaya.tariff import Tariff, write_rates
from phaya.telling import MESSAGES
from phaya.web.answers import Json
from phaya.web.bodies import unfit
from phaya.web.caller import Caller, Listening, Phaya, Polling, Requesting, system
from phaya.web.openapi import KNOWN, SEEN, create_docs, event_docs, first_word, paid_docs, plain_docs, status_docs
from phaya.web.paths import API
from phaya.web.preferences import preferences
from phaya.web.repeats import Repeatable, Sent, given, json_answer, look
from phaya.web.waits import (
    CancelAfter,
    IfNoneMatch,
    LastEventId,
    Patience,
    Prefer,
    Wait,
    event_answer,
    status_answer,
)

LARGEST_BODY = 32_000_000
"""Bytes of a JSON body at the most; inputs may be data URLs."""


LARGEST_TEXT = 4_000_000
"""The same where there is nothing in it but text."""


async def read_json(request: Request, largest: int = LARGEST_BODY) -> Any:
    """The request's JSON body. Raises TooLarge, before it is read where its length is told, or Invalid where it is no
    JSON, or `unfit`."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and (len(told) > 12 or int(told) > largest):
        raise _too_large(largest)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            raise _too_large(largest)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(Fault("body", f"is not JSON: {error}", "json_invalid")) from None
    if (fault := unfit(found, body)) is not None:
        raise Invalid(fault)
    asked.set(found)
    return found


def _too_large(largest: int) -> TooLarge:
    return TooLarge(f"The body has more than {largest / 1e6:g} MB.")


def largest_body(service: type[Generation]) -> int:
    """Bytes of a body that asks for a service."""
    return LARGEST_BODY if service.inputs() else LARGEST_TEXT


def strictly(request: Request, phaya: System) -> bool:
    """Whether slips are refused: by setting, or by `Prefer: handling=strict` (RFC 7240)."""
    return phaya.settings.strict or preferences(request).get("handling", "").lower() == "strict"


def routes(tariff: Tariff) -> APIRouter:
    """Create, estimate and callback of each service on sale; status, cancel and history of each home."""
    router = APIRouter(prefix=API)
    for service in tariff.services.values():
        _add_service(router, service, tariff)
    for home in homes(tariff):
        _add_home(router, home)
    return router


@dataclass(frozen=True, eq=False)
class Home:
    """Where jobs are asked for: a path, and the services whose home it is. Most have one of their own."""

    path: str
    services: Sequence[type[Generation]]

    @cached_property
    def template(self) -> str:
        """Its status route, as the metrics name it."""
        return f"/api/v1/{self.path}/status/{{job_id}}"

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The services' own paths."""
        return tuple(service.path for service in self.services)

    def tell(self, phaya: System, job: Job) -> Mapping[str, object]:
        """A job as it is told here: in its own service's words at its home, elsewhere in those of the place."""
        return tell(phaya, job, phaya.tariff.services[job.service] if job.service in self.paths else self.services[0])


def homes(tariff: Tariff) -> list[Home]:
    """The homes of the services on sale."""
    found: dict[str, list[type[Generation]]] = {}
    for service in tariff.services.values():
        found.setdefault(service.home(), []).append(service)
    return [Home(path, services) for path, services in found.items()]


def _add_service(router: APIRouter, service: type[Generation], tariff: Tariff) -> None:
    async def create(
        request: Request,
        phaya: Phaya,
        caller: Requesting,
        sent: Sent,
        wait: Wait = None,
        prefer: Prefer = None,
        cancel_after: CancelAfter = None,
    ) -> Response:
        patience = Patience.of(request, wait)
        with patience.place(phaya, caller):  # refused before the charge, not after it
            response, order = await place(service, request, phaya, caller, sent, cancel_after)
            if order and patience.seconds and (told := await _settled(request, phaya, caller, order, patience)):
                response = Json(told)
        response.headers.update(patience.headers)
        return response

    async def estimate(request: Request, phaya: Phaya, caller: Requesting) -> Json:
        phaya.tariff.serve(service.path)
        body = await read_json(request, largest_body(service))
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
        openapi_extra=create_docs(service, rates), responses=paid_docs(), tags=list(tags),
    )  # fmt: skip
    router.add_api_route(
        f"/{service.path}/estimate", estimate, methods=["POST"], name=f"Price of {name}",
        operation_id=f"estimate_{_word(service.path)}", openapi_extra=create_docs(service, rates, estimate=True),
        responses=plain_docs(), tags=list(tags),
    )  # fmt: skip
    # Without FastAPI's reading of parameters, which would cost as much as all the rest: callbacks come in crowds. Such
    # a route does not know the prefix of its router.
    router.add_route(f"{API}/{service.path}/callback", callback, methods=["POST"], include_in_schema=False)


def _add_home(router: APIRouter, home: Home) -> None:
    """The routes by job: one set where a service is at home, shared where several are."""
    services = home.services

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
        return await status_answer(request, phaya, caller, wait, find, partial(home.tell, phaya))

    async def events(
        job_id: str, request: Request, phaya: Phaya, caller: Listening, last_event_id: LastEventId = None
    ) -> Response:
        find = partial(own_job, phaya, caller, job_id)
        return await event_answer(request, phaya, find, partial(home.tell, phaya))

    async def cancel(job_id: str, phaya: Phaya, caller: Requesting) -> Json:
        return await call_off(phaya, caller, await own_job(phaya, caller, job_id))

    async def history(
        phaya: Phaya,
        caller: Requesting,
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        status_filter: str | None = None,
    ) -> Json:
        states = _states(services[0], status_filter)
        found = await phaya.database.read(jobs.history, caller.account_id, Search.of(home.paths, states), limit)
        return Json({"success": True, "history": [home.tell(phaya, job) for job in found]})

    name = services[0].name() if len(services) == 1 else home.path.replace("-", " ").capitalize()
    tags = [name]
    router.add_api_route(
        f"/{home.path}/status/{{job_id}}", status, methods=["GET"], name=f"Status of {name}",
        operation_id=f"status_{_word(home.path)}", openapi_extra=status_docs(name, services),
        responses=plain_docs() | KNOWN, tags=list(tags),
    )  # fmt: skip
    router.add_api_route(
        f"/{home.path}/status/{{job_id}}/events", events, methods=["GET"], name=f"Progress of {name}",
        operation_id=f"events_{_word(home.path)}", response_class=Response, openapi_extra=event_docs(),
        responses=plain_docs() | SEEN, tags=list(tags),
    )  # fmt: skip
    router.add_api_route(
        f"/{home.path}/cancel/{{job_id}}", cancel, methods=["POST"], name=f"Cancel {name}",
        operation_id=f"cancel_{_word(home.path)}", responses=plain_docs(), tags=list(tags),
    )  # fmt: skip
    router.add_api_route(
        f"/{home.path}/history", history, methods=["GET"], name=f"History of {name}",
        operation_id=f"history_{_word(home.path)}", responses=plain_docs(), tags=list(tags),
    )  # fmt: skip


def _word(path: str) -> str:
    return path.replace("-", "_").replace("/", "_")


async def place(
    service: type[Generation],
    request: Request,
    phaya: System,
    caller: Caller,
    sent: Repeatable,
    cancel_after: int | None = None,
) -> tuple[Response, Order | None]:
    """Carries out a create: its answer, and what was bought, if it was no question for the price only.

    Raises what can be wrong with it, and Taken where the request was accepted before.
    """
    caller.need(service.path, "generate")
    body, strict = await read_json(request, largest_body(service)), strictly(request, phaya)
    stamp = sent.stamp(caller, body)
    order = await draft(phaya, caller, service, body, strict=strict, stamp=stamp, cancel_after=cancel_after)
    if not isinstance(order, Order):
        return Json(order), None
    return given(await buy(phaya, service, order, stamp)), order


@dataclass(frozen=True, slots=True)
class Order:
    """A request that was validated, priced and drafted, and is not bought yet."""

    job: Job
    warnings: Sequence[str]


async def draft(
    phaya: System,
    caller: Caller,
    service: type[Generation],
    body: Any,
    *,
    strict: bool,
    stamp: Stamp | None,
    cancel_after: int | None = None,
) -> Order | Mapping[str, object]:
    """Validates, checks inputs and prices; answers the price itself where `dry_run` is asked for.

    After `cancel_after` seconds the job is to be cancelled, if it has not ended by then. Raises Taken where the
    request was accepted before, besides all that can be wrong with it.
    """
    await look(phaya, stamp)
    phaya.tariff.serve(service.path)
    accepted = accept(service, body, strict=strict)
    dry = body.get("dry_run", False)
    if not isinstance(dry, bool):
        raise Invalid(Fault("dry_run", "must be true or false"))
    hook = _webhook_url(phaya, body)
    if dry:
        return await quote(phaya, caller, accepted)
    if service.inputs() or service.page() is not None:  # before they are fetched
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
        ways=ways,
        rates=None if service.cost is Generation.cost else write_rates(rates),
        webhook_url=hook,
        cancel_after=cancel_after,
    )
    return Order(job, [*accepted.warnings, *phaya.workflow.roster.kie_routes.notes(call)])


async def buy(phaya: System, service: type[Generation], order: Order, stamp: Stamp | None) -> Answer:
    """Opens the job and takes its price; what the create answers. Raises what `Workflow.open` raises."""

    def tell(left: Credits) -> Answer:
        return json_answer(created(phaya, service, order, left))

    return tell(await phaya.workflow.open(order.job, stamp=stamp, tell=tell))


def created(phaya: System, service: type[Generation], order: Order, left: Credits) -> Mapping[str, object]:
    """What a create answers, with what is left of the balance."""
    job = order.job
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
        "warnings": order.warnings,
    }


def _webhook_url(phaya: System, body: Mapping[str, object]) -> str | None:
    """Who is told of the job's end, if anybody. Raises Invalid."""
    given = body.get("webhook_url")
    if given is None:
        given = body.get("webhook")
    if given is None:
        return None
    return webhooks.checked_url(webhooks.guard(phaya.settings.allowed_networks), given, "webhook_url")


async def _settled(
    request: Request, phaya: System, caller: Caller, order: Order, patience: Patience
) -> Mapping[str, object] | None:
    """What a create that waited answers where its job ended in time: its status, with what a create tells besides."""
    await patience.end_of(order.job.id, request, phaya)
    job = await own_job(phaya, caller, order.job.id)
    if not job.state.ended:
        return None
    service = phaya.tariff.services[job.service]
    left = await phaya.balance(caller.account_id)
    return {**created(phaya, service, order, left), **tell(phaya, job, service), "credits_balance": left}


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
        raise unknown(job_id)
    return job


def unknown(job_id: str) -> NotFound:
    """What is said of a job that is not there, or another's."""
    return NotFound(f"There is no job {job_id[:64]}.")


async def call_off(phaya: System, caller: Caller, job: Job) -> Json:
    """Cancels the caller's job, if it has not ended. Raises Forbidden."""
    caller.need(job.service, "generate")
    done = await phaya.workflow.cancel(job.id, caller.account_id)
    message = "The job was cancelled and its credits returned." if done else "The job has already ended."
    return Json({"success": done, "message": message})


def tell(phaya: System, job: Job, route: type[Generation]) -> Mapping[str, object]:
    """A job in the words and fields of the route that was asked, whichever service made it."""
    return telling.tell(phaya.results, phaya.tariff, phaya.clock.now(), job, route)


def _states(service: type[Generation], word: str | None) -> tuple[State, ...]:
    if not word:
        return ()
    states = tuple(State(state) for state in service.words.states(word))
    if not states:
        allowed = ", ".join(dict.fromkeys([*service.words.value, *State]))
        raise Invalid(Fault("status_filter", f"must be one of {allowed}", "enum", "query"))
    return states
