"""The catalog: every service that Phaya sells. A new service is a class in one of these files, no more."""

from __future__ import annotations

from phaya.catalog.actors import ACTORS
from phaya.catalog.audio import AUDIO
from phaya.catalog.captions import CAPTIONS
from phaya.catalog.downloads import DOWNLOADS
from phaya.catalog.editing import EDITING
from phaya.catalog.images import IMAGES
from phaya.catalog.newcomers import NEWCOMERS
from phaya.catalog.service import Generation
from phaya.catalog.speech import SPEECH
from phaya.catalog.videos import VIDEOS

CATALOG: tuple[type[Generation], ...] = (
    *IMAGES,
    *VIDEOS,
    *ACTORS,
    *NEWCOMERS,
    *AUDIO,
    *SPEECH,
    *EDITING,
    *CAPTIONS,
    *DOWNLOADS,
)

SERVICES: dict[str, type[Generation]] = {service.path: service for service in CATALOG}
"""The services by path."""
