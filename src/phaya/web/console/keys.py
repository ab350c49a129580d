"""Keys: made with scope, cap, rate and end, shown once, revoked. Only for who signed in by password: a key must not
make keys that may more than itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.responses import Response

from phaya import keys, logins
from phaya.clock import DAY
from phaya.credits import credits
from phaya.errors import Fault, Forbidden, Invalid, NotFound, PhayaError
from phaya.keys import SCOPES
from phaya.web.console.visit import Visit, add


def install(router: APIRouter) -> None:
    """The page and its forms."""
    add(router, "/keys", page)
    add(router, "/keys", make, "POST")
    add(router, "/keys/{key}/revoke", revoke, "POST")
    add(router, "/keys/{key}/rotate", rotate, "POST")


async def page(visit: Visit) -> Response:
    """The account's keys."""
    return await _page(visit)


async def make(visit: Visit) -> Response:
    """A new key, whose text is in this one answer only."""
    _owner(visit)
    form, phaya = visit.form, visit.phaya
    try:
        cap, rate, days = (form.get(name, "").strip() for name in ("cap", "rate", "days"))
        scopes = [scope for scope in form.getlist("scope") if scope]
        if strange := set(scopes) - set(_scopes(visit)):
            raise Invalid(Fault("scope", f"must be one of {', '.join(_scopes(visit))}, not {min(strange)[:64]}"))
        values: dict[str, Any] = {
            "cap": credits(cap) if cap else None,
            "rate": int(rate) if rate else None,
            "expires_at": phaya.clock.now() + int(days) * DAY if days else None,
            "scopes": scopes,
            "networks": form.get("networks", "").replace(",", " ").split(),
        }

        def mint(connection: Connection, now: int) -> str:
            return keys.mint(connection, phaya.secret, visit.signed.account, form.get("name", ""), now, **values)[0]

        text = await phaya.database.write(mint, phaya.clock.now())
    except (ValueError, OverflowError):
        return await _page(visit, 422, message=visit.say("keys.number"))
    except PhayaError as error:
        return await _page(visit, error.status, message=visit.tell(error))
    return await _page(visit, made=text)


async def rotate(visit: Visit) -> Response:
    """A new text for a key; the former one goes on for a day."""
    _owner(visit)
    phaya, key_id = visit.phaya, visit.request.path_params["key"]
    mine = await phaya.database.read(logins.own_keys, visit.account_id)
    if key_id not in {key.id for key, _, _ in mine}:
        return visit.back("/keys")
    try:
        text, _ = await phaya.database.write(
            keys.rotate, phaya.secret, visit.account_id, key_id, phaya.clock.now(), DAY
        )  # fmt: skip
    except NotFound as error:
        return await _page(visit, error.status, message=error.message)
    return await _page(visit, made=text)


async def revoke(visit: Visit) -> Response:
    """Ends a key for good, and the sessions that act with it."""
    _owner(visit)
    phaya = visit.phaya
    mine = await phaya.database.read(logins.own_keys, visit.account_id)
    if visit.request.path_params["key"] in {key.id for key, _, _ in mine}:
        await phaya.database.write(
            keys.revoke, visit.account_id, visit.request.path_params["key"], phaya.clock.now()
        )  # fmt: skip
        phaya.keyring.forget()
    return visit.back("/keys")


async def _page(visit: Visit, status: int = 200, *, made: str | None = None, message: str | None = None) -> Response:
    listed = await visit.phaya.database.read(logins.own_keys, visit.account_id) if visit.signed.owner else []
    now = visit.phaya.clock.now()
    return await visit.render(
        "keys.html", status, keys=[(key, prefix, at, key.lives(now)) for key, prefix, at in reversed(listed)],
        made=made, message=message, scopes=_scopes(visit), form=visit.form,
    )  # fmt: skip


def _scopes(visit: Visit) -> tuple[str, ...]:
    return (*SCOPES, *visit.phaya.tariff.paths)


def _owner(visit: Visit) -> None:
    if not visit.signed.owner:
        raise Forbidden(visit.say("keys.owner"))
