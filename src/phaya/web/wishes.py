"""Small JSON bodies of routes that are no services: read, checked, and told what was ignored of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, ValidationError

from phaya.catalog.acceptance import faults
from phaya.errors import Fault, Invalid
from phaya.system import System
from phaya.web.generations import read_json, strictly

M = TypeVar("M", bound=BaseModel)


async def read_wish(
    request: Request, phaya: System, model: type[M], largest: int, check: Callable[[M], None] | None = None
) -> tuple[M, list[str]]:
    """The body as the model says it, and warnings. It has `largest` bytes at the most; `check` raises what else can be
    wrong with it.

    Raises TooLarge, or Invalid; where slips are refused also for what would be ignored.
    """
    body = await read_json(request, largest)
    if not isinstance(body, dict):
        raise Invalid(Fault("body", "must be a JSON object", "model_type"))
    given = cast("dict[str, Any]", body)
    try:
        wish = model.model_validate(given)
    except ValidationError as error:
        raise Invalid(*faults(error)) from None
    if check is not None:
        check(wish)
    warnings = [f"Unknown field '{name}' was ignored." for name in given if name not in model.model_fields]
    if warnings and strictly(request, phaya):
        raise Invalid(*(Fault("body", warning, "strict") for warning in warnings))
    return wish, warnings
