"""What is seen of each request, and what that costs: microseconds of `phaya.web.access` on an app that does nothing."""

from __future__ import annotations

import asyncio
import io
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phaya import logs
from phaya.web.access import ROUTE, Access, Lines

MANY = 100_000
HEADERS = [
    (b"host", b"phaya.example"),
    (b"authorization", b"Bearer pk_0123456789abcdef0123456789abcdef0123456789abcdef"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"user-agent", b"python-requests/2.34"),
    (b"connection", b"keep-alive"),
]


async def nothing(scope: Scope, _receive: Receive, send: Send) -> None:
    scope[ROUTE] = "/api/v1/text-to-image/status/{job_id}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def receive() -> Message:
    return {"type": "http.request"}


async def send(_message: Message) -> None:
    pass


async def microseconds(method: str, access: Access | None, many: int = MANY) -> float:
    app: ASGIApp = nothing
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(many // 5):
            scope: Scope = {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": HEADERS}
            if access is None:
                await app(scope, receive, send)
            else:
                await access.answer(app, scope, receive, send)
        best = min(best, time.perf_counter() - began)
    return best / (many // 5) * 1e6


async def main() -> None:
    logs.configure("info", "json", io.StringIO())
    bare = await microseconds("GET", None)
    print(f"nothing at all          {bare:6.2f} µs")
    print(
        f"a poll, seen            {await microseconds('GET', Access(Lines(), lambda: (), nothing)) - bare:6.2f} µs more"
    )
    silent = await microseconds("POST", Access(Lines("none"), lambda: (), nothing))
    print(f"a create, without line  {silent - bare:6.2f} µs more")
    written = await microseconds("POST", Access(Lines(), lambda: (), nothing), MANY // 10)
    print(f"a create, with its line {written - bare:6.2f} µs more")


if __name__ == "__main__":
    asyncio.run(main())
