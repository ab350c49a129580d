"""A chat provider that takes its time: each answer is a word every second, with the moment at which it was sent in it.

    python bench/talker.py PORT WORDS

The answer is OpenRouter's as upstream.py has it; only the words are moments of the machine's monotonic clock, by which
the listener at the other end, on the same machine, knows how long each was on its way.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import uvloop

from upstream import events

PAUSE = 1.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MARK = "@moment@"
_SHOWN, *_END = events([MARK])


class Talker(asyncio.Protocol):
    """One connection. Requests come one after another, each with a body of known length."""

    words = 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class has no common parent
        self._waiting = b""

    def data_received(self, data: bytes) -> None:
        """Answers when a request is whole."""
        self._waiting += data
        head, found, body = self._waiting.partition(b"\r\n\r\n")
        if not found:
            return
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if lengths and len(body) < int(lengths[0].partition(b":")[2]):
            return
        self._waiting = b""
        self._transport.write(HEAD)
        self._say(self.words)

    def _say(self, left: int) -> None:
        if self._transport.is_closing():
            return
        if left:
            self._chunk(_SHOWN.replace(MARK.encode(), f"{time.monotonic():.6f}".encode()))
            asyncio.get_running_loop().call_later(PAUSE, self._say, left - 1)
            return
        for event in _END:
            self._chunk(event)
        self._transport.write(b"0\r\n\r\n")

    def _chunk(self, event: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))


async def main(port: int, words: int) -> None:
    """Serves until it is ended."""
    Talker.words = words
    server = await asyncio.get_running_loop().create_server(Talker, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
