"""Where an account hears of its jobs: endpoints, their secrets, and the log of what was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from phaya import deliveries, webhooks
from phaya.clock import written
from phaya.deliveries import Condition, Delivery
from phaya.errors import Fault, Invalid
from phaya.system import System
from phaya.web.answers import Json
from phaya.web.caller import Caller, Phaya, Requesting
from phaya.web.openapi import MAYBE_TEXT, TEXT, Schema, object_of, plain_docs, told_docs
from phaya.web.paths import API
from phaya.web.wishes import read_wish
from phaya.webhooks import JOB_EVENTS, Endpoint, Event, Signer

LARGEST_BODY = 100_000
EXAMPLE = {"url": "https://example.com/hooks/phaya", "events": ["job.completed", "job.failed"]}

_TRUE: Schema = {"const": True}
_WARNINGS: Schema = {"type": "array", "items": TEXT}
_SECRET: Schema = {"success": _TRUE, "secret": TEXT, "former_until": MAYBE_TEXT}
_ENDPOINT: Schema = {
    "id": TEXT,
    "url": TEXT,
    "events": {"type": "array", "items": {"type": "string", "enum": list(JOB_EVENTS)}},
    "enabled": {"type": "boolean"},
    "trouble": MAYBE_TEXT,
    "created_at": TEXT,
    "disabled_at": MAYBE_TEXT,
}
_DELIVERY: Schema = {
    "id": TEXT,
    "event": {"type": "string", "enum": list(Event)},
    "webhook_id": MAYBE_TEXT,
    "job_id": MAYBE_TEXT,
    "url": TEXT,
    "state": {"type": "string", "enum": list(Condition)},
    "attempts": {"type": "integer"},
    "last_status": {"type": ["integer", "null"]},
    "trouble": MAYBE_TEXT,
    "created_at": TEXT,
    "next_attempt_at": MAYBE_TEXT,
    "ended_at": MAYBE_TEXT,
}


class Wish(BaseModel):
    """What an endpoint is to be like; what is left out stays as it is."""

    model_config = ConfigDict(strict=True)

    url: Annotated[str | None, Field(max_length=webhooks.LONGEST, description="Where events are sent.")] = None
    events: Annotated[
        list[str] | None,
        Field(description=f"Events to be told: {', '.join(JOB_EVENTS)}. An empty list: all, also later ones."),
    ] = None


W = TypeVar("W", bound=Wish)


class NewEndpoint(Wish):
    """A new endpoint."""

    url: Annotated[str, Field(max_length=webhooks.LONGEST, description="Where events are sent.")]  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues] - required here, and never written to


class Change(Wish):
    """An endpoint made different."""

    enabled: Annotated[bool | None, Field(description="Whether anything is sent.")] = None


def routes() -> APIRouter:
    """Everything below `webhooks`."""
    router = APIRouter(prefix=f"{API}/webhooks", tags=["Webhooks"])
    # Fixed paths stand before those with an id, which would match them too.
    _add_account(router)
    _add_log(router)
    _add_endpoints(router)
    return router


def _add_account(router: APIRouter) -> None:
    docs = plain_docs()

    @router.get(
        "/secret", operation_id="webhook_account_secret", responses=docs,
        openapi_extra=told_docs("The secret that signs what is sent to a job's webhook_url", _SECRET),
    )  # fmt: skip
    async def secret(phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        caller.need("webhooks")
        return _secret(phaya, await phaya.database.read(webhooks.account_signer, caller.account_id))

    @router.post(
        "/secret/rotate", operation_id="webhook_account_rotate", responses=docs,
        openapi_extra=told_docs("Change that secret; the former one signs too for 24 hours", _SECRET),
    )  # fmt: skip
    async def rotate(phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        caller.need("webhooks")
        now = phaya.clock.now()
        return _secret(phaya, await phaya.database.write(webhooks.rotate_account, caller.account_id, now))


def _add_log(router: APIRouter) -> None:
    docs = plain_docs()
    page = {"success": _TRUE, "deliveries": _list_of(_DELIVERY), "next_cursor": MAYBE_TEXT}

    @router.get(
        "/deliveries", operation_id="webhook_deliveries", responses=docs,
        openapi_extra=told_docs("What was told to whom, newest first", page),
    )  # fmt: skip
    async def log(  # pyright: ignore[reportUnusedFunction]
        phaya: Phaya,
        caller: Requesting,
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        state: Condition | None = None,
        endpoint: Annotated[str | None, Query(max_length=64)] = None,
        job_id: Annotated[str | None, Query(max_length=64)] = None,
        cursor: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Json:
        """Deliveries are remembered for 30 days. `cursor` is the `next_cursor` of the page before."""
        caller.need("webhooks")
        found, following = await phaya.database.read(
            deliveries.listing, caller.account_id, limit, state=state, endpoint=endpoint, job_id=job_id, cursor=cursor
        )
        return Json({"success": True, "deliveries": [_delivery(one) for one in found], "next_cursor": following})

    @router.post(
        "/deliveries/{delivery_id}/redeliver", operation_id="webhook_redeliver", responses=docs,
        openapi_extra=told_docs("Tell an event once more", {"success": _TRUE, "delivery": object_of(_DELIVERY)}),
    )  # fmt: skip
    async def redeliver(delivery_id: str, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Makes a new delivery, with an id of its own, to where the webhook is now."""
        caller.need("webhooks")
        made = await phaya.database.write(deliveries.redeliver, caller.account_id, delivery_id, phaya.clock.now())
        return _sent(phaya, made)


