"""Serves stored files: `GET` and `HEAD` of `/media/{key}`, whole or a part, to anyone who has the link."""

from __future__ import annotations

import re
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from phaya.errors import NotFound, PhayaError, StorageDown
from phaya.links import UNKNOWN_TYPE
from phaya.storage import Stat, Storage

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)

_MISSING = "There is no such file, or its time is over."
_HEADERS = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "public, max-age=31536000, immutable",  # a key is written once
    "X-Content-Type-Options": "nosniff",
    # A file that a browser takes for a page after all can load, run and send nothing. The style is the
    # browser's own, around a picture or a film that is opened by itself.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; "
    "style-src 'unsafe-inline'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",  # clients' pages show the results
}


def media_routes(storage: Storage) -> list[Route]:
    """The route of the files in `storage`. A part is given where one is asked for; several make the whole."""

    async def media(request: Request) -> Response:
        try:
            stat = await storage.head(request.path_params["key"])
        except StorageDown as error:
            return _refusal(error)
        if stat is None:
            return _refusal(NotFound(_MISSING))
        headers = {**_HEADERS, "ETag": f'"{stat.etag}"', "Last-Modified": _date(stat)}
        if _is_held(request, stat):
            return Response(status_code=304, headers=headers)
        part = _part(request, stat)
        if part is not None and part[0] >= part[1]:
            return Response(status_code=416, headers={**_HEADERS, "Content-Range": f"bytes */{stat.size}"})
        start, end = part or (0, stat.size)
        headers["Content-Type"] = stat.content_type
        headers["Content-Length"] = str(end - start)
        if stat.content_type == UNKNOWN_TYPE:
            headers["Content-Disposition"] = f'attachment; filename="{stat.key.rpartition("/")[2]}"'
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{stat.size}"
        status = 200 if part is None else 206
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        try:
            content = await storage.begun(stat.key, start, end)
        except StorageDown as error:
            return _refusal(error)
        except FileNotFoundError:  # deleted a moment ago
            return _refusal(NotFound(_MISSING))
        return StreamingResponse(content, status_code=status, headers=headers)

    return [Route("/media/{key:path}", media, methods=["GET"], name="media")]


def _is_held(request: Request, stat: Stat) -> bool:
    """Whether the client says that it has this very file."""
    wanted = request.headers.get("If-None-Match")
    if wanted is None:
        return request.headers.get("If-Modified-Since") == _date(stat)
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in wanted.split(",")]
    return stat.etag in tags or wanted.strip() == "*"


def _part(request: Request, stat: Stat) -> tuple[int, int] | None:
    """The bytes asked for, from and up to (without); an empty part if the file has none of them.

    What is no range that we know is not there, as RFC 9110 has it: then the whole file is the answer.
    """
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if found is None or request.headers.get("If-Range", f'"{stat.etag}"') not in (
        f'"{stat.etag}"',
        _date(stat),
    ):
        return None
    first, last = found[1], found[2]
    if not first:
        return (max(0, stat.size - int(last)), stat.size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(stat.size, int(last) + 1 if last else stat.size)


def _date(stat: Stat) -> str:
    return formatdate(stat.modified // 1000, usegmt=True)


def _refusal(error: PhayaError) -> Response:
    body = {"success": False, "error": error.code, "message": error.message, "detail": error.message}
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(body, status_code=error.status, headers=headers)
