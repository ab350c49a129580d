"""Security: the password, the second step of signing in, and the sessions of an account. Only for who signed in by
password: a key must not lock its owner out."""

from __future__ import annotations

import base64
import uuid
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.responses import Response

from phaya import authenticators, logins, passwords, safety
from phaya.errors import Fault, Forbidden, Invalid, PhayaError
from phaya.logins import Login
from phaya.web.console.signing import TRIES_OF_ACCOUNT
from phaya.web.console.visit import Visit, add


def install(router: APIRouter) -> None:
    """The page and its forms."""
    add(router, "/security", page)
    add(router, "/security/password", change, "POST")
    add(router, "/security/sessions", end, "POST")
    add(router, "/security/totp", begin, "POST")
    add(router, "/security/totp/confirm", confirm, "POST")
    add(router, "/security/totp/codes", renew, "POST")
    add(router, "/security/totp/off", turn_off, "POST")


async def page(visit: Visit) -> Response:
    """The page as it is opened."""
    return await _page(visit)


async def change(visit: Visit) -> Response:
    """A new password; every other session ends."""
    phaya, form = visit.phaya, visit.form
    try:
        login = await _proven(visit)
        if form.get("new", "") != form.get("again", ""):
            raise Invalid(Fault("password", visit.say("sign.unlike")))
        password = await phaya.hashing.run(passwords.hashed, form.get("new", ""))
        now = phaya.clock.now()
        if not await phaya.database.write(safety.change_password, visit.signed, login.password, password, now):
            raise Forbidden(visit.say("security.wrong"))  # changed at this very moment
    except Invalid as error:
        return await _page(visit, error.status, bad=visit.tell_text(error.faults[0].message))
    except PhayaError as error:
        return await _page(visit, error.status, bad=visit.tell(error))
    return await _page(visit, good=visit.say("security.changed"))


async def end(visit: Visit) -> Response:
    """Signs one other browser out, or all others."""
    _owner(visit)
    database, now = visit.phaya.database, visit.phaya.clock.now()
    if which := visit.form.get("session"):
        await database.write(safety.end_session, visit.signed, which, now)
    else:
        await database.write(safety.end_others, visit.signed, now)
    return visit.back("/security#sessions")


async def begin(visit: Visit) -> Response:
    """A secret for an app. It is asked for only once its first code was right."""
    phaya = visit.phaya
    seed = authenticators.draw()
    try:
        await _proven(visit)
        sealed = authenticators.seal(phaya.secret, visit.account_id, seed)
        await phaya.database.write(authenticators.begin, visit.account_id, sealed, phaya.clock.now())
    except PhayaError as error:
        return await _page(visit, error.status, bad=visit.tell(error))
    return await _page(visit, seed=seed)


async def confirm(visit: Visit) -> Response:
    """The first code: from now on the second step is asked for. The recovery codes are in this answer only."""
    _owner(visit)
    phaya, code, once = visit.phaya, visit.form.get("code", ""), _once(visit)
    try:
        now = phaya.clock.now()
        made = await phaya.database.write(safety.turn_on, phaya.secret, visit.signed, code, once, now)
        if made is None:
            seed = await phaya.database.read(authenticators.begun, phaya.secret, visit.account_id)
            return await _page(visit, 422, seed=seed, bad=visit.say("totp.wrong"))
    except PhayaError as error:
        return await _page(visit, error.status, bad=visit.tell(error))
    return await _page(visit, codes=made)


async def renew(visit: Visit) -> Response:
    """New recovery codes, in this answer only."""
    phaya, code, once = visit.phaya, visit.form.get("code", ""), _once(visit)
    try:
        await _proven(visit)
        now = phaya.clock.now()
        made = await phaya.database.write(safety.renew_codes, phaya.secret, visit.signed, code, once, now)
        if made is None:
            raise Forbidden(visit.say("totp.wrong"))
    except PhayaError as error:
        return await _page(visit, error.status, bad=visit.tell(error))
    return await _page(visit, codes=made)


async def turn_off(visit: Visit) -> Response:
    """No second step any more."""
    phaya, code = visit.phaya, visit.form.get("code", "")
    try:
        await _proven(visit)
        if not await phaya.database.write(safety.turn_off, phaya.secret, visit.signed, code, phaya.clock.now()):
            raise Forbidden(visit.say("totp.wrong"))
    except PhayaError as error:
        return await _page(visit, error.status, bad=visit.tell(error))
    return await _page(visit, good=visit.say("totp.stopped"))


async def _page(visit: Visit, status: int = 200, *, seed: bytes | None = None, **shown: Any) -> Response:
    values: dict[str, Any] = {"good": None, "bad": None, "codes": None} | shown
    if visit.signed.owner:
        now = visit.phaya.clock.now()

        def read(connection: Connection) -> dict[str, Any]:
            return {
                "browsers": safety.browsers(connection, visit.account_id, now),
                "totp": authenticators.find(connection, visit.account_id),
            }

        values |= await visit.phaya.database.read(read)
    app = None
    if seed is not None:
        email, host = visit.signed.account.email, urlsplit(visit.phaya.public_url).hostname
        text = base64.b32encode(seed).decode()
        spaced = " ".join(text[start : start + 4] for start in range(0, len(text), 4))
        address = authenticators.address(seed, email, f"Phaya ({host})")
        app = {"secret": spaced, "address": address, "picture": _picture(address)}
    return await visit.render("security.html", status, app=app, once=str(uuid.uuid4()), **values)


def _picture(address: str) -> str:
    """What an app reads, as the address of an image that is all in it."""
    import segno  # nobody needs it before the first app is set up

    drawn = segno.make(address, error="m", micro=False)
    return drawn.svg_data_uri(border=4, scale=4, dark="#000", light="#fff")


async def _proven(visit: Visit) -> Login:
    """The login, whose password the form gives once more. Guesses are counted. Raises Forbidden and QuotaSpent."""
    _owner(visit)
    phaya = visit.phaya
    await phaya.limits.take(visit.account_id, "sign-ins", TRIES_OF_ACCOUNT)
    login = await phaya.database.read(logins.of_account, visit.account_id)
    fits = await phaya.hashing.run(passwords.fits, login and login.password, visit.form.get("password", ""))
    if login is None or not fits:
        raise Forbidden(visit.say("security.wrong"))
    return login


def _once(visit: Visit) -> str:
    """The key of the form, by which it is known when it is sent again."""
    return visit.form.get("once", "")[:100] or str(uuid.uuid4())


def _owner(visit: Visit) -> None:
    if not visit.signed.owner:
        raise Forbidden(visit.say("security.owner"))
