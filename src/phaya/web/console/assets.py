"""The console's own style and script, under names that change with their content, so that browsers keep them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

FOLDER = Path(__file__).parent / "assets"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@cache
def contents() -> Mapping[str, tuple[bytes, str]]:
    """Every file by its name, with its type. They are few and small."""
    return {file.name: (file.read_bytes(), TYPES[file.suffix]) for file in sorted(FOLDER.iterdir())}


@cache
def mark() -> str:
    """What stands for the content of all files together."""
    whole = hashlib.sha256()
    for name, (content, _) in contents().items():
        whole.update(name.encode() + content)
    return whole.hexdigest()[:16]


def address(name: str) -> str:
    """Where a file is served."""
    assert name in contents(), name
    return f"/assets/{mark()}/{name}"


def install(router: APIRouter) -> None:
    """`/assets/{mark}/{name}`, good for ever."""
    router.add_route("/assets/{mark}/{name}", _serve, methods=["GET"], include_in_schema=False)


async def _serve(request: Request) -> Response:
    found = contents().get(request.path_params["name"])
    if found is None or request.path_params["mark"] != mark():
        return PlainTextResponse("Reload the page.", 404)
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return Response(found[0], media_type=found[1], headers=headers)