def _add_endpoints(router: APIRouter) -> None:
    docs = plain_docs()
    told: Schema = {"success": _TRUE, "webhook": object_of(_ENDPOINT), "warnings": _WARNINGS}
    shown: Schema = {"success": _TRUE, "webhook": object_of(_ENDPOINT)}

    @router.get(
        "", operation_id="webhooks", responses=docs,
        openapi_extra=told_docs("Your webhooks, oldest first", {"success": _TRUE, "webhooks": _list_of(_ENDPOINT)}),
    )  # fmt: skip
    async def listing(phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        caller.need("webhooks")
        found = await phaya.database.read(webhooks.listing, caller.account_id)
        return Json({"success": True, "webhooks": [_endpoint(one) for one in found]})

    @router.post(
        "", operation_id="webhook_create", responses=docs,
        openapi_extra=told_docs("Have your jobs' ends told", {**told, "secret": TEXT}, NewEndpoint, EXAMPLE),
    )  # fmt: skip
    async def create(request: Request, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """At most 20 for an account. The answer's `secret` verifies what is sent."""
        wish, warnings = await _wish(request, phaya, caller, NewEndpoint)
        made = await phaya.database.write(
            webhooks.create, caller.account_id, wish.url, wish.events or [], phaya.clock.now()
        )
        shown = {"webhook": _endpoint(made), "secret": made.signer.secret(phaya.secret), "warnings": warnings}
        return Json({"success": True, **shown})

    @router.get(
        "/{webhook_id}", operation_id="webhook", responses=docs, openapi_extra=told_docs("One of your webhooks", shown)
    )
    async def one(webhook_id: str, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        caller.need("webhooks")
        return Json({"success": True, "webhook": _endpoint(await _own(phaya, caller, webhook_id))})

    @router.post(
        "/{webhook_id}", operation_id="webhook_change", responses=docs,
        openapi_extra=told_docs("Change its address or events, enable it", told, Change, EXAMPLE | {"enabled": True}),
    )  # fmt: skip
    async def change(webhook_id: str, request: Request, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """What is left out stays as it is. What still waits to be told goes to the new address."""
        wish, warnings = await _wish(request, phaya, caller, Change)
        changed = await phaya.database.write(
            webhooks.change, caller.account_id, webhook_id, phaya.clock.now(),
            url=wish.url, events=wish.events, enabled=wish.enabled,
        )  # fmt: skip
        return Json({"success": True, "webhook": _endpoint(changed), "warnings": warnings})

    @router.delete(
        "/{webhook_id}", operation_id="webhook_delete", responses=docs,
        openapi_extra=told_docs("Delete a webhook", {"success": _TRUE, "id": TEXT, "deleted": _TRUE}),
    )  # fmt: skip
    async def delete(webhook_id: str, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """What still waits to be told to it fails."""
        caller.need("webhooks")
        await phaya.database.write(webhooks.remove, caller.account_id, webhook_id)
        return Json({"success": True, "id": webhook_id, "deleted": True})

    @router.get(
        "/{webhook_id}/secret", operation_id="webhook_secret", responses=docs,
        openapi_extra=told_docs("The secret that signs what is sent to it", _SECRET),
    )  # fmt: skip
    async def secret(webhook_id: str, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        caller.need("webhooks")
        return _secret(phaya, (await _own(phaya, caller, webhook_id)).signer)

    @router.post(
        "/{webhook_id}/rotate", operation_id="webhook_rotate", responses=docs,
        openapi_extra=told_docs("Change its secret; the former one signs too for 24 hours", _SECRET),
    )  # fmt: skip
    async def rotate(webhook_id: str, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        caller.need("webhooks")
        made = await phaya.database.write(webhooks.rotate, caller.account_id, webhook_id, phaya.clock.now())
        return _secret(phaya, made.signer)

    @router.post(
        "/{webhook_id}/test", operation_id="webhook_test", responses=docs,
        openapi_extra=told_docs("Send it a webhook.test", {"success": _TRUE, "delivery": object_of(_DELIVERY)}),
    )  # fmt: skip
    async def test(webhook_id: str, phaya: Phaya, caller: Requesting) -> Json:  # pyright: ignore[reportUnusedFunction]
        """Answers at once; what became of it is in the log of deliveries."""
        caller.need("webhooks")
        made = await phaya.database.write(deliveries.test, caller.account_id, webhook_id, phaya.clock.now())
        return _sent(phaya, made)


async def _wish(request: Request, phaya: System, caller: Caller, model: type[W]) -> tuple[W, list[str]]:
    """The body, read and checked, and what was ignored of it. Raises Forbidden or Invalid."""
    caller.need("webhooks")
    wish, warnings = await read_wish(request, phaya, model, LARGEST_BODY, _check_events)
    changes: dict[str, object] = {}
    if wish.url is not None:
        changes["url"] = webhooks.checked_url(webhooks.guard(phaya.settings.allowed_networks), wish.url, "url")
    if wish.events is not None:
        changes["events"] = list(dict.fromkeys(wish.events))
    return wish.model_copy(update=changes), warnings


def _check_events(wish: Wish) -> None:
    if strange := [event for event in wish.events or () if event not in JOB_EVENTS]:
        raise Invalid(Fault("events", f"must be of {', '.join(JOB_EVENTS)}, not {strange[0][:64]!r}", "enum"))


async def _own(phaya: System, caller: Caller, webhook_id: str) -> Endpoint:
    return await phaya.database.read(webhooks.find, caller.account_id, webhook_id)


def _secret(phaya: System, signer: Signer) -> Json:
    until = signer.former_until(phaya.clock.now())
    return Json({"success": True, "secret": signer.secret(phaya.secret), "former_until": written(until)})


def _sent(phaya: System, delivery: Delivery) -> Json:
    phaya.workflow.spread()
    return Json({"success": True, "delivery": _delivery(delivery)})


def _endpoint(endpoint: Endpoint) -> Mapping[str, object]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": endpoint.events or JOB_EVENTS,
        "enabled": endpoint.disabled_at is None,
        "trouble": endpoint.trouble,
        "created_at": written(endpoint.created_at),
        "disabled_at": written(endpoint.disabled_at),
    }


def _delivery(delivery: Delivery) -> Mapping[str, object]:
    return {
        "id": delivery.id,
        "event": delivery.event,
        "webhook_id": delivery.endpoint_id,
        "job_id": delivery.job_id,
        "url": delivery.url,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "last_status": delivery.status,
        "trouble": delivery.trouble,
        "created_at": written(delivery.created_at),
        "next_attempt_at": written(delivery.next_at),
        "ended_at": written(delivery.ended_at),
    }


def _list_of(properties: Schema) -> Schema:
    return {"type": "array", "items": object_of(properties)}
