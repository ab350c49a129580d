"""A client of Phaya's API: `Client`, and `AsyncClient` for programs that run an event loop."""

from __future__ import annotations

from phaya.client.asynchronous import AsyncClient, Reply
from phaya.client.jobs import AsyncJob, Job
from phaya.client.refusals import ApiError, BadSignature, ClientError, JobFailed, Unreachable
from phaya.client.signatures import verify_webhook
from phaya.client.synchronous import Client
from phaya.client.wire import Wire

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncJob",
    "BadSignature",
    "Client",
    "ClientError",
    "Job",
    "JobFailed",
    "Reply",
    "Unreachable",
    "Wire",
    "verify_webhook",
]
