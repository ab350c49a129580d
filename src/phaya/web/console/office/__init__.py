"""The operator's pages of the console. For everybody else they are not there."""

from __future__ import annotations

from fastapi import APIRouter

from phaya.web.console.office import accounts, audit, prices, providers, queue, reconcile, sandbox, vouchers


def install(router: APIRouter) -> None:
    """All of them."""
    for part in (accounts, prices, providers, queue, reconcile, vouchers, sandbox, audit):
        part.install(router)
