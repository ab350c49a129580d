"""One service's request as another service's, so that the other may stand in for it.

Prompts are cut to the other's length, ratios and seconds become the nearest that it offers, of several
pictures the first is taken; what it does not know is left out. Fields of the same name and meaning go over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import JsonValue, ValidationError
from pydantic.fields import FieldInfo

from phaya.catalog.acceptance import options
from phaya.catalog.fields import Input
from phaya.catalog.service import Generation, marked

LENGTHS = ("n_frames", "duration")
"""Names under which services take the seconds of film."""
RATIO_FIELD = "aspect_ratio"
NAMED_RATIOS = {"landscape": "16:9", "portrait": "9:16", "square": "1:1"}


def untranslatable(source: type[Generation], target: type[Generation], fixed: Mapping[str, JsonValue]) -> list[str]:
    """Fields that the target needs and no request of the source can ever fill."""
    return [
        name
        for name, field in target.model_fields.items()
        if field.is_required() and name not in fixed and _origin(source, name, field) is None
    ]


def translate(request: Generation, target: type[Generation], fixed: Mapping[str, JsonValue]) -> Generation | None:
    """The request in the target's fields, `fixed` ones as given; None where it cannot be said there."""
    source = type(request)
    values: dict[str, Any] = dict(fixed)
    for name, field in target.model_fields.items():
        origin = None if name in fixed else _origin(source, name, field)
        value = None if origin is None else _value(getattr(request, origin), name, field)
        if value is not None and value != []:
            values[name] = value
    try:
        return target.model_validate(values)
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
    needed = {name for name, field in target.model_fields.items() if field.is_required()}
    if wrong & (needed | fixed.keys()):
        return None
    try:
        return target.model_validate({name: value for name, value in values.items() if name not in wrong})
    except ValidationError:
        return None


def _origin(source: type[Generation], name: str, field: FieldInfo) -> str | None:
    """The source's field that says what the target's field `name` asks."""
    names = source.model_fields
    if mark := marked(field, Input):
        same = {one: other for one, other in source.inputs().items() if other.media == mark.media}
        return name if name in same else next(iter(same), None)
    if name in LENGTHS:
        return next((one for one in (name, *LENGTHS) if one in names), None)
    return name if name in names else None


def _value(value: Any, name: str, field: FieldInfo) -> Any:
    """A value of the source as the target takes it; None where it has none like it."""
    if marked(field, Input):
        return _first_file(value, field)
    offered = options(field.annotation)
    if name == RATIO_FIELD and offered:
        return value if value in offered else _nearest(_ratio(value), {one: _ratio(one) for one in offered}, math.log)
    if name in LENGTHS and offered:
        return _nearest(_number(value), {one: _number(one) for one in offered}, float)
    longest = next((most for mark in field.metadata if (most := getattr(mark, "max_length", None))), None)
    if isinstance(value, str) and longest is not None:
        return value[:longest]
    if offered and value not in offered:
        return None
    return value


def _first_file(value: Any, field: FieldInfo) -> Any:
    addresses: list[str] = [value] if isinstance(value, str) else list(value or [])
    several = list in (field.annotation, getattr(field.annotation, "__origin__", None)) or any(
        getattr(part, "__origin__", None) is list for part in get_args(field.annotation)
    )
    if not addresses:
        return None
    return addresses[:1] if several else addresses[0]


def _nearest(wanted: float | None, offered: Mapping[Any, float | None], scale: Callable[[float], float]) -> Any:
    """The offered option whose number is nearest on a scale, of two equally near ones the larger: nobody gets less
    than is paid for without need. None where nothing can be compared."""
    known = {option: number for option, number in offered.items() if number}
    if not wanted or not known:
        return None
    return min(known, key=lambda option: (abs(scale(known[option]) - scale(wanted)), -known[option]))


def _ratio(name: Any) -> float | None:
    width, _, height = NAMED_RATIOS.get(str(name), str(name)).partition(":")
    try:
        return float(width) / float(height)
    except (ValueError, ZeroDivisionError):
        return None  # "auto"


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
