"""Signing in and out, first passwords, and how the console looks to its visitor."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from phaya import authenticators, halfway, logins, passwords
from phaya.errors import Fault, Invalid, Unauthorized
from phaya.logins import Login
from phaya.origins import address_of, household
from phaya.web.caller import identify
from phaya.web.console import layout, messages
from phaya.web.console.devices import device_of
from phaya.web.console.visit import Visit, add

TRIES_OF_ADDRESS, TRIES_OF_ACCOUNT = 60, 6
"""Attempts a minute from one network address, and for one account."""
YEAR = 365 * 86400


def install(router: APIRouter) -> None:
    """The doors."""
    add(router, "/sign-in", door, public=True)
    add(router, "/sign-in", sign_in, "POST", public=True)
    add(router, "/sign-in/code", second_step, "POST", public=True)
    add(router, "/sign-out", sign_out, "POST")
    add(router, "/welcome/{token}", welcome, public=True)
    add(router, "/welcome/{token}", accept, "POST", public=True)
    add(router, "/preferences", prefer, "POST", public=True)


async def door(visit: Visit) -> Response:
    """The form; whoever is signed in already is let through."""
    if visit.session is not None:
        return visit.back("/")
    return await visit.render("sign-in.html", next=_next(visit), message=None, email="")


async def sign_in(visit: Visit) -> Response:
    """By e-mail and password, or by a key. Whatever is wrong, the words are the same."""
    phaya, form = visit.phaya, visit.form
    email, password, text = form.get("email", ""), form.get("password", ""), form.get("key", "").strip()
    address = address_of(visit.request.scope.get("client"))
    await phaya.limits.take(household(address), "sign-ins", TRIES_OF_ADDRESS)
    try:
        if text:
            key = await identify(phaya, address, text)
            return await _let_in(visit, key.account_id, key.id, owner=False)
        await phaya.limits.take(logins.digest(email.strip().lower()), "sign-ins", TRIES_OF_ACCOUNT)
        login = await phaya.database.read(logins.find, email)
        fits = await phaya.hashing.run(passwords.fits, login and login.password, password)
        if login is None or not fits:
            raise Unauthorized(logins.WRONG)
        if not await phaya.database.read(logins.may_enter, login, phaya.clock.now()):
            message = visit.say("sign.closed")
            return await visit.render("sign-in.html", 403, next=_next(visit), message=message, email=email)
        if passwords.outdated(login.password):
            renewed = await phaya.hashing.run(passwords.hashed, password)
            await phaya.database.write(logins.renew_hash, login.account_id, login.password, renewed)
        return await _let_owner_in(visit, login)
    except Unauthorized:
        message = visit.say("sign.wrong")
        return await visit.render("sign-in.html", 401, next=_next(visit), message=message, email=email)


async def second_step(visit: Visit) -> Response:
    """The code of an app, or a recovery code, after the password. Whatever is wrong with it, the words are the same."""
    phaya, form = visit.phaya, visit.form
    proof, now = form.get("proof", ""), phaya.clock.now()
    await phaya.limits.take(household(address_of(visit.request.scope.get("client"))), "sign-ins", TRIES_OF_ADDRESS)
    try:
        login = await phaya.database.read(halfway.proven, phaya.secret, proof, now)
    except Unauthorized:
        message = visit.say("sign.late")
        return await visit.render("sign-in.html", 401, next=_next(visit), message=message, email="")
    await phaya.limits.take(login.account_id, "sign-ins", TRIES_OF_ACCOUNT)
    code = form.get("code", "")
    if await phaya.database.write(authenticators.spend, phaya.secret, login.account_id, code, now):
        return await _let_in(visit, login.account_id, login.key_id, owner=True)
    return await visit.render(
        "sign-in-code.html", 401, next=_next(visit), proof=proof, message=visit.say("totp.wrong")
    )  # fmt: skip


async def sign_out(visit: Visit) -> Response:
    """Here, or everywhere."""
    database = visit.phaya.database
    if visit.form.get("everywhere"):
        await database.write(logins.end_all, visit.signed)
    else:
        await database.write(logins.end, visit.signed.hash)
    answer = visit.back("/sign-in")
    answer.delete_cookie(layout.cookie_name(visit.phaya), secure=layout.is_secure(visit.phaya), httponly=True)
    return answer


async def welcome(visit: Visit) -> Response:
    """A one-time link, opened. Looking at it does not use it up."""
    found = await visit.phaya.database.read(logins.invitation, _token(visit), visit.phaya.clock.now())
    return await visit.render("welcome.html", invitation=found, message=None, typed="")


async def accept(visit: Visit) -> Response:
    """A first password, or a new one."""
    phaya, form, token = visit.phaya, visit.form, _token(visit)
    found = await phaya.database.read(logins.invitation, token, phaya.clock.now())
    email = found.email or form.get("email", "")
    try:
        if form.get("password", "") != form.get("again", ""):
            raise Invalid(Fault("password", visit.say("sign.unlike")))
        password = await phaya.hashing.run(passwords.hashed, form.get("password", ""))
        now = phaya.clock.now()
        login = await phaya.database.write(logins.accept, phaya.secret, token, email, password, now)
    except Invalid as error:
        first = error.faults[0]
        message = visit.tell_text(first.message) if first.field == "password" else visit.tell(error)
        return await visit.render("welcome.html", 422, invitation=found, message=message, typed=email)
    return await _let_owner_in(visit, login)


async def prefer(visit: Visit) -> Response:
    """Language and light."""
    answer = visit.back(_next(visit))
    secure = layout.is_secure(visit.phaya)
    choices = (("language", messages.COOKIE, tuple(messages.LANGUAGES)), ("theme", layout.THEME_COOKIE, layout.THEMES))
    for field, cookie, allowed in choices:
        if (chosen := visit.form.get(field, "")) in allowed:
            answer.set_cookie(cookie, chosen, max_age=YEAR, samesite="lax", secure=secure, httponly=True)
    return answer


async def _let_owner_in(visit: Visit, login: Login) -> Response:
    """Whose password was right is let in, or asked for the second step first."""
    phaya = visit.phaya
    if await phaya.database.read(authenticators.find, login.account_id) is None:
        return await _let_in(visit, login.account_id, login.key_id, owner=True)
    proof = halfway.proof(phaya.secret, login, phaya.clock.now())
    return await visit.render("sign-in-code.html", next=_next(visit), proof=proof, message=None)


async def _let_in(visit: Visit, account_id: str, key_id: str, *, owner: bool) -> Response:
    phaya, token = visit.phaya, logins.draw()
    now = phaya.clock.now()
    device = device_of(visit.request.headers.get("user-agent", ""))
    await phaya.database.write(logins.begin, token, account_id, key_id, now, owner=owner, device=device)
    answer = visit.back(_next(visit))
    answer.set_cookie(
        layout.cookie_name(phaya), token, max_age=logins.LASTING // 1000, path="/",
        secure=layout.is_secure(phaya), httponly=True, samesite="lax",
    )  # fmt: skip
    return answer


def _token(visit: Visit) -> str:
    return visit.request.path_params["token"]


def _next(visit: Visit) -> str:
    """Where to go afterwards: a path of ours, never another site's address."""
    path = visit.form.get("next") or visit.request.query_params.get("next", "/")
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if safe else "/"
