"""A load: requests that wrk sends over and over, from cores of its own, and what came of them.

An answer is looked at once before the clock runs. While it runs, wrk counts what is 400 or more, and the bytes that
came must be as many as the answer that was looked at would make: so a fast wrong answer is not taken for a good one.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import orjson

import machine

SCRIPT = Path(__file__).with_name("wrk.lua")
CLOSE = b"Connection: close\r\n"


class Void(Exception):
    """A figure that must not be told, and why."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read to its end. `size` is its length on the wire."""

    status: int
    headers: Message
    body: bytes
    size: int

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True)
class Burst:
    """What wrk saw. Times are milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def request(method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None) -> bytes:
    """A whole request; `body` becomes JSON."""
    sent = b"" if body is None else orjson.dumps(body)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
    return "\r\n".join([*lines, "", ""]).encode() + sent


async def ask(port: int, sent: bytes) -> Answer:
    """Sends one request over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        first, rest = sent.split(b"\r\n", 1)
        writer.write(first + b"\r\n" + CLOSE + rest)
        async with asyncio.timeout(30):
            whole = await reader.read(-1)
    finally:
        writer.close()
    head, _, body = whole.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    headers = BytesParser().parsebytes(fields)
    if headers["transfer-encoding"] == "chunked":
        body = _joined(body)
    return Answer(int(line.split()[1]), headers, body, len(whole))


def _joined(chunks: bytes) -> bytes:
    """The body that came in chunks."""
    body = bytearray()
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            break
        body += rest[:length]
        chunks = rest[length + 2 :]
    return bytes(body)


class Load:
    """Requests for one server, sent in turn. `check` raises AssertionError where an answer is not what it should be."""

    def __init__(self, port: int, requests: Sequence[bytes], check: Callable[[Answer], None]) -> None:
        assert not any(b"\0" in one for one in requests)
        self.port = port
        self._requests = requests
        self._check = check

    async def checked(self) -> Answer:
        """Sends the first and the last request by hand. Raises Void where an answer is wrong."""
        answers = [await ask(self.port, sent) for sent in {self._requests[0]: 0, self._requests[-1]: 0}]
        for answer in answers:
            try:
                self._check(answer)
            except AssertionError as error:
                raise Void(f"answered {answer.status}: {answer.body[:200]!r} {error}") from None
        return answers[0]

    async def run(
        self, connections: int, seconds: float, *, cores: Sequence[int] = machine.REST, pause: int = 0
    ) -> Burst:
        """Sends them for so long over so many connections, each with `pause` milliseconds of rest between two.

        Raises Void where an answer was wrong, late or missing.
        """
        looked_at = await self.checked()
        with tempfile.NamedTemporaryFile(prefix="phaya-bench-") as plan:
            plan.write(b"\0".join(self._requests))
            plan.flush()
            command = [
                *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s", "--latency"),
                *(
                    "-s",
                    str(SCRIPT),
                    f"http://127.0.0.1:{self.port}/",
                    "--",
                    plan.name,
                    *([str(pause)] if pause else []),
                ),
            ]
            process = await asyncio.create_subprocess_exec(*machine.pinned(cores, *command), stdout=-1, stderr=-1)
            printed, problems = await process.communicate()
        return read(printed.decode() + problems.decode(), looked_at.size, connections)


def read(printed: str, size: int, connections: int) -> Burst:
    """What wrk printed, where each answer should be about `size` bytes long. Raises Void.

    At the end each connection may have got a part of one more answer.
    """
    line = next((line for line in printed.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise Void(f"wrk failed: {printed[-300:]}")
    told: dict[str, float] = orjson.loads(line.partition(" ")[2])
    if not told["requests"]:
        raise Void("no answer came")
    for name, meaning in (("refused", "answers of 400 and more"), ("broken", "broken connections"), ("late", "late")):
        if told[name]:
            raise Void(f"{told[name]:.0f} {meaning} beside {told['requests']:.0f} answers")
    count, low, high = told["requests"], 0.85 * size - 64, 1.15 * size + 64
    if not low * count <= told["bytes"] <= high * (count + connections):
        raise Void(f"answers of {told['bytes'] / count:.0f} bytes on average, where {size} were right")
    return Burst(int(told["requests"]), told["microseconds"] / 1e6, told["p50"] / 1000, told["p99"] / 1000)
