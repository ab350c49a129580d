"""Markdown, and the words for fields and limits that all pages share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

Schema = Mapping[str, Any]

NOTICE = "<!-- Printed from the code by `make docs`. Change the code, not this page. -->"


def page(blocks: Sequence[str]) -> str:
    """A page of blocks."""
    return "\n\n".join(blocks) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def literal(value: object) -> str:
    """A value as a client writes it in JSON."""
    return f"`{orjson.dumps(value).decode()}`"


def json_block(example: object) -> str:
    """A value as a block of JSON."""
    return f"```json\n{orjson.dumps(example, option=orjson.OPT_INDENT_2).decode()}\n```"


def fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The fields of a JSON schema; after an object come the fields that it has, as `object.field`."""
    definitions: Mapping[str, Schema] = schema.get("$defs", {})
    for name, field in schema["properties"].items():
        yield name, field
        for option in field.get("anyOf", (field,)):
            inner = definitions.get(str(option.get("$ref", "")).rpartition("/")[2])
            for part, one in inner["properties"].items() if inner else ():
                yield f"{name}.{part}", one


def row(name: str, field: Schema, required: bool, meaning: str) -> tuple[str, ...]:
    """A field's line in a table: name, type and limits, default, meaning."""
    default = field.get("default")
    shown = "none" if default in (None, [], "") else literal(default)
    return f"`{name}`", _kind(field), "**required**" if required else shown, meaning


def _kind(field: Schema) -> str:
    """A field's type and limits in words."""
    if "anyOf" in field:
        kinds = [_kind(option) for option in field["anyOf"] if option.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in field:
        return " ".join(literal(value) for value in field["enum"])
    match field.get("type", "object"):
        case "string":
            return "text" + _span(field, "minLength", "maxLength", "characters")
        case "array":
            return f"list of {_kind(field.get('items', {}))}" + _span(field, "minItems", "maxItems", "of them")
        case "number" | "integer" as kind:
            return kind + _span(field, "minimum", "maximum")
        case "boolean":
            return "`true` `false`"
        case kind:
            return str(kind)


def _span(field: Schema, least: str, most: str, unit: str = "") -> str:
    low, high, beyond = field.get(least), field.get(most), field.get("exclusiveMinimum")
    bounds = [f"more than {beyond:g}"] if beyond is not None else []
    if low is not None and high is not None:
        bounds.append(f"{low:g} to {high:g}")
    elif low is not None or high is not None:
        bounds.append(f"at least {low:g}" if high is None else f"at most {high:g}")
    return f", {', '.join(bounds)} {unit}".rstrip() if bounds else ""
