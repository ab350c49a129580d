"""Webhooks: where the account hears of its jobs, and what was told."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from phaya import deliveries, webhooks
from phaya.errors import PhayaError
from phaya.web.console.visit import Visit, add
from phaya.webhooks import JOB_EVENTS

SHOWN = 30


def install(router: APIRouter) -> None:
    """The page and its forms."""
    add(router, "/webhooks", page)
    add(router, "/webhooks", make, "POST")
    add(router, "/webhooks/deliveries/{delivery}/redeliver", redeliver, "POST")
    add(router, "/webhooks/{webhook}/test", test, "POST")
    add(router, "/webhooks/{webhook}/delete", delete, "POST")


async def page(visit: Visit) -> Response:
    """Endpoints and the log."""
    return await _page(visit)


async def make(visit: Visit) -> Response:
    """A new endpoint; its secret is in the answer."""
    await _may(visit)
    phaya, form = visit.phaya, visit.form
    events = [event for event in JOB_EVENTS if event in form.getlist("event")]
    try:
        guard = webhooks.guard(phaya.settings.allowed_networks)
        url = webhooks.checked_url(guard, form.get("url", "").strip(), "url")
        if len(events) == len(JOB_EVENTS):
            events = []  # all, also later ones
        made = await phaya.database.write(webhooks.create, visit.account_id, url, events, phaya.clock.now())
    except PhayaError as error:
        return await _page(visit, error.status, message=visit.tell(error))
    return await _page(visit, secret=made.signer.secret(phaya.secret))


async def delete(visit: Visit) -> Response:
    """No more is sent there."""
    await _may(visit)
    await visit.phaya.database.write(webhooks.remove, visit.account_id, visit.request.path_params["webhook"])
    return visit.back("/webhooks")


async def test(visit: Visit) -> Response:
    """Sends a `webhook.test`."""
    await _may(visit)
    phaya, endpoint = visit.phaya, visit.request.path_params["webhook"]
    await phaya.database.write(deliveries.test, visit.account_id, endpoint, phaya.clock.now())
    phaya.workflow.spread()
    return visit.back("/webhooks#log")


async def redeliver(visit: Visit) -> Response:
    """Tells an event once more."""
    await _may(visit)
    phaya, delivery = visit.phaya, visit.request.path_params["delivery"]
    await phaya.database.write(deliveries.redeliver, visit.account_id, delivery, phaya.clock.now())
    phaya.workflow.spread()
    return visit.back("/webhooks#log")


async def _may(visit: Visit) -> None:
    (await visit.admitted()).need("webhooks")


async def _page(visit: Visit, status: int = 200, *, secret: str | None = None, message: str | None = None) -> Response:
    visit.caller.need("webhooks")
    database = visit.phaya.database
    log, _ = await database.read(
        deliveries.listing, visit.account_id, SHOWN, state=None, endpoint=None, job_id=None, cursor=None
    )
    return await visit.render(
        "webhooks.html", status, endpoints=await database.read(webhooks.listing, visit.account_id), log=log,
        secret=secret, message=message, events=JOB_EVENTS, form=visit.form,
    )  # fmt: skip
