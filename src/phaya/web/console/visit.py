"""One request of the console: who visits, in which language, and whether a form is really ours."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import APIRouter
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from phaya import logins
from phaya.catalog.embedding import EmbeddingRequest
from phaya.catalog.language import ChatRequest
from phaya.catalog.service import Generation
from phaya.errors import Fault, Forbidden, Invalid, NotFound, PhayaError, TooLarge, Unauthorized
from phaya.logins import Session
from phaya.origins import address_of
from phaya.system import System
from phaya.web.answers import Json
from phaya.web.caller import POLLS, REQUESTS, Caller, admit, system
from phaya.web.console import layout, translations
from phaya.web.console.messages import language_of, written

LARGEST_FORM = 1_000_000
"""Bytes of a form, which holds texts and addresses; files are uploaded apart."""
MOST_FIELDS = 500
FOREIGN = "This form did not come from this console. Reload the page and try again."


@dataclass(frozen=True)
class Visit:
    """A request, read."""

    request: Request
    phaya: System
    session: Session | None
    form: ImmutableMultiDict[str, str]

    @cached_property
    def language(self) -> str:
        """The visitor's language."""
        return language_of(self.request)

    @property
    def signed(self) -> Session:
        """The session. Raises Unauthorized."""
        if self.session is None:
            raise Unauthorized("Sign in first.")
        return self.session

    @property
    def caller(self) -> Caller:
        """Who acts, as every door of the API knows it."""
        return Caller(self.signed.key)

    @property
    def account_id(self) -> str:
        """Who pays."""
        return self.signed.account.id

    @property
    def partial(self) -> bool:
        """Whether our script asks, which puts the answer into the page."""
        return self.request.headers.get("x-part") == "1"

    def say(self, key: str, **values: object) -> str:
        """A message in the visitor's language."""
        return written(self.language, key, values)

    def name_of(self, path: str | None) -> str:
        """What is sold at a path, as the visitor's language calls it."""
        service = self.phaya.tariff.services.get(path or "")
        if service is not None:
            return translations.name(self.language, service)
        known = {ChatRequest.path: "call.chat", EmbeddingRequest.path: "call.embedding"}
        return self.say(known[path]) if path in known else path or ""

    def tell(self, error: PhayaError, service: type[Generation] | None = None) -> str:
        """What went wrong, in plain words; of a service's form with the names that its fields have there."""
        return translations.refusal(self.language, error, service)

    def tell_text(self, said: str) -> str:
        """A sentence of Phaya's in the visitor's language."""
        return translations.sentence(self.language, said)

    async def admitted(self, quota: str = REQUESTS) -> Caller:
        """The caller, counted in one of its windows. Raises QuotaSpent."""
        await admit(self.request, self.phaya, self.signed.key, quota)
        return self.caller

    async def polling(self) -> Caller:
        """The same for what is asked often."""
        return await self.admitted(POLLS)

    async def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page, or a part of one."""
        session = self.session
        common: dict[str, Any] = {}
        if session is not None:
            common = {"balance": await self.phaya.balance(session.account.id), "csrf": csrf(self.phaya, session)}
        return layout.answer(self, template, status, common | values)

    def back(self, path: str) -> Response:
        """On to another page, after a form."""
        return RedirectResponse(path, 303, {"Cache-Control": "no-store"})


Page = Callable[[Visit], Awaitable[Response]]


def add(router: APIRouter, path: str, page: Page, *methods: str, public: bool = False, office: bool = False) -> None:
    """Hangs a page in; whoever is not signed in is led to the door first, unless it is public. The pages of the office
    are there for operators only."""

    async def endpoint(request: Request) -> Response:
        visit = Visit(request, system(request), None, ImmutableMultiDict())
        try:
            visit = await _enter(visit, public=public, office=office)
            return await page(visit)
        except Unauthorized as error:
            if visit.partial or request.method != "GET":
                return await _refused(visit, error)
            return RedirectResponse(f"/sign-in?next={quote(request.url.path)}", 303, {"Cache-Control": "no-store"})
        except PhayaError as error:
            return await _refused(visit, error)

    router.add_route(path, endpoint, methods=list(methods or ("GET",)), include_in_schema=False)


def csrf(phaya: System, session: Session) -> str:
    """What the forms of a session carry, and nobody else can know."""
    return hmac.digest(phaya.secret, f"console form {session.hash}".encode(), "sha256").hex()


async def _enter(visit: Visit, *, public: bool, office: bool) -> Visit:
    request, phaya = visit.request, visit.phaya
    session = None
    if token := request.cookies.get(layout.cookie_name(phaya)):
        try:
            session = await phaya.database.read(logins.resume, token, phaya.clock.now())
        except Unauthorized:
            if not public and not office:
                raise
    if office and (session is None or not session.operates):
        raise NotFound(visit.say("office.none"))
    if session is None and not public:
        raise Unauthorized("Sign in first.")
    if session is not None:
        session.key.check_origin(address_of(request.scope.get("client")))
    if session is not None and phaya.clock.now() - session.seen_at > logins.SEEN_EVERY:
        await phaya.database.write(logins.seen, session.hash, phaya.clock.now())
    form: ImmutableMultiDict[str, str] = ImmutableMultiDict()
    if request.method == "POST":
        _same_site(request, phaya)
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            form = await _read_form(request)
        if session is not None:
            given = request.headers.get("x-csrf") or form.get("csrf") or ""
            if not hmac.compare_digest(given.encode(), csrf(phaya, session).encode()):
                raise Forbidden(FOREIGN)
    return Visit(request, phaya, session, form)


def _same_site(request: Request, phaya: System) -> None:
    """Raises Forbidden where another site's page sends the request. Browsers name themselves in one way or both."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden(FOREIGN)
    origin = request.headers.get("origin")
    ours = {request.headers.get("host", ""), urlsplit(phaya.public_url).netloc}
    if origin is not None and urlsplit(origin).netloc not in ours:
        raise Forbidden(FOREIGN)


async def _read_form(request: Request) -> ImmutableMultiDict[str, str]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise TooLarge(f"The form has more than {LARGEST_FORM // 1_000_000} MB.")
    try:
        read = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Invalid(Fault("form", "cannot be read")) from None
    if wrong := next((name for name, text in read if "\0" in text), None):  # PostgreSQL takes none in a text
        raise Invalid(Fault(wrong, "must hold no NUL character"))
    return ImmutableMultiDict(read)


async def _refused(visit: Visit, error: PhayaError) -> Response:
    service = visit.phaya.tariff.services.get(visit.request.path_params.get("service", ""))
    words = visit.tell(error, service)
    if visit.partial:
        told: Mapping[str, object] = {"error": error.code, "message": words}
        return Json(told, error.status, {"Cache-Control": "no-store"})
    return await visit.render("refused.html", error.status, message=words)
