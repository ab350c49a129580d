"""What this process counts about itself, for Prometheus. Figures of the whole, which the database knows, are in
figures.py. Labels take few values: routes by their template, never by the address that was asked for."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # a second series beside each, which nobody reads

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Upper bounds of buckets, in seconds, for answers."""
SLOW = (1, 2, 5, 10, 20, 30, 60, 90, 120, 180, 300, 450, 600, 900, 1800, 3600)
"""The same for jobs."""

REQUESTS = Counter("phaya_requests", "Requests answered, by route template and status.", ("method", "route", "status"))
REQUEST_SECONDS = Histogram(
    "phaya_request_seconds",
    "Seconds until an answer began. Requests that asked to wait have routes of their own, which end in ' (waiting)'.",
    ("method", "route"),
    buckets=FAST,
)
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
