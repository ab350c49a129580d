"""Create: pick a service by what it makes, fill in its form, see the price, get the result."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, cast

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from phaya import jobs
from phaya.catalog.acceptance import accept
from phaya.catalog.service import Generation
from phaya.credits import Credits
from phaya.errors import Closed, NotFound, PhayaError
from phaya.idempotency import Answer, Stamp, Taken, fingerprint
from phaya.web.answers import Json
from phaya.web.console import forms, translations
from phaya.web.console.shown import show
from phaya.web.console.visit import Visit, add
from phaya.web.generations import Order, created, draft, quote
from phaya.web.media import keep_file
from phaya.web.repeats import json_answer

KINDS = ("video", "image", "audio", "text")
"""What services make, in the order in which it is shown."""


def install(router: APIRouter) -> None:
    """The pages."""
    add(router, "/", picker)
    add(router, "/create/{service:path}", form)
    add(router, "/create/{service:path}", buy, "POST")
    add(router, "/price/{service:path}", price, "POST")
    add(router, "/upload", upload, "POST")


async def picker(visit: Visit) -> Response:
    """Every service on sale, by what it makes."""
    closures = await visit.phaya.offers.closures()
    tariff = visit.phaya.tariff
    groups: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for path, service in tariff.services.items():
        if not visit.signed.key.allows(path, "generate"):
            continue
        closed = closures.get(path)
        groups.setdefault(service.answer.media, []).append(
            {
                "path": path,
                "name": translations.name(visit.language, service),
                "summary": translations.summary(visit.language, service),
                "sought": f"{service.name()} {service.summary()}",
                "rates": _range(tariff.rates(path).values()),
                "seconds": service.seconds,
                "closed": visit.tell(closed) if closed else None,
            }
        )
    return await visit.render("create.html", groups={kind: found for kind, found in groups.items() if found})


async def form(visit: Visit) -> Response:
    """One service's form, empty, with its example, or with what another job was asked."""
    service, query = _service(visit), visit.request.query_params
    given: Mapping[str, Any] = {}
    if again := query.get("again"):
        given = await _asked_before(visit, service, again)
    elif query.get("example"):
        given = {name: value for name, value in service.example.items() if name not in service.inputs()}
    elif url := query.get("input"):
        field = query.get("field", "")
        if field in service.inputs():
            given = {field: url}
    closed: Closed | None = (await visit.phaya.offers.closures()).get(service.path)
    return await visit.render(
        "form.html", service=service, name=translations.name(visit.language, service),
        summary=translations.summary(visit.language, service), once=str(uuid.uuid4()),
        fields=translations.spoken(visit.language, service, forms.fields_of(service, given)),
        closed=visit.tell(closed) if closed else None,
    )  # fmt: skip


async def price(visit: Visit) -> Response:
    """What the form would cost as it stands, and the balance after it; a form that is not ready says why."""
    service = _service(visit)
    caller = await visit.polling()
    try:
        visit.phaya.tariff.serve(service.path)
        told = await quote(visit.phaya, caller, accept(service, forms.read(service, visit.form)))
    except PhayaError as error:
        return Json({"ready": False, "message": visit.tell(error, service)})
    cost, balance = told["credits"], told["credits_balance"]
    assert isinstance(cost, Credits)
    assert isinstance(balance, Credits)
    words = visit.say("create.cost", cost=cost, currency=visit.phaya.settings.currency)
    after = balance - cost
    short = after.units < 0
    rest = visit.say("create.short", missing=-after) if short else visit.say("create.after", after=after)
    warnings = [visit.tell_text(one) for one in cast("list[str]", told["warnings"])]
    return Json({"ready": not short, "cost": words, "after": rest, "warnings": warnings})


async def buy(visit: Visit) -> Response:
    """Charges and starts the job. The form carries a key, so that sending it twice buys once."""
    service, phaya = _service(visit), visit.phaya
    caller = await visit.admitted()
    caller.need(service.path, "generate")
    body = forms.read(service, visit.form)
    once = visit.form.get("once", "")
    stamp = Stamp(caller.account_id, once[:255], fingerprint(f"console {service.path}", body)) if once else None
    try:
        order = await draft(phaya, caller, service, body, strict=False, stamp=stamp)
        assert isinstance(order, Order)  # a form asks for no dry run
        bought = order

        def tell(left: Credits) -> Answer:
            return json_answer(created(phaya, service, bought, left))

        await phaya.workflow.open(order.job, stamp=stamp, tell=tell)
        job_id = order.job.id
    except Taken as before:
        job_id = before.job_id
    if not visit.partial:
        return visit.back(f"/jobs/{job_id}")
    job = await phaya.database.read(jobs.find, job_id, caller.account_id)
    assert job is not None
    answer = await visit.render("part-job.html", job=show(visit, job), large=True)
    answer.headers["X-Once"] = str(uuid.uuid4())
    return answer


async def upload(visit: Visit) -> Response:
    """A file that was dropped into a form."""
    caller = await visit.admitted()
    caller.need("media/upload", "generate")
    return Json(await keep_file(visit.request, visit.phaya, caller))


async def _asked_before(visit: Visit, service: type[Generation], job_id: str) -> Mapping[str, Any]:
    """What one of the account's jobs was asked. Its inputs may be copies of ours by now."""
    job = await visit.phaya.database.read(jobs.find, job_id, visit.account_id)
    if job is None or job.service != service.path:
        return {}
    asked: dict[str, Any] = orjson.loads(job.request)

    def open_to_read(address: str) -> str:
        kept = "://" not in address and not address.startswith("data:")
        return visit.phaya.results.storage.link(address) if kept else address

    for name in service.inputs():
        value = asked.get(name)
        if isinstance(value, str):
            asked[name] = open_to_read(value)
        elif value:
            asked[name] = [open_to_read(one) for one in value]
    return asked


def _service(visit: Visit) -> type[Generation]:
    service = visit.phaya.tariff.services.get(visit.request.path_params["service"])
    if service is None:
        raise NotFound(visit.say("create.unknown"))
    return service


def _range(rates: Any) -> tuple[Credits, Credits]:
    amounts = sorted(rates)
    return amounts[0], amounts[-1]
