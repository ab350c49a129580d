"""Answers as they go over the wire, for those that are sent most often.

By ASGI's messages an answer is a list of headers, and the server checks and joins each of them for every request anew:
with fourteen headers that is more than half of what a status poll costs. Most of them are the same every time, so here
they are checked and joined once, into the **lines** of an answer:

    etag: W/"6a204bd8"\r\nx-content-type-options: nosniff\r\n

Whoever answers sends lines and body in one message of the type `WHOLE`. `phaya.web.access`, which stands between, adds
the request's id and hands all of it to the server, if that takes answers whole (`phaya.connections`), else turns it
into ASGI's own messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from starlette.types import Message, Scope, Send

WHOLE = "phaya.whole"
"""A message `{"type": WHOLE, "status": …, "lines": …, "body": …}`, and the extension of the scope that takes answers.
Nothing may come before or after such a message."""

Header = tuple[bytes, bytes]
Take = Callable[[int, bytes, bytes], bool]
"""What a server offers as the extension: it sends a status, lines and a body at once, or answers False and sends
nothing, where it would have to wait or to do anything else than that."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def lines(headers: Iterable[Header]) -> bytes:
    """Headers as lines. Raises ValueError where one would not be exactly one line."""
    found = bytearray()
    for given, value in headers:
        name = given.lower()
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise ValueError(f"no header: {name!r}: {value!r}")
        found += b"%b: %b\r\n" % (name, value)
    return bytes(found)


def headers(lines: bytes) -> list[Header]:
    """Lines as headers."""
    split = (line.partition(b": ") for line in lines.split(b"\r\n") if line)
    return [(name, value) for name, _, value in split]


async def send_whole(scope: Scope, send: Send, message: Message, more: bytes) -> None:
    """Sends a message of the type `WHOLE`, with `more` lines, as the server can take it."""
    status, said, body = message["status"], message["lines"] + more, message["body"]
    take: Take | None = scope.get("extensions", {}).get(WHOLE)
    if take is None or not take(status, said, body):
        await send({"type": "http.response.start", "status": status, "headers": headers(said)})
        await send({"type": "http.response.body", "body": body})
