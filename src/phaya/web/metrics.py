"""`/metrics`: what this node counted, and how the whole stands, for Prometheus."""

from __future__ import annotations

import asyncio
import hmac
import platform
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from fastapi import APIRouter, Request
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from phaya import __version__
from phaya.breaker import Rest
from phaya.credits import Credits
from phaya.errors import Forbidden
from phaya.figures import Figures, seconds
from phaya.system import System
from phaya.web.caller import Phaya

FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"})
"""Headers by which a proxy says that somebody else asks."""


def routes() -> APIRouter:
    """The one route, outside of the OpenAPI document."""
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    async def metrics(request: Request, phaya: Phaya) -> Response:  # pyright: ignore[reportUnusedFunction]
        admit(request, phaya.settings.metrics_token)
        families = await whole(phaya)
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        # Thousands of lines are written beside the loop, which goes on meanwhile.
        text = await asyncio.to_thread(encode, Page(families))
        return Response(text, headers={"Content-Type": kind, "Cache-Control": "no-store"})

    return router


def admit(request: Request, token: str | None) -> None:
    """Lets the holder of the token in, and this machine where nobody asks through it. Raises Forbidden.

    The figures tell strangers how the business goes.
    """
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if token is not None and kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
        return
    if token is None and _from_here(request):
        return
    raise Forbidden(
        "The metrics need PHAYA_METRICS_TOKEN as a bearer token."
        if token is not None
        else "The metrics are for this machine only. Set PHAYA_METRICS_TOKEN to read them from elsewhere with it."
    )


def _from_here(request: Request) -> bool:
    if request.client is None or not FORWARDED.isdisjoint(request.headers.keys()):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


class Page(Collector):
    """What this process counts by itself, and some families that were gathered for this reading."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """All of it."""
        yield from REGISTRY.collect()
        yield from self._families


async def whole(phaya: System) -> list[Metric]:
    """What is not counted by this process: figures of the whole, and what holds at this moment."""
    figures = await phaya.census.figures()
    resting = await phaya.breaker.resting()
    up = GaugeMetricFamily("phaya_database_up", "Whether the database answered when it was last asked.")
    up.add_metric([], float(phaya.census.up))
    writable = _gauge(
        "phaya_database_writable", "Whether the database could be written then.", float(phaya.census.writable)
    )
    return [
        *_here(phaya),
        up,
        writable,
        *_circuits(phaya, resting),
        *(_counted(figures) if figures is not None else ()),
    ]


def _here(phaya: System) -> Iterator[Metric]:
    database = "postgresql" if phaya.settings.database_url else "sqlite"
    told = {"version": __version__, "python": platform.python_version(), "database": database}
    yield InfoMetricFamily("phaya_build", "What runs here.", told)
    yield _gauge("phaya_sandbox", "1 while the sandbox answers in place of providers.", float(phaya.settings.sandbox))
    yield _gauge("phaya_waits_open", "Requests and streams that wait for a job here.", phaya.lookout.waiting)
    alone = phaya.limits.meters.alone_since is not None
    yield _gauge("phaya_limits_alone", "1 while this node counts limits for itself, as Redis is away.", float(alone))


def _circuits(phaya: System, resting: Mapping[str, Rest]) -> Iterator[Metric]:
    roster = phaya.workflow.roster
    names = {
        name: 0.0
        for name, there in (
            ("kie", roster.kie is not None),
            ("openrouter", phaya.openrouter is not None),
            ("gemini", roster.gemini is not None),
        )
        if there
    }
    family = GaugeMetricFamily(
        "phaya_circuit_resting", "1 while a provider, or one of its models, is left alone.", labels=["circuit"]
    )
    for name, value in (names | dict.fromkeys(resting, 1.0)).items():
        family.add_metric([name], value)
    yield family


def _counted(figures: Figures) -> Iterator[Metric]:
    yield _gauge("phaya_figures_timestamp_seconds", "When the figures of the whole were counted.",
                 figures.counted_at / 1000)  # fmt: skip
    yield _family("phaya_jobs", "Jobs that have not ended.", ("service", "state"), figures.open)
    yield _family("phaya_queue_jobs", "Jobs that something is still to be done for.", ("lane", "step"), figures.steps)
    ages = {(lane,): seconds(age) for lane, age in figures.ages.items()}
    yield _family("phaya_queue_age_seconds", "How long the oldest queued job has waited.", ("lane",), ages)
    late = {(lane,): seconds(age) for lane, age in figures.late.items()}
    yield _family("phaya_queue_late_seconds", "By how much the job is overdue that nobody takes.", ("lane",), late)
    yield _gauge("phaya_webhooks_pending", "Deliveries of webhooks that are not over.", figures.deliveries)
    yield _gauge("phaya_webhooks_late_seconds", "By how much the oldest of them is overdue.",
                 seconds(figures.deliveries_late))  # fmt: skip
    known = {("enabled",): figures.endpoints - figures.endpoints_disabled, ("disabled",): figures.endpoints_disabled}
    yield _family("phaya_webhook_endpoints", "Webhooks of accounts.", ("state",), known)
    if (books := figures.books) is not None:
        yield _gauge("phaya_ledger_checked_timestamp_seconds", "When the ledger was last looked at.",
                     books.checked_at / 1000)  # fmt: skip
        yield _gauge("phaya_ledger_accounts_adrift", "Balances that are not the sum of their entries.", books.adrift)
        credits = float(str(Credits(books.units)))
        yield _gauge("phaya_ledger_drift_credits", "By how many credits, all together.", credits)


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _family(name: str, help: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, help, labels=labels)
    for marks, value in sorted(values.items()):
        family.add_metric(marks, value)
    return family
