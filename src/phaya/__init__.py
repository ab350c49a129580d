"""Phaya: AI media generation and chat behind one key, one prepaid balance and one plain REST API.

For programs that use a Phaya: `Client`, `AsyncClient` and `verify_webhook`, loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phaya.client import AsyncClient, Client, verify_webhook

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "__version__", "verify_webhook"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from phaya import client

        return getattr(client, name)
    raise AttributeError(f"module 'phaya' has no attribute {name!r}")
