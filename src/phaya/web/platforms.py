"""Which sites films may be downloaded from."""

from __future__ import annotations

from fastapi import APIRouter

from phaya.catalog.downloads import VideoDownload
from phaya.providers.platforms import Platforms
from phaya.web.answers import Json
from phaya.web.caller import Phaya
from phaya.web.openapi import plain_docs
from phaya.web.paths import API


def routes() -> APIRouter:
    """The list of sites; it needs no key."""
    router = APIRouter(prefix=API)

    @router.get(
        f"/{VideoDownload.path}/supported-platforms",
        tags=[VideoDownload.name()],
        operation_id="supported_platforms",
        responses=plain_docs(),
    )
    async def supported(phaya: Phaya) -> Json:  # pyright: ignore[reportUnusedFunction]
        """The sites by name, each with its hosts; empty where downloads are off."""
        allowed = Platforms.named(phaya.settings.download_platforms).allowed
        fields = VideoDownload.model_json_schema()["properties"]
        return Json(
            {
                "success": True,
                "platforms": [
                    {"name": platform.name, "title": platform.title, "hosts": platform.hosts} for platform in allowed
                ],
                "formats": fields["format"]["enum"],
                "qualities": fields["quality"]["enum"],
                "max_mb": phaya.settings.download_max_mb,
            }
        )

    return router
