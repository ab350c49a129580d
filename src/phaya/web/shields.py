"""Headers that keep browsers from doing with an answer what it is not for. Pages and files have stricter ones of their
own, which stay."""

from __future__ import annotations

from starlette.types import Message, Send

YEAR = 31_536_000
"""Seconds for which a browser that came by https asks for nothing else."""

# An answer of the API is no page: should one be shown as a page, it can load, run, send and frame nothing.
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


def shields(*, secure: bool) -> tuple[tuple[bytes, bytes], ...]:
    """The headers; `secure`: this Phaya is reached by https."""
    hsts = ((b"strict-transport-security", f"max-age={YEAR}".encode("ascii")),)
    return (*_ALWAYS, *hsts) if secure else _ALWAYS


def shielded(send: Send, headers: tuple[tuple[bytes, bytes], ...]) -> Send:
    """Sends what it is given with those of the headers that are missing."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = message.get("headers", ())
            names = {name for name, _ in given}
            message["headers"] = [*given, *(one for one in headers if one[0] not in names)]
        await send(message)

    return sending
