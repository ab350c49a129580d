"""The API's reference, drawn from this server's own OpenAPI document, so that it works without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from phaya.errors import NotFound
from phaya.web.console.visit import Visit, add

METHODS = ("get", "post", "delete")


def install(router: APIRouter) -> None:
    """The page."""
    add(router, "/reference", page)


async def page(visit: Visit) -> Response:
    """The routes of one group; the others are links."""
    document: Mapping[str, Any] = visit.request.app.openapi()
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                operation = item[method]
                groups.setdefault((operation.get("tags") or ["Phaya"])[0], []).append(_told(method, path, operation))
    chosen = visit.request.query_params.get("group") or next(iter(groups))
    if chosen not in groups:
        raise NotFound(visit.say("reference.unknown"))
    return await visit.render(
        "reference.html", groups=list(groups), chosen=chosen, operations=groups[chosen], base=visit.phaya.public_url
    )


def _told(method: str, path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    asked: Mapping[str, Any] = operation.get("requestBody", {})
    bodies: list[Mapping[str, Any]] = [*asked.get("content", {}).values()]
    body: Mapping[str, Any] = bodies[0] if bodies else {}
    schema: Mapping[str, Any] = body.get("schema", {})
    example = body.get("example", schema.get("example"))
    return {
        "method": method.upper(),
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "parameters": [{"required": False, "description": "", **one} for one in operation.get("parameters", [])],
        "fields": [
            {"name": name, "required": name in schema.get("required", []), **_field(field)}
            for name, field in schema.get("properties", {}).items()
        ],
        "example": orjson.dumps(example, option=orjson.OPT_INDENT_2).decode() if example else None,
        "statuses": list(operation.get("responses", {})),
    }


def _field(schema: Mapping[str, Any]) -> dict[str, Any]:
    plain = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    allowed = plain.get("enum")
    kind = " | ".join(str(one) for one in allowed) if allowed else str(plain.get("type", "object"))
    return {"kind": kind, "description": schema.get("description", ""), "default": schema.get("default")}
