"""Services that an operator declares in the tariff file: classes like the others, made at the start.

A declared service is a model of KIE's jobs API. With a base it takes that service's fields, answer and words;
fields of its own come on top, and go to KIE under their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, JsonValue, ValidationError, create_model

from phaya.calls import KieTask
from phaya.catalog.acceptance import faults
from phaya.catalog.answers import Answer, Image, Songs, Video, Words
from phaya.catalog.fields import ImageUrl, ImageUrls, MusicUrl, Prompt
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits

ANSWERS: Mapping[str, Answer] = {"image": Image, "video": Video, "audio": Songs}
FILES: Mapping[str, Any] = {"image": ImageUrl, "images": ImageUrls, "audio": MusicUrl}
PLAIN: Mapping[str, Any] = {"text": str, "integer": int, "number": float, "switch": bool}
KINDS = ("prompt", *PLAIN, "choice", *FILES)
ONE_PRICE = "job"


class Undeclarable(Exception):
    """A declaration that makes no service; `key` is the part of it that is wrong."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class FieldDeclaration:
    """One field. `least` and `most` bound a number, or the length of a text or list."""

    kind: str
    options: Sequence[str | int] = ()
    default: JsonValue = None
    required: bool = False
    least: float | None = None
    most: float | None = None
    description: str = ""


@dataclass(frozen=True)
class Declaration:
    """One service. Without a base, `makes` names its result, and `price_by` the choice field that rates are by."""

    path: str
    model: str
    rates: Rates
    example: Mapping[str, JsonValue]
    name: str = ""
    summary: str = ""
    base: type[Generation] | None = None
    makes: str = ""
    price_by: str = ""
    minutes: float = 0
    seconds: int = 0
    input: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    fields: Mapping[str, FieldDeclaration] = field(default_factory=dict[str, FieldDeclaration])


class _Blank(Generation):
    """A declared service without a base: what it is asked is sent as it stands."""

    verb: ClassVar[str] = "create"
    words: ClassVar[Words] = Words.LOWER
    price_by: ClassVar[str] = ""

    def price(self, rates: Rates) -> Credits:
        """By the choice that the declaration names, or one price for all."""
        return rates[str(getattr(self, self.price_by)) if self.price_by else ONE_PRICE]

    def call(self) -> KieTask:
        """The fields are sent by `declare`."""
        return KieTask("", {})


def declare(asked: Declaration) -> type[Generation]:
    """The service's class. Raises Undeclarable."""
    base = asked.base or _Blank
    if asked.base is None and asked.makes not in ANSWERS:
        raise Undeclarable("makes", f"must be one of {', '.join(ANSWERS)} where there is no base")
    fields = {name: _field(name, one) for name, one in asked.fields.items()}
    if clash := next((name for name in fields if hasattr(base, name) or name in base.model_fields), None):
        raise Undeclarable(f"fields.{clash}", "is a name that is taken already")
    named = asked.name or asked.path
    summary = asked.summary or (base.summary() if asked.base else f"a model that makes {asked.makes}")
    made = create_model(f"Declared_{asked.path}", __base__=base, __module__=__name__, **cast("dict[str, Any]", fields))
    made.__doc__ = f"{named}: {summary}."
    made.path = asked.path
    made.rates = asked.rates
    made.example = dict(asked.example)
    made.minutes = asked.minutes or getattr(base, "minutes", 30)
    made.seconds = asked.seconds or getattr(base, "seconds", 60)
    if asked.base is None:
        made.answer = ANSWERS[asked.makes]
        made.price_by = asked.price_by  # type: ignore[attr-defined]
        _check_price(asked)
    _send(made, base, asked, tuple(fields))
    _check_example(made, asked)
    return made


def _send(made: type[Generation], base: type[Generation], asked: Declaration, own: tuple[str, ...]) -> None:
    """Gives the class its call: the base's with another model, the own fields, and what is fixed."""

    def call(self: Generation) -> KieTask:
        task = base.call(self)
        assert isinstance(task, KieTask)
        values = {name: value for name in own if (value := getattr(self, name)) is not None}
        return replace(task, model=asked.model, input={**task.input, **values, **asked.input})

    made.call = call  # type: ignore[method-assign]
    made.__abstractmethods__ = frozenset[str]()  # type: ignore[misc]


def _check_price(asked: Declaration) -> None:
    if not asked.price_by:
        wanted: Sequence[str] = (ONE_PRICE,)
    elif (by := asked.fields.get(asked.price_by)) is None or by.kind != "choice":
        raise Undeclarable("price_by", f"must name a field of kind choice, not {asked.price_by!r}")
    else:
        wanted = [str(option) for option in by.options]
    if set(asked.rates) != set(wanted):
        raise Undeclarable("rates", f"must have a price for each of: {', '.join(wanted)}")


def _check_example(made: type[Generation], asked: Declaration) -> None:
    for name, one in asked.fields.items():
        if one.default is not None:
            _validated(made, {**asked.example, name: one.default}, {name: f"fields.{name}.default"})
    request = _validated(made, asked.example, {})
    if not isinstance(request.call() if asked.base is None else asked.base.call(request), KieTask):
        raise Undeclarable("base", "must be a service of KIE's jobs API")


def _validated(made: type[Generation], body: Mapping[str, JsonValue], keys: Mapping[str, str]) -> Generation:
    try:
        return made.model_validate(dict(body))
    except ValidationError as error:
        fault = faults(error)[0]
        raise Undeclarable(keys.get(fault.field, f"example.{fault.field}"), fault.message) from None


def _field(name: str, asked: FieldDeclaration) -> tuple[Any, Any]:
    """The field as pydantic takes it."""
    key = f"fields.{name}"
    if not name.isidentifier() or name.startswith(("_", "model_")):
        raise Undeclarable(key, "is no usable name; letters, digits and underscores are")
    least, most = asked.least, asked.most
    bounds: dict[str, Any] = {}
    kind: Any
    match asked.kind:
        case "choice":
            if not asked.options:
                raise Undeclarable(f"{key}.options", "must list what may be chosen")
            kind = Literal[tuple(asked.options)]  # type: ignore[valid-type]
        case "prompt" | "text" | "images":
            kind = {"prompt": Prompt, "text": str, "images": ImageUrls}[asked.kind]
            bounds = {
                "min_length": None if least is None else int(least),
                "max_length": None if most is None else int(most),
            }
        case "integer" | "number":
            kind = PLAIN[asked.kind]
            bounds = {"ge": least, "le": most}
        case "switch" | "image" | "audio":
            kind = {**PLAIN, **FILES}[asked.kind]
        case other:
            raise Undeclarable(f"{key}.kind", f"must be one of {', '.join(KINDS)}, not {other!r}")
    told = Field(
        description=asked.description or None, **{name: one for name, one in bounds.items() if one is not None}
    )
    if asked.required or (asked.kind == "prompt" and asked.default is None):
        return Annotated[kind, told], ...
    if asked.default is None:
        return Annotated[kind | None, told], None
    return Annotated[kind, told], asked.default
