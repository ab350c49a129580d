"""How pages are made: templates, what all of them know, and the headers that they are sent with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from phaya.credits import NOTHING, Credits, credits
from phaya.system import System
from phaya.web.console.assets import address
from phaya.web.console.messages import LANGUAGES

if TYPE_CHECKING:
    from jinja2 import Environment

    from phaya.web.console.visit import Visit

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "phaya_theme"
LEAST_ROUGH = credits("0.01")

SECTIONS = ("create", "gallery", "jobs", "chat", "keys", "credits", "webhooks", "reference")
"""The pages of the navigation, each at `/` and its name; the first one is at `/` itself."""

OFFICE = ("accounts", "prices", "providers", "queue", "reconcile", "vouchers", "sandbox", "audit")
"""The operator's pages, each at `/operator/` and its name; nobody else sees them."""


@cache
def templates() -> Environment:
    """The templates, read once. Jinja is loaded for the first page: many a Phaya shows none."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = moment
    environment.filters["when"] = when
    environment.filters["rough"] = rough
    environment.filters["clocked"] = clocked
    environment.filters["noted"] = noted
    environment.filters["plain"] = plain
    environment.globals.update(asset=address, languages=LANGUAGES, themes=THEMES)  # pyright: ignore[reportUnknownMemberType, reportCallIssue, reportArgumentType] - untyped in Jinja
    return environment


def answer(visit: Visit, template: str, status: int, values: Mapping[str, Any]) -> Response:
    """A page on its way."""
    theme = visit.request.cookies.get(THEME_COOKIE)
    known = {
        "t": visit.say,
        "told": visit.tell_text,
        "language": visit.language,
        "theme": theme if theme in THEMES else "auto",
        "session": visit.session,
        "path": visit.request.url.path,
        "sections": SECTIONS,
        "office": OFFICE if visit.session is not None and visit.session.operates else (),
        "currency": visit.phaya.settings.currency,
        "sandbox": visit.phaya.settings.sandbox,
        "low": visit.phaya.settings.low_balance,
    }
    text = templates().get_template(template).render(known | dict(values))
    return HTMLResponse(text, status, headers(visit.phaya))


def headers(phaya: System) -> dict[str, str]:
    """What pages are sent with: nothing but our own files runs, and nobody frames them or keeps them."""
    files = f"'self' {_origin(phaya.results.storage.link('a'))}"
    return {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src data: {files}; media-src blob: {files}; connect-src {files}; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Vary": "Cookie, Accept-Language",
    }


def is_secure(phaya: System) -> bool:
    """Whether visitors come over https."""
    return phaya.public_url.startswith("https:")


def cookie_name(phaya: System) -> str:
    """The session's cookie. Over https the prefix makes browsers refuse one that another host set."""
    return "__Host-phaya" if is_secure(phaya) else "phaya_session"


def moment(milliseconds: int | None) -> str:
    """A time as people read it, in UTC."""
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def when(milliseconds: int | None) -> Markup:
    """The same for a page, whose script turns it into the visitor's own time."""
    if milliseconds is None:
        return Markup()
    at = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}">{}</time>').format(at, moment(milliseconds))


def clocked(milliseconds: int) -> str:
    """A time to the second, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def noted(told: str | None) -> str:
    """The same of a time that a command has told, as `clock.written` writes it."""
    return f"{told[:10]} {told[11:19]} UTC" if told else ""


def plain(amount: Decimal) -> str:
    """A provider's amount, digit for digit, without an exponent."""
    return f"{amount:f}"


def rough(amount: Credits) -> str:
    """An amount for a glance: two digits behind the point, cut. The exact one stands beside it or on hovering."""
    if NOTHING < amount < LEAST_ROUGH:
        return f"< {LEAST_ROUGH}"
    whole, _, part = str(amount).partition(".")
    return f"{whole}.{part[:2]}".rstrip("0").rstrip(".") if part else whole


def _origin(link: str) -> str:
    parts = urlsplit(link)
    return f"{parts.scheme}://{parts.netloc}"
