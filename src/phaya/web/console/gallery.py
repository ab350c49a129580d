"""Gallery: what was made, to look at, hear, download and use again."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from phaya.errors import Fault, Invalid
from phaya.jobs import State
from phaya.web.console.jobs import page_of
from phaya.web.console.shown import show
from phaya.web.console.visit import Visit, add

PAGE = 24
KINDS = ("image", "video", "audio")


def install(router: APIRouter) -> None:
    """The page."""
    add(router, "/gallery", gallery)


async def gallery(visit: Visit) -> Response:
    """Finished jobs that have files, newest first."""
    kind = visit.request.query_params.get("kind", "")
    if kind and kind not in KINDS:
        raise Invalid(Fault("kind", f"must be one of {', '.join(KINDS)}", "enum", "query"))
    services = visit.phaya.tariff.services
    wanted = tuple(path for path, service in services.items() if service.answer.media in ((kind,) if kind else KINDS))
    found, following, _ = await page_of(visit, wanted, PAGE, State.COMPLETED)
    shown = [job for job in (show(visit, one) for one in found) if job.files]
    return await visit.render("gallery.html", jobs=shown, following=following, kind=kind, kinds=KINDS)
