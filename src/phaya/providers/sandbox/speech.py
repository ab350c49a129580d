"""Answers as they are spoken: a stream of server-sent events that its listener may leave at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"


class BrokenOff(Exception):
    """The stream ends here, without its end."""


class Talk(Protocol):
    """Something that speaks in events."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """The events; raises BrokenOff where the connection is to be cut."""
        ...

    async def left(self) -> None:
        """Called once where the listener hung up before the end."""
        ...


def event(data: object) -> bytes:
    """One data event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def torn(content: bytes) -> list[bytes]:
    """The event in two writes, cut inside its first sign of several bytes, as networks cut where they please."""
    place = next((index for index, byte in enumerate(content) if byte >= 0xC0), None)
    return [content] if place is None else [content[: place + 1], content[place + 1 :]]


class EventStream(Response):
    """Sends a talk, and stops it when the client is gone."""

    def __init__(self, talk: Talk, headers: dict[str, str]) -> None:
        super().__init__(None, 200, {**headers, "cache-control": "no-cache"}, "text/event-stream")
        del self.headers["content-length"]
        self._talk = talk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speaks until the end or until the client hangs up."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        speaking = asyncio.create_task(self._speak(send))
        leaving = asyncio.create_task(_hung_up(receive))
        try:
            await asyncio.wait({speaking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not speaking.done():
                speaking.cancel()
                await asyncio.wait({speaking})
                if speaking.cancelled():
                    await self._talk.left()
                    return
            whole = speaking.result()
        finally:
            speaking.cancel()
            leaving.cancel()
        if whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _speak(self, send: Send) -> bool:
        async with aclosing(self._talk.events()) as events:
            try:
                async for content in events:
                    for piece in torn(content):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                        await asyncio.sleep(0)
            except BrokenOff:
                return False
        return True


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
