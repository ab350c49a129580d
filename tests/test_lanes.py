"""Requests that nobody would send, each sent twice: to where the express lanes are, and past them to its route."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import Connection, update
from starlette.types import ASGIApp, Receive, Scope, Send

from conftest import Phaya, settings
from phaya.app import App, create_app
from phaya.schema import jobs
from phaya.serving import listen, serving
from phaya.web.access import ROUTE
from phaya.wire import WHOLE
from raw import answered

pytestmark = pytest.mark.anyio

PLENTY = 1_000_000
MOVING = frozenset(
    {"job_id", "id", "status_url", "credits_balance", "created_at", "created", "request_id", "poll_after"}
)
"""Fields that differ from one time to the next."""
CLOCKED = frozenset({b"date", b"x-request-id", b"ratelimit", b"content-length", b"x-job-id", b"etag"})
"""Headers whose values do."""

CREATES = ("text-to-image/generate", "nano-banana/create", "gpt-image-2-text-to-image/create")
CHATS = ("/v1/chat/completions", "/api/v1/chat/completions", "/chat/completions")
OWN_CHAT = "/api/v1/phaya-gpt/chat/completions"
SECRET = b"pk_" + b"K" * 48
"""Stands for the key."""
MINE, OTHER, NOBODYS = (f"00000000-0000-4000-8000-00000000000{number}" for number in range(3))
"""Ids of jobs; the first two stand for real ones, which no run knows of another."""
HOMES = ("text-to-image", "seedream", "media", "sora2-video")


@dataclass(frozen=True)
class Sent:
    """A request, byte for byte."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    chunked: bool
    honest: bool
    """Whether nothing is wrong with it."""

    def written(self, mark: bytes) -> bytes:
        """The whole of it; a key of idempotency that can be one ends with `mark`, or the second would be a repeat."""
        lines = [self.method + b" " + self.target + b" HTTP/1.1", b"Connection: close"]
        for name, value in self.headers:
            named = name.lower() == b"idempotency-key" and value
            lines.append(name + b": " + value + (mark if named else b""))
        if self.chunked:
            pieces = [self.body[start : start + 9] for start in range(0, len(self.body), 9)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            lines.append(b"Transfer-Encoding: chunked")
        else:
            body = self.body
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", b""]) + body


@dataclass
class Told:
    """An answer, without what time alone changes in it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: Any


@dataclass
class Doors:
    """One Phaya behind two sockets: the one as it is, the other without lanes."""

    phaya: Phaya
    app: App
    ports: tuple[int, int]
    real: dict[bytes, bytes]
    """The ids and the key that stand-ins in requests stand for."""
    taken: Counter[str]
    """How often each lane was taken."""

    async def ask(self, sent: Sent) -> list[Told]:
        """Both answers."""
        answers: list[Told] = []
        for port, mark in zip(self.ports, (b"a", b"b"), strict=True):
            request = sent.written(mark)
            for name, value in self.real.items():
                request = request.replace(name, value)
            answers.append(await _ask(port, request))
        return answers


async def _ask(port: int, request: bytes) -> Told:
    whole = await answered(port, request)
    head, _, body = whole.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    kept = sorted((name, b"" if name in CLOCKED else value) for name, value in headers)
    return Told(int(status.split()[1]), kept, _lasting(body))


def _lasting(body: bytes) -> Any:
    if b"\ndata: " in body or body.startswith(b"data: "):  # a stream: what its events say
        lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
        return [_without(orjson.loads(line)) if line.startswith(b"{") else line for line in lines]
    try:
        return _without(orjson.loads(body))
    except orjson.JSONDecodeError:
        return body


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        told = cast("dict[str, Any]", value)
        return {name: one for name, one in told.items() if name not in MOVING}
    return value


@pytest.fixture(scope="module")
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Doors]:
    folder: Path = tmp_path_factory.mktemp("lanes")
    plenty = (
        "PHAYA_WRONG_KEYS_PER_MINUTE", "PHAYA_REQUESTS_PER_MINUTE", "PHAYA_POLLS_PER_MINUTE", "PHAYA_ACCOUNT_QUEUE",
        "PHAYA_ACCOUNT_JOBS",
    )  # fmt: skip
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        ports = cast("tuple[int, int]", tuple(listener.getsockname()[1] for listener in (first, second)))
        url = f"http://127.0.0.1:{ports[0]}"
        app = cast("App", create_app(settings(folder, **dict.fromkeys(plenty, PLENTY)), url))
        taken = Counter[str]()
        async with (
            serving(_counting(app, taken), first),
            serving(_plain(app), second),
            aiohttp.ClientSession() as session,
        ):
            phaya = Phaya(url, app.state.system, session)
            phaya.key = await phaya.new_key(str(PLENTY), account=phaya.email)
            stranger = await phaya.new_key()
            other = (await phaya.post("text-to-image/generate", {"prompt": "[slow 900]"}, key=stranger)).json["job_id"]
            mine = (await phaya.post("text-to-image/generate", {"prompt": "A fox"})).json["job_id"]
            await phaya.get(f"text-to-image/status/{mine}?wait=30")
            real = {MINE.encode(): mine, OTHER.encode(): other, SECRET: phaya.key}
            yield Doors(phaya, app, ports, {name: value.encode() for name, value in real.items()}, taken)
            assert await phaya.audit() == []


def _counting(app: App, taken: Counter[str]) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        finally:
            if ROUTE in scope:
                taken[scope[ROUTE]] += 1

    return answer


def _plain(app: App) -> ASGIApp:
    """The app without its lanes; its lifespan is the other server's."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app.access.answer(app.at_route, scope, receive, send)

    return answer


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "prompt", "aspect_ratio", "dry_run", "webhook_url", "webhook", "messages", "model", "stream", "max_tokens", "n",
    "tools", "text", "image_input",
)  # fmt: skip
PIECES = (
    b"/", b"//", b"%2F", b"%2f..", b"%00", b"%0A", b"%20", b"%25", b"%3F", b"%23", b"%C3%A9", b"%FF", b"\\", b";x",
    b".", b"A", b"\xff",
)  # fmt: skip
HEADERS: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"Authorization", (b"", b"Bearer", b"bearer  " + SECRET, b"Basic x", b"Bearer " + SECRET + b",x", b"Bearer \xe9")),
    (b"X-API-Key", (SECRET, b"", b"pk_wrong", b"\xe9")),
    (b"Idempotency-Key", (b"", b"k", b"two words", b"\xe9", b"x" * 254, b"x" * 255)),
    (b"If-None-Match", (b"*", b'"x"', b"W/*", b'W/"x", "y"', b"\xff", b"")),
    (b"Host", (b"", b"x", b"[", b"a/b?c", b"127.0.0.1:99999")),
    (b"Content-Type", (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b"")),
    (b"Content-Encoding", (b"gzip", b"identity")),
    (b"Cookie", (b"session=x", b"\xff")),
    (b"Accept", (b"text/html", b"text/event-stream")),
    (b"X-Request-Id", (b"mine", b"\xff")),
    (b"X-Forwarded-For", (b"10.0.0.1", b"\xff")),
    (b"Prefer", (b"handling=strict", b"wait=0", b"\xff")),
    (b"Cancel-After", (b"60", b"soon")),
    (b"Origin", (b"https://x.example", b"null")),
    (b"Range", (b"bytes=0-1",)),
)  # fmt: skip
NESTED = b"[" * 300 + b"]" * 300
BROKEN = (
    b"", b"{", b"null", b"[]", b'"x"', b"\xff", b'{"prompt":"\\ud800"}', b'{"prompt":"x\\u0000"}', b'{"prompt":NaN}',
    b'{"prompt":"a","prompt":"b"}', b'{"prompt":"x","deep":' + NESTED + b"}", b'{"messages":' + NESTED + b"}",
    b'\xef\xbb\xbf{"prompt":"x"}', b'{"a\\u0000":1}',
)  # fmt: skip


