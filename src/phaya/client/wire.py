"""Requests to Phaya's API: sent again where that is safe, followed to a job's end, with files and streams."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from phaya.client.amounts import read
from phaya.client.refusals import ApiError, Silent, Unreachable, refused

ENDED = ("completed", "failed", "cancelled")
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a request whose answer was lost is sent again."""
LONGEST_PAUSE = 10.0
"""Seconds that the server may ask to wait for; what is closed for longer is told at once."""
SILENCE = 45
"""Seconds without a word after which a stream is given up; a server sends one every 15."""


class Wire:
    """Speaks to one Phaya with one key. `base` is the native base address, `https://host/api/v1`."""

    def __init__(self, base: str, key: str) -> None:
        self._base = base.rstrip("/")
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Opens the connection pool."""
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._key}"}, timeout=aiohttp.ClientTimeout(total=300)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str) -> dict[str, Any]:
        """A GET below the base. Raises ApiError or Unreachable."""
        return await self._ask("GET", path, None)

    async def post(
        self, path: str, body: Mapping[str, Any], key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """A POST below the base, under an idempotency key, its own or `key`: one whose answer was lost is sent again,
        a few times, and neither done nor charged twice. Raises ApiError or Unreachable.
        """
        sent = {"Idempotency-Key": key or str(uuid.uuid4()), **(headers or {})}
        lost = False
        for pause in PAUSES:
            try:
                return await self._ask("POST", path, body, sent)
            except Unreachable as error:
                if not (error.sent or lost):
                    raise  # nobody is there: that is to be known now
            except ApiError as error:
                busy = error.status in (502, 503, 504) or error.code == "idempotency_in_progress"
                if not busy or (error.retry_after or 0) > LONGEST_PAUSE:
                    raise
                pause = max(pause, error.retry_after or 0)
            lost = True
            await asyncio.sleep(pause)
        return await self._ask("POST", path, body, sent)

    async def follow(self, service: str, job_id: str, *, pause: float = 1.0) -> AsyncIterator[dict[str, Any]]:
        """The job's status at each change, until it has ended.

        It listens to the job's events; a server that has none, or a proxy that holds them back, is polled every
        `pause` seconds. What fails on the way is tried again.
        """
        async for status in self._follow(f"{service}/status/{job_id}", pause):
            yield status

    async def follow_job(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        """The same for a job of any service, in its own words."""
        async for status in self._follow(f"jobs/{job_id}", 1.0):
            yield status

    async def _follow(self, path: str, pause: float) -> AsyncGenerator[dict[str, Any]]:
        failures, last, streams = 0, "", True
        while True:
            heard = self._events(f"{path}/events", last) if streams else self._poll(path)
            try:
                async with contextlib.aclosing(heard):
                    async for seen, status in heard:
                        failures, last = 0, seen
                        yield status
                        if status["state"] in ENDED:
                            return
                await asyncio.sleep(pause)
            except Silent:
                streams = False
            except (ApiError, Unreachable) as error:
                failures += 1
                if streams and isinstance(error, ApiError) and error.status in (404, 405):
                    streams = False  # a server from before there were events, or no such job: a poll tells
                    continue
                if failures > 20 or (isinstance(error, ApiError) and error.status < 500 and error.status != 429):
                    raise
                after = error.retry_after if isinstance(error, ApiError) else None
                await asyncio.sleep(after or min(2.0**failures / 2, 10))

    async def keep(self, name: str, content: bytes) -> dict[str, Any]:
        """Keeps a file on the server; the answer's `url` is good as any input. Raises ApiError or Unreachable."""
        form = aiohttp.FormData()
        form.add_field("file", content, filename=name)
        return await self._send("POST", "media/upload", form, {})

    async def fetch(self, url: str, most: int) -> tuple[str, bytes] | None:
        """The type and content of a result of at most so many bytes; None where it is larger."""
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                answer.raise_for_status()
                if (answer.content_length or 0) > most:
                    return None
                content = bytearray()
                async for chunk in answer.content.iter_chunked(1 << 16):
                    content += chunk
                    if len(content) > most:
                        return None
                return answer.content_type, bytes(content)
        except aiohttp.ClientError as error:
            raise Unreachable(f"{url} cannot be fetched: {error}", sent=False) from error

    async def download(self, url: str, path: Path) -> int:
        """Saves a result; answers its size in bytes. Result links need no key, so none is sent."""
        size = 0
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            answer.raise_for_status()
            with path.open("wb") as file:
                async for chunk in answer.content.iter_chunked(1 << 16):
                    size += file.write(chunk)
        return size

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """What the server says bit by bit after a POST, which is sent once. Raises ApiError or Unreachable."""
        assert self._session is not None
        patience = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=300)
        sent = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        try:
            async with self._session.post(
                f"{self._base}/{path}", data=orjson.dumps(dict(body)), headers=sent, timeout=patience
            ) as answer:
                if answer.status >= 400:
                    raise refused(answer.status, answer.headers, await answer.read())
                async for lines in _lines(answer.content):
                    if lines.get(b"data", b"[DONE]") != b"[DONE]":
                        yield read(lines[b"data"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{self._base} went silent: {error}", sent=True) from error

    async def _poll(self, path: str) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
        """One poll, in the form of events."""
        yield "", await self.get(path)

    async def _events(self, path: str, last: str) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
        """Each event's id and status, behind the last one that was seen, until the server ends the stream.

        Raises ApiError, Unreachable, or Silent where nothing is heard.
        """
        assert self._session is not None
        headers = {"Last-Event-ID": last} if last else {}
        patience = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=SILENCE)
        try:
            async with self._session.get(f"{self._base}/{path}", headers=headers, timeout=patience) as answer:
                if answer.status >= 400:
                    raise refused(answer.status, answer.headers, await answer.read())
                if answer.content_type != "text/event-stream":
                    raise Silent
                async for lines in _lines(answer.content):
                    if b"data" in lines:
                        yield lines.get(b"id", b"").decode(), read(lines[b"data"])
        except aiohttp.SocketTimeoutError as error:
            raise Silent from error
        except aiohttp.ClientError as error:
            raise Unreachable(f"No Phaya answers at {self._base}: {error}", sent=False) from error

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        data = None if body is None else orjson.dumps(dict(body))
        return await self._send(method, path, data, {"Content-Type": "application/json", **(headers or {})})

    async def _send(self, method: str, path: str, data: Any, sent: Mapping[str, str]) -> dict[str, Any]:
        assert self._session is not None
        try:
            async with self._session.request(method, f"{self._base}/{path}", data=data, headers=sent) as answer:
                content = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            never = isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL)
            raise Unreachable(f"No Phaya answers at {self._base}: {error}", sent=not never) from error
        if status >= 400:
            raise refused(status, answer.headers, content)
        try:
            return read(content)
        except ValueError as error:
            raise Unreachable(f"What answers at {self._base} is no Phaya: {content[:200]!r}", sent=True) from error


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[dict[bytes, bytes]]:
    """The events of a stream, each by the names of its lines."""
    rest = b""
    async for chunk in content.iter_any():
        *events, rest = (rest + chunk).split(b"\n\n")
        for event in events:
            yield {name: value for name, _, value in (one.partition(b": ") for one in event.split(b"\n"))}
