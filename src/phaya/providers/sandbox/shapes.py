"""An example of a JSON schema: a value that has its shape, with `text` wherever words are free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue

Schema = Mapping[str, JsonValue]

DEEPEST = 12
LONGEST_LIST = 100

_FORMATS = {
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "date-time": "2026-01-01T12:00:00Z",
    "duration": "PT1H",
    "email": "somebody@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: JsonValue, text: str) -> JsonValue:
    """A value of the schema's shape. Patterns of text are not followed."""
    return _example(schema, text, schema if isinstance(schema, dict) else {}, 0)


def _example(schema: JsonValue, text: str, root: Schema, depth: int) -> JsonValue:
    if not isinstance(schema, dict) or depth > DEEPEST:
        return None if depth > DEEPEST else text
    if "const" in schema:
        return schema["const"]
    for name in ("enum", "examples"):
        options = schema.get(name)
        if isinstance(options, list) and options:
            return options[0]
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _example(_referred(reference, root), text, root, depth + 1)
    for name in ("anyOf", "oneOf"):
        choices = schema.get(name)
        if isinstance(choices, list) and choices:
            return _example(_plainest(choices, depth), text, root, depth + 1)
    parts = schema.get("allOf")
    if isinstance(parts, list) and parts:
        return _example(_joined(schema, parts, root), text, root, depth + 1)
    return _typed(schema, text, root, depth)


def _typed(schema: Schema, text: str, root: Schema, depth: int) -> JsonValue:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    match kind:
        case "object":
            return _object(schema, text, root, depth)
        case "array":
            return _array(schema, text, root, depth)
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema, text)


def _object(schema: Schema, text: str, root: Schema, depth: int) -> JsonValue:
    properties = schema.get("properties")
    named = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    wanted = list(dict.fromkeys([*names, *(named if depth < DEEPEST // 2 else ())]))
    return {name: _example(named.get(name, {}), text, root, depth + 1) for name in wanted}


def _array(schema: Schema, text: str, root: Schema, depth: int) -> JsonValue:
    least = schema.get("minItems")
    most = schema.get("maxItems")
    length = least if isinstance(least, int) and least > 0 else 1
    if most == 0:
        length = 0
    return [_example(schema.get("items", {}), text, root, depth + 1) for _ in range(min(length, LONGEST_LIST))]


def _number(schema: Schema, *, whole: bool) -> JsonValue:
    def bound(name: str) -> float | None:
        value = schema.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    step = bound("multipleOf") or (1 if whole else 0.5)
    low, high = bound("minimum"), bound("maximum")
    if (above := bound("exclusiveMinimum")) is not None:
        low = above + step
    if (below := bound("exclusiveMaximum")) is not None:
        high = below - step
    value = low if low is not None else min(1.0, high) if high is not None else 1
    value = -(-value // step) * step if whole or "multipleOf" in schema else value
    return int(value) if whole else value


def _text(schema: Schema, text: str) -> JsonValue:
    form = schema.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    least, most = schema.get("minLength"), schema.get("maxLength")
    if isinstance(least, int) and len(text) < least:
        text = text.ljust(least, ".")
    return text[:most] if isinstance(most, int) and most >= 0 else text


def _plainest(choices: list[JsonValue], depth: int) -> JsonValue:
    """The first choice that is a value; deep down, nothing at all where that is allowed, so that trees end."""
    empty = [choice for choice in choices if isinstance(choice, dict) and choice.get("type") == "null"]
    full = [choice for choice in choices if choice not in empty]
    return empty[0] if empty and (depth > DEEPEST // 2 or not full) else full[0]


def _joined(schema: Schema, parts: list[JsonValue], root: Schema) -> JsonValue:
    joined = {name: value for name, value in schema.items() if name != "allOf"}
    for part in parts:
        found = _referred(str(part["$ref"]), root) if isinstance(part, dict) and "$ref" in part else part
        if not isinstance(found, dict):
            continue
        for name, value in found.items():
            mine = joined.get(name)
            if isinstance(mine, dict) and isinstance(value, dict):
                joined[name] = mine | value
            elif isinstance(mine, list) and isinstance(value, list):
                joined[name] = mine + value
            else:
                joined[name] = value
    return cast("JsonValue", joined)


def _referred(reference: str, root: Schema) -> JsonValue:
    found: JsonValue = cast("JsonValue", root)
    for part in re.findall(r"[^/#]+", reference):
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
    return found
