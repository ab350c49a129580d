"""Forms drawn from a service's schema, and read back into the body that the API would be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic.fields import FieldInfo
from starlette.datastructures import ImmutableMultiDict

from phaya.catalog.fields import Input, Multiline, Page
from phaya.catalog.service import Generation, marked
from phaya.errors import Fault, Invalid
from phaya.web.openapi import body_schema

LINE = 300
"""Characters that a text may have and still be asked for in one line."""
SEGMENTS = 4
"""So many options at the most are shown side by side; more are a list to open."""


@dataclass(frozen=True)
class Field:
    """One question of a form. `kind` is how it is drawn: text, line, choice, flag, number, files, lines or group."""

    name: str
    label: str
    kind: str
    help: str = ""
    required: bool = False
    value: Any = None
    options: Sequence[str] = ()
    blank: bool = False  # a choice that may be left open
    least: float | None = None
    most: float | None = None
    step: str = "any"
    longest: int | None = None
    many: int = 1  # files or lines at the most
    listed: bool = False  # whether they are a list, be it of one
    media: str = ""
    fields: Sequence[Field] = field(default=())
    shown: Mapping[str, str] = field(default_factory=dict[str, str])  # options as people read them

    def read(self, option: str) -> str:
        """An option as people read it."""
        return self.shown.get(option, option)

    @property
    def segmented(self) -> bool:
        """Whether its options stand side by side."""
        return len(self.options) <= SEGMENTS and sum(len(self.read(option)) for option in self.options) <= 32

    @property
    def aside(self) -> bool:
        """Whether it is among the details, which are folded away."""
        return not self.required and self.kind not in ("text", "files") and self.name not in FOREMOST


FOREMOST = (
    "aspect_ratio",
    "resolution",
    "n_frames",
    "duration",
    "quality",
    "model",
    "mode",
    "voice",
    "style",
    "format",
)
"""Optional fields that most people want to see."""


def fields_of(service: type[Generation], given: Mapping[str, Any]) -> list[Field]:
    """A service's form with values filled in; what is not given is its default."""
    schema = body_schema(service)
    required = schema.get("required", [])
    definitions = schema.get("$defs", {})
    found: list[Field] = []
    for name, described in schema["properties"].items():
        info = service.model_fields.get(name)
        if info is None:
            continue  # what every create takes beside the service's own fields
        base = _draw(name, described, definitions, name in required, given.get(name, described.get("default")))
        mark = marked(info, Input)
        if mark is not None:
            kinds = [mark.media, *([mark.otherwise] if mark.otherwise else [])]
            many = described.get("maxItems", 20) if _type(described) == "array" else 1
            value = _listed(base.value)
            base = replace(
                base,
                kind="files",
                listed=_type(described) == "array",
                value=value,
                many=many,
                media=",".join(f"{kind}/*" for kind in kinds),
            )
        elif _is_long(info, base):
            base = replace(base, kind="text")
        found.append(base)
    return found


def read(service: type[Generation], form: ImmutableMultiDict[str, str]) -> dict[str, Any]:
    """The body that a filled-in form means; what was left empty is left out. Raises Invalid."""
    return {
        one.name: value for one in fields_of(service, {}) if (value := _value(one, form, one.name)) is not None
    }  # fmt: skip


def _is_long(info: FieldInfo, drawn: Field) -> bool:
    """Whether a text is one to write in several lines."""
    if marked(info, Page) is not None:
        return False
    return marked(info, Multiline) is not None or (drawn.kind == "line" and (drawn.longest or 0) > LINE)


def _listed(value: Any) -> list[str]:
    """One address, several or none, as a list."""
    return [value] if isinstance(value, str) else [*(value or ())]


def _draw(name: str, described: Mapping[str, Any], definitions: Mapping[str, Any], required: bool, value: Any) -> Field:
    schema, blank = _plain(described, definitions)
    label = name.rpartition(".")[2].replace("_", " ").capitalize()
    told = described.get("description", schema.get("description", ""))
    match _type(schema):
        case "object":
            inner: Mapping[str, Any] = value or {}
            parts = [
                _draw(f"{name}.{part}", one, definitions, False, inner.get(part, one.get("default")))
                for part, one in schema["properties"].items()
            ]
            return Field(name, label, "group", told, required, bool(inner), fields=parts)
        case "boolean":
            return Field(name, label, "flag", told, False, bool(value))
        case "number" | "integer" as kind:
            least = schema.get("minimum", schema.get("exclusiveMinimum"))
            most = schema.get("maximum", schema.get("exclusiveMaximum"))
            step = "1" if kind == "integer" else "any"
            return Field(name, label, "number", told, required, value, least=least, most=most, step=step)
        case "array":
            return Field(name, label, "lines", told, required, value or [], many=schema.get("maxItems", 20))
        case _:
            if "enum" in schema or "const" in schema:
                options = [str(one) for one in schema.get("enum", [schema.get("const")]) if one is not None]
                return Field(name, label, "choice", told, required, value, options=options, blank=blank)
            return Field(name, label, "line", told, required, value, longest=schema.get("maxLength"))


def _plain(described: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """A schema without references, and without the null that may stand beside it; and whether one did."""
    options = described.get("anyOf")
    schema = described if options is None else next(one for one in options if one.get("type") != "null")
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema, options is not None


def _type(schema: Mapping[str, Any]) -> str:
    plain, _ = _plain(schema, {}) if "$ref" not in str(schema) else (schema, False)
    kind = plain.get("type", "string")
    return kind if isinstance(kind, str) else next(one for one in kind if one != "null")


def _value(one: Field, form: ImmutableMultiDict[str, str], name: str) -> Any:
    sent = [text.strip() for text in form.getlist(name) if text.strip()]
    match one.kind:
        case "group":
            if not any(form.get(part.name) for part in one.fields):
                return None
            inner = {part.name.rpartition(".")[2]: _value(part, form, part.name) for part in one.fields}
            return {part: value for part, value in inner.items() if value is not None}
        case "flag":
            return bool(sent)
        case "files" | "lines":
            lines = [line.strip() for text in sent for line in text.splitlines() if line.strip()]
            if one.kind == "files" and not one.listed:
                return lines[0] if lines else None
            return lines or None
        case "number":
            return _number(name, sent[0], one.step) if sent else None
        case _:
            return sent[0].replace("\r\n", "\n") if sent else None


def _number(name: str, text: str, step: str) -> int | float:
    try:
        return int(text) if step == "1" else float(text)
    except ValueError:
        raise Invalid(Fault(name, "must be a number")) from None
