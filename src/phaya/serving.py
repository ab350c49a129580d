"""Listening sockets, and servers inside another program."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncGenerator

import uvicorn
from starlette.types import ASGIApp

from phaya.connections import Connection


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one. Raises OSError.

    The protocol is named because asyncio sends small answers at once (TCP_NODELAY) only on sockets that say
    they are TCP; otherwise each can wait 40 ms for an acknowledgement.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def configured(app: ASGIApp, *, stop_seconds: int, connection: type[Connection] = Connection) -> uvicorn.Config:
    """How an app is served. Who a client is, only those of its `state.trusted_proxies` (networks as text) may say."""
    proxies: list[str] = list(getattr(getattr(app, "state", None), "trusted_proxies", ()))
    return uvicorn.Config(
        app,
        http=connection,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=stop_seconds,
        timeout_keep_alive=75,
        ws="none",
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
    )


class Server(uvicorn.Server):
    """A server that tells its app before it waits for open requests: those that wait for something end at once.

    The app's lifespan hears of the end only after them.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts as usual; what was loaded until then stays, and no collection of garbage looks at it again."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Calls the app's `state.parting`, if it has one, then ends as usual."""
        parting = getattr(getattr(self.config.app, "state", None), "parting", None)
        if parting is not None:
            parting()
        await super().shutdown(sockets)


class Nested(Server):
    """A server inside another program: signals, and what stays in memory, are that program's business."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts as usual."""
        await uvicorn.Server.startup(self, sockets)

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Leaves signals alone."""
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, listener: socket.socket, connection: type[Connection] = Connection
) -> AsyncGenerator[None]:
    """Serves an app on a listening socket for as long as the block lasts."""
    server = Nested(configured(app, stop_seconds=3, connection=connection))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        if task.done():
            task.result()
            raise RuntimeError("the server did not start")
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task
