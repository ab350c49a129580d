"""Which provider makes what a service sells."""

from __future__ import annotations

from phaya.providers.roster import circuits
from phaya.tariff import Tariff

HERE = "here"
"""What is made on this server."""


def maker_of(tariff: Tariff, path: str) -> str:
    """The provider of a service, judged by its example; of what is sold by tokens, OpenRouter."""
    service = tariff.services.get(path)
    if service is None:
        return "openrouter"
    example = service.model_validate(dict(service.example))
    return next(iter(circuits(example.with_lengths(dict.fromkeys(example.inputs(), 1.0)).call())), HERE)
