"""What this process counts about itself, for Prometheus. Figures of the whole, which the database knows, are in
figures.py. Labels take few values: routes by their template, never by the address that was asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # a second series beside each, which nobody reads

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Upper bounds of buckets, in seconds, for answers."""
SLOW = (1, 2, 5, 10, 20, 30, 60, 90, 120, 180, 300, 450, 600, 900, 1800, 3600)
"""The same for jobs."""


@dataclass(slots=True)
class Tally:
    """Requests of one route that were answered alike: how many by the bucket of their seconds, and these together."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(FAST) + 1))
    seconds: float = 0.0

    def count(self, seconds: float) -> None:
        """One more."""
        self.buckets[bisect_left(FAST, seconds)] += 1
        self.seconds += seconds


class Requests(Collector):
    """What was answered, by method, route template and status.

    The library's own counters take a lock at every request, which costs a poll more than finding its job. Here only
    the thread of the event loop counts, and only it is scraped.
    """

    def __init__(self) -> None:
        self._tallies: defaultdict[tuple[str, str, str], Tally] = defaultdict(Tally)

    def tally(self, method: str, route: str, status: str) -> Tally:
        """Where such requests are counted."""
        return self._tallies[method, route, status]

    def collect(self) -> Iterator[Metric]:
        """The figures for a scrape."""
        requests = CounterMetricFamily(
            "phaya_requests",
            "Requests answered, by route template and status.",
            labels=("method", "route", "status"),
        )
        routes: defaultdict[tuple[str, str], list[Tally]] = defaultdict(list)
        for (method, route, status), tally in self._tallies.items():
            requests.add_metric((method, route, status), sum(tally.buckets))
            routes[method, route].append(tally)
        yield requests
        seconds = HistogramMetricFamily(
            "phaya_request_seconds",
            "Seconds until an answer began. Requests that asked to wait have routes of their own, which end in "
            "' (waiting)'.",
            labels=("method", "route"),
        )
        for names, tallies in routes.items():
            counts = accumulate(map(sum, zip(*(tally.buckets for tally in tallies), strict=True)))
            buckets = [
                ("+Inf" if bound == inf else str(float(bound)), count)
                for bound, count in zip((*FAST, inf), counts, strict=True)
            ]
            seconds.add_metric(names, buckets=buckets, sum_value=sum(tally.seconds for tally in tallies))
        yield seconds


REQUESTS = Requests()
REGISTRY.register(REQUESTS)
OPEN_REQUESTS = Gauge("phaya_requests_open", "Requests under way, streams and waits among them.")
REFUSED = Counter("phaya_limits_refused", "Requests refused by a limit.", ("limit",))

JOBS_OPENED = Counter("phaya_jobs_opened", "Jobs and chats that were accepted and charged.", ("service",))
JOBS_ENDED = Counter("phaya_jobs_ended", "Jobs and chats that have ended, by their last state.", ("service", "state"))
JOB_SECONDS = Histogram(
    "phaya_job_seconds", "Seconds from the acceptance of a job to its completion.", ("service",), buckets=SLOW
)

PROVIDER_REQUESTS = Counter(
    "phaya_provider_requests",
    "Requests to providers, by how they ended: ok, rejected, out_of_order, exhausted, unavailable, crowded, unknown, "
    "not_there, cut_off, cancelled or fault.",
    ("provider", "kind", "outcome"),
)
PROVIDER_SECONDS = Histogram(
    "phaya_provider_seconds",
    "Seconds of a request to a provider; of a stream, until it began.",
    ("provider", "kind"),
    buckets=FAST,
)
BUDGET_SPENT = Counter("phaya_provider_budget_spent", "Calls taken of a provider key's budget.", ("budget", "key"))
BUDGET_EMPTY = Counter(
    "phaya_provider_budget_empty", "Calls that a provider key's budget had no room for.", ("budget", "key")
)
BUDGET_LIMIT = Gauge(
    "phaya_provider_budget_limit", "Calls that a provider key's budget allows in a second.", ("budget", "key")
)

DELIVERIES = Counter(
    "phaya_webhook_attempts", "Attempts to deliver webhooks: delivered, again, failed or gone.", ("outcome",)
)
STORAGE_FAILURES = Counter("phaya_storage_failures", "Times that the storage of files did not answer.")
