"""KIE.ai as small as it can be, so that the benchmark measures Phaya and not its provider.

It speaks createTask, recordInfo and callbacks as docs.kie.ai tells, keeps the tickets that have ended in a set, and
serves one tiny PNG as everybody's result. Any other ticket is a task that is being worked on. `POST /bench/end` ends
tasks at a given pace and calls back for each, over connections that are kept open; it answers when it has sent the
last callback, with the moment at which each was sent and the seconds until it was answered.

    python bench/stand_in.py PORT
"""

from __future__ import annotations

import asyncio
import secrets
import struct
import sys
import time
import zlib
from typing import Any

import aiohttp
import orjson
import uvicorn

SENDERS = 32
"""Callbacks on their way at a time."""


def _png() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\x00" + b"\x20\x60\xa0" * 16 for _ in range(16))
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PNG = _png()


class StandIn:
    """The provider, as an ASGI application."""

    def __init__(self, port: int) -> None:
        self._origin = f"http://127.0.0.1:{port}"
        self._ended: set[str] = set()
        self._created: list[tuple[str, str]] = []
        self._looks = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        kind = b"application/json"
        match scope["path"]:
            case "/api/v1/jobs/recordInfo":
                self._looks += 1
                body = self._record(scope["query_string"].decode().partition("taskId=")[2])
            case "/api/v1/jobs/createTask":
                asked = orjson.loads(await _read(receive))
                ticket = secrets.token_hex(16)
                self._created.append((ticket, asked["callBackUrl"]))
                body = _envelope({"taskId": ticket, "recordId": ticket})
            case "/picture.png":
                kind, body = b"image/png", PNG
            case "/bench/end":
                asked = orjson.loads(await _read(receive))
                body = orjson.dumps(await self._end(asked["tasks"], asked["rate"]))
            case "/bench/created":
                body = orjson.dumps({"tasks": self._created, "looks": self._looks})
            case _:
                body = _envelope(None)
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _record(self, ticket: str) -> bytes:
        data: dict[str, Any] = {"taskId": ticket, "model": "z-image", "state": "generating", "resultJson": ""}
        if ticket in self._ended:
            result = orjson.dumps({"resultUrls": [f"{self._origin}/picture.png"]}).decode()
            data |= {"state": "success", "resultJson": result, "creditsConsumed": 0.8}
        return _envelope(data)

    async def _end(self, tasks: list[tuple[str, str]], rate: float) -> dict[str, Any]:
        """Ends tasks and calls back, `rate` a second, or as fast as they are answered where it is 0."""
        sent: dict[str, tuple[float, float]] = {}
        refused = 0
        waiting = iter(enumerate(tasks))
        began = time.monotonic()

        async def sender(session: aiohttp.ClientSession) -> None:
            nonlocal refused
            for number, (ticket, url) in waiting:
                if rate:
                    await asyncio.sleep(began + number / rate - time.monotonic())
                self._ended.add(ticket)
                letter = orjson.dumps({"code": 200, "msg": "success", "data": {"taskId": ticket, "state": "success"}})
                moment = time.time()
                headers = {"Content-Type": "application/json"}
                async with session.post(url, data=letter, headers=headers) as answer:
                    await answer.read()
                    refused += answer.status != 200
                sent[ticket] = moment, time.time() - moment

        connector = aiohttp.TCPConnector(limit=SENDERS)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(sender(session) for _ in range(SENDERS)))
        return {"seconds": time.monotonic() - began, "refused": refused, "sent": sent}


def _envelope(data: Any) -> bytes:
    return orjson.dumps({"code": 200, "msg": "success", "data": data})


async def _read(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message["body"]
        if not message.get("more_body"):
            return bytes(body)


if __name__ == "__main__":
    uvicorn.run(StandIn(int(sys.argv[1])), port=int(sys.argv[1]), log_level="warning", access_log=False)
