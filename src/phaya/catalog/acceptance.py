"""From a client's body to a frozen request: unknown fields are named, known slips mended, faults explained."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from phaya.catalog.fields import RATIO_NAMES
from phaya.catalog.service import Generation
from phaya.errors import Fault, Invalid

CONTROLS = ("dry_run", "webhook_url")
"""Fields that every create takes beside the service's own."""
CONTROL_SLIPS = {"webhook": "webhook_url"}
"""Other names under which they come."""
NAMED = 20
"""Unknown fields that are named: to look for what was meant takes time in which nobody else is answered."""
LONGEST_NAME = 64
"""Characters of one that are told."""

G = TypeVar("G", bound=Generation)


@dataclass(frozen=True)
class Accepted(Generic[G]):
    """A request as it will be priced and sent, and what was changed or ignored on the way."""

    request: G
    warnings: list[str]


def accept(service: type[G], body: object, *, strict: bool = False) -> Accepted[G]:
    """Reads a body for a service. Raises Invalid; in strict mode also where it would warn."""
    if not isinstance(body, Mapping):
        raise Invalid(Fault("body", "must be a JSON object", "model_type"))
    warnings: list[str] = []
    values: dict[str, Any] = {}
    given = cast("Mapping[str, Any]", body)
    mended = {str(name): value for name, value in given.items() if value is not None}
    warnings.extend(service.mend(mended))
    names = service.model_fields
    spellings = service.spellings()
    unknown: list[str] = []
    for name, value in mended.items():
        if name in names:
            values[name] = value
        elif name in CONTROLS:
            continue
        elif (control := CONTROL_SLIPS.get(name)) and control not in mended:
            warnings.append(f"'{name}' was read as '{control}'.")
        elif (meant := spellings.get(name)) and meant not in mended and meant not in values:
            values[meant] = value
            warnings.append(f"'{name}' was read as '{meant}'.")
        else:
            unknown.append(name)
    warnings.extend(_ignored(unknown, [*names, *spellings], mended))
    for name in values:
        values[name] = _mend_value(name, values[name], names[name].annotation, warnings)
    try:
        request = service.model_validate(values)
    except ValidationError as error:
        raise Invalid(*faults(error)) from None
    warnings.extend(request.notes())
    if strict and warnings:
        raise Invalid(*(Fault("body", warning, "strict") for warning in warnings))
    return Accepted(request, warnings)


def _ignored(unknown: Sequence[str], known: Sequence[str], given: Collection[str]) -> Iterator[str]:
    for name in unknown[:NAMED]:
        near = difflib.get_close_matches(name[:LONGEST_NAME], known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near and near[0] not in given else ""
        yield f"Unknown field '{name[:LONGEST_NAME]}' was ignored.{hint}"
    if len(unknown) > NAMED:
        yield f"{len(unknown) - NAMED} more unknown fields were ignored."


def _mend_value(name: str, value: Any, annotation: Any, warnings: list[str]) -> object:
    if get_origin(annotation) is list and isinstance(value, str):
        warnings.append(f"'{name}' takes a list; the one value was taken as a list of one.")
        return [value]
    if annotation in (str, str | None) and isinstance(value, list) and len(cast("list[Any]", value)) == 1:
        warnings.append(f"'{name}' takes one value; the list of one was taken as its value.")
        return cast("list[Any]", value)[0]
    offered = options(annotation)
    if not offered or not isinstance(value, str | int | float) or isinstance(value, bool) or value in offered:
        return value  # pyright: ignore[reportUnknownVariableType] - it is what the client sent
    wanted = str(value)
    meant = next((option for option in offered if str(option).lower() == wanted.lower()), None)
    if meant is None and RATIO_NAMES.get(wanted.lower()) in offered:
        meant = RATIO_NAMES[wanted.lower()]
    if meant is None:
        return value
    warnings.append(f"'{name}': {value!r} was read as {meant!r}.")
    return meant


def options(annotation: Any) -> tuple[Any, ...]:
    """The values that a field offers, where it offers few."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    for part in get_args(annotation):  # Literal[…] | None
        if get_origin(part) is Literal:
            return get_args(part)
    return ()


def faults(error: ValidationError) -> list[Fault]:
    """A failed validation, each fault in one sentence that says what is allowed."""
    return [_fault(detail) for detail in error.errors(include_url=False)]


def _fault(detail: ErrorDetails) -> Fault:
    field = ".".join(str(part) for part in detail["loc"]) or "body"
    context = detail.get("ctx", {})
    given = detail["input"]
    match detail["type"]:
        case "missing":
            message = "is required"
        case "literal_error":
            allowed = str(context["expected"]).replace(" or ", ", ").replace("'", "")
            message = f"must be one of {allowed}, not {given!r}"
        case "string_too_long" | "too_long":
            message = f"must have at most {context['max_length']} {_unit(given)}, not {len(given)}"
        case "string_too_short" | "too_short":
            message = f"must have at least {context['min_length']} {_unit(given)}, not {len(given)}"
        case "value_error":
            message = str(context["error"])
        case "string_type":
            message = "must be a text"
        case _:
            message = detail["msg"][:1].lower() + detail["msg"][1:]
    return Fault(field, message, detail["type"])


def _unit(given: object) -> str:
    return "characters" if isinstance(given, str) else "items"
