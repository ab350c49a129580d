"""The floors: the least that a server of this kind can do, on the very server and settings of `phaya serve`.

python bench/hello.py asgi|fastapi PORT
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from phaya.serving import Server, listen

BODY = b'{"status":"alive"}'


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application that says hello."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


class Hello(BaseModel):
    status: Literal["alive", "ended"]
    progress: float
    links: list[str]


def framed() -> FastAPI:
    """A FastAPI application that says hello, validated."""
    app = FastAPI()

    @app.get("/{name}")
    async def hello(name: str) -> Hello:  # pyright: ignore[reportUnusedFunction]
        return Hello(status="alive", progress=0.5, links=[name])

    return app


def serve(app: Any, port: int) -> None:
    """Serves as `phaya serve` does."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=8,
        timeout_keep_alive=75,
        ws="none",
        server_header=False,
        lifespan="off",
    )
    Server(config).run(sockets=[listen("127.0.0.1", port)])


if __name__ == "__main__":
    serve(bare if sys.argv[1] == "asgi" else framed(), int(sys.argv[2]))
