"""The endings of a job that every service goes through, on one database or on both."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest

from conftest import Phaya
from phaya.catalog import CATALOG, SERVICES
from phaya.catalog.service import Generation

# A download needs a page of another site; its endings are those of its own tests.
OURS = [service for service in CATALOG if service.path != "video-download"]
# One for each of the providers' dialects, with the one whose cost is known in the end, and one that is made here.
KINDS = [
    SERVICES[path] for path in ("text-to-image", "text-to-music", "veo31-video", "text-to-speech", "image-to-video")
]
OTHERS = [service for service in OURS if service not in KINDS]
MARKERS = ("[fail]", "[reject]", "[refuse]")


def promptable(services: Iterable[type[Generation]]) -> list[type[Generation]]:
    """Those whose provider can be told by the prompt how a job ends."""
    return [service for service in services if not service.local and "prompt" in service.model_fields]


def each(services: Iterable[type[Generation]]) -> pytest.MarkDecorator:
    """A test for every one of some services."""
    listed = list(services)
    return pytest.mark.parametrize("service", listed, ids=[service.path for service in listed])


async def fails(phaya: Phaya, service: type[Generation], marker: str) -> None:
    """A job that fails costs nothing."""
    key = await phaya.new_key("60")
    created = await phaya.create(service, key, prompt=f"A storm {marker}")

    status = await phaya.finish(service.path, created["job_id"], key)

    assert status["state"] == "failed"
    assert status["status"] == service.words.spell("failed")
    assert status["credits_refunded"] == status["credits_used"] == created["credits_used"]
    assert await phaya.balance(key) == 60
    assert len(status["error"]) > 10
    assert all(status[name] is None for name in (*service.answer.fields, "result_url"))
    assert await phaya.audit() == []


async def succeeds(phaya: Phaya, service: type[Generation]) -> None:
    """A job that succeeds has something to show, and costs its price."""
    key = await phaya.new_key("60")
    created = await phaya.create(service, key)

    status = await phaya.finish(service.home(), created["job_id"], key)

    assert ("completed", None) == (status["state"], status["error"])
    assert any(status[name] for name in service.answer.fields)
    assert await phaya.balance(key) == 60 - Decimal(str(status["credits_used"])) + Decimal(
        str(status["credits_refunded"])
    )
    assert await phaya.audit() == []


async def is_cancelled(phaya: Phaya, service: type[Generation]) -> None:
    """A job that is cancelled gives everything back."""
    key = await phaya.new_key("60")
    slow = {"prompt": "A slow dawn [slow 3]"} if "prompt" in service.model_fields else {}
    job = (await phaya.create(service, key, **slow))["job_id"]

    cancelled = await phaya.post(f"{service.home()}/cancel/{job}", {}, key=key)
    status = await phaya.finish(service.home(), job, key)

    if cancelled.json["success"]:
        assert ("cancelled", service.words.spell("cancelled")) == (status["state"], status["status"])
        assert await phaya.balance(key) == 60
    else:
        assert "completed" == status["state"], "it was quicker than the cancel"
    assert await phaya.audit() == []