MISTAKES = ("method", "path", "query", "header", "header", "field", "body")


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """An honest request, and up to three things that are wrong with it."""
    kind = draw(st.sampled_from(("status", "status", "create", "create", "chat")))
    body: dict[str, Any] = {}
    if kind == "status":
        home, job = draw(st.sampled_from(HOMES)), draw(st.sampled_from((MINE, OTHER, NOBODYS)))
        method, target = b"GET", f"/api/v1/{home}/status/{job}"
    elif kind == "create":
        method, target = b"POST", "/api/v1/" + draw(st.sampled_from(CREATES))
        body = {"prompt": "[slow 900] A fox"}
    else:
        method, target = b"POST", draw(st.sampled_from((OWN_CHAT, *CHATS)))
        body = {"messages": [{"role": "user", "content": "Hi"}], "model": "phaya-gpt", "max_tokens": 9}
    headers = [(b"Host", b"127.0.0.1"), (b"Authorization", b"Bearer " + SECRET)]
    path, query, raw, chunked = target.encode(), b"", None, False
    mistakes = draw(st.lists(st.sampled_from(MISTAKES), max_size=3))
    for wrong in mistakes:
        match wrong:
            case "method":
                method = draw(st.sampled_from((b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH")))
            case "path":
                place, piece = draw(st.integers(1, len(path))), draw(st.sampled_from(PIECES))
                path = path[:place] + piece + path[place + draw(st.sampled_from((0, 0, len(piece)))) :]
            case "query":
                query = b"?" + draw(st.sampled_from((b"", b"x", b"wait=0", b"wait=x", b"x=%FF", b"x=%00", b"\xff")))
            case "header":
                name, values = draw(st.sampled_from(HEADERS))
                value = draw(st.sampled_from(values))
                headers.insert(draw(st.integers(0, len(headers))), (name, value))
                if draw(st.booleans()):
                    headers = [one for one in headers if one[0] != name or one[1] == value]
            case "field":
                body = body | {draw(st.sampled_from(FIELDS)): draw(VALUES)}
            case _:
                raw, chunked = draw(st.sampled_from((None, *BROKEN))), draw(st.booleans())
    if raw is None:
        raw = json.dumps(body).encode() if body or method != b"GET" else b""
    return Sent(method, path + query, tuple(headers), raw, chunked, honest=not mistakes)


@effort(
    max_examples=300, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(sent=requests())
async def test_whatever_is_sent_is_answered_past_the_lanes_as_on_them(doors: Doors, sent: Sent) -> None:
    before = doors.taken.total()

    on_lane, at_route = await doors.ask(sent)

    assert on_lane == at_route
    assert on_lane.status < 500
    assert not sent.honest or doors.taken.total() == before + 1


async def test_a_row_that_cannot_be_told_is_our_own_fault_on_a_lane_as_at_its_route(doors: Doors) -> None:
    job = (await doors.phaya.post("text-to-image/generate", {"prompt": "[slow 900] A fox"})).json["job_id"]
    await doors.phaya.system.database.write(_spoil, job)
    key = (b"Authorization", b"Bearer " + SECRET)

    sent = Sent(b"GET", f"/api/v1/text-to-image/status/{job}".encode(), (key,), b"", chunked=False, honest=True)
    on_lane, at_route = await doors.ask(sent)

    assert on_lane.body["error"] == "internal_error"
    assert (on_lane.status, on_lane.body) == (at_route.status, at_route.body)


def _spoil(connection: Connection, job_id: str) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(results="{"))


LINE = b"GET /api/v1/text-to-image/status/" + MINE.encode() + b" HTTP/1.1\r\n"
NAMED = b"Host: x\r\nAuthorization: Bearer " + SECRET + b"\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        LINE.replace(b"GET", b"HEAD") + NAMED + b"Connection: close\r\n\r\n",
        LINE.replace(b"1.1", b"1.0") + NAMED + b"\r\n",
        LINE.replace(b"1.1", b"1.0") + NAMED + b"If-None-Match: *\r\n\r\n",
        LINE + NAMED + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
        LINE + NAMED + b"Connection: close, keep-alive\r\n\r\n",
        LINE + NAMED + b"Connection: close\r\nX-Request-Id: a\r\n set-cookie: b\r\n\r\n",
        LINE + NAMED + b"Connection: close\r\nX-Request-Id: a\rset-cookie: b\r\n\r\n",
        LINE + NAMED + b"Connection: close\r\nX-Request-Id: a\nset-cookie: b\r\n\r\n",
    ],
)
async def test_a_poll_of_any_form_has_on_its_lane_the_headers_of_its_route(doors: Doors, request_: bytes) -> None:
    for stand_in, value in doors.real.items():
        request_ = request_.replace(stand_in, value)

    on_lane, at_route = [await _ask(port, request_) for port in doors.ports]

    assert on_lane == at_route
    assert b"set-cookie" not in dict(on_lane.headers)


async def test_an_id_with_a_line_in_it_is_not_told_to_a_server(doors: Doors) -> None:
    """A server might hand on what no parser should let through."""
    told: list[bytes] = []

    def take(status: int, lines: bytes, body: bytes) -> bool:
        told.append(lines)
        return True

    async def nothing(*_: object) -> Any:
        raise AssertionError("nothing is received, and nothing else is sent")

    scope = {
        "type": "http", "method": "GET", "query_string": b"", "client": ("127.0.0.1", 1),
        "path": f"/api/v1/text-to-image/status/{doors.real[MINE.encode()].decode()}",
        "headers": [(b"authorization", b"Bearer " + doors.real[SECRET]), (b"x-request-id", b"a\r\nset-cookie: b")],
        "extensions": {WHOLE: take},
    }  # fmt: skip
    await doors.app(scope, nothing, nothing)

    assert len(told) == 1
    assert b"set-cookie" not in told[0]
    assert told[0].count(b"\r\nx-request-id: ") == 1


async def test_polls_that_come_together_are_answered_in_their_order(doors: Doors) -> None:
    asked = [MINE, NOBODYS, MINE, OTHER, MINE]
    polls = b"".join(LINE.replace(MINE.encode(), one.encode()) + NAMED + b"\r\n" for one in asked)
    last = LINE + NAMED + b"If-None-Match: *\r\nConnection: close\r\n\r\n"
    request_ = polls + last
    for stand_in, value in doors.real.items():
        request_ = request_.replace(stand_in, value)
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.ports[0])
    writer.write(request_)
    async with asyncio.timeout(30):
        whole = await reader.read()
    writer.close()

    found = re.findall(rb"HTTP/1.1 (\d+)", whole)
    assert found == [b"200" if one == MINE else b"404" for one in asked] + [b"304"]
