"""A client of Phaya's API."""

from __future__ import annotations

from phaya.client.refusals import ApiError, ClientError, Unreachable
from phaya.client.wire import Wire

__all__ = ["ApiError", "ClientError", "Unreachable", "Wire"]
