"""What an attacker sends costs us nothing: it is refused by name, quickly, and nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from argon2 import PasswordHasher
from structlog.testing import capture_logs

from conftest import POSTGRESQL, Phaya, running
from phaya import logins, passwords
from phaya.credits import credits
from phaya.errors import Overloaded
from phaya.load import LAG, Load
from phaya.passwords import Hashing
from phaya.web.threshold import refused

pytestmark = pytest.mark.anyio

ENGINES = (POSTGRESQL,)  # the one that takes fewer characters
CREATE = "text-to-image/generate"

BOMBS = {
    "deep lists": b'{"prompt":' + b"[" * 1_000_000,
    "deep objects": b'{"a":' * 200_000,
    "lists that can be read and not written": b'{"prompt":"a","messages":[{"role":"user","content":"a"}],"tools":'
    + b"[" * 300
    + b"]" * 300
    + b"}",
    "NUL below Python's stack": b'{"prompt":"a","x":' + b"[" * 900 + b'"\\u0000"' + b"]" * 900 + b"}",
    "infinity": b'{"prompt":"a","n":1e999999999}',
    "a surrogate": b'{"prompt":"\\ud800"}',
    "a surrogate in a name": b'{"prompt":"a","\\udfff":1}',
    "NUL": b'{"prompt":"a\\u0000b"}',
    "NUL in a name": b'{"prompt":"a","x\\u0000":1}',
    "NUL within": b'{"prompt":"a","webhook_url":{"x":["\\u0000"]}}',
    "no UTF-8": b'{"prompt":"\xff\xfe"}',
    "a number": b"1" * 100_000,
    "NaN": b'{"prompt":NaN}',
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_refused_and_costs_nothing(phaya: Phaya, bomb: str) -> None:
    before = await phaya.balance()

    for path in (CREATE, "phaya-gpt/chat/completions", "embedding/create", "webhooks"):
        answer = await phaya.post(path, BOMBS[bomb])
        assert answer.status in (413, 422), (path, answer.content)

    assert await phaya.balance() == before


@pytest.mark.parametrize("path", ["text-to-image/status/%00", "jobs/%00?x=%00", "jobs?cursor=%00", "x/%ED%A0%80"])
async def test_a_strange_address_is_no_fault_of_ours(phaya: Phaya, path: str) -> None:
    assert (await phaya.get(path)).status in (404, 422)


async def test_a_body_that_says_it_is_too_large_is_not_read(phaya: Phaya) -> None:
    host = urlsplit(phaya.url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    head = f"POST /api/v1/{CREATE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {phaya.key}\r\n"
    writer.write(f"{head}Content-Length: 10000000\r\n\r\n".encode())

    answer = await asyncio.wait_for(reader.read(4000), 5)
    writer.transport.abort()

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"4 MB" in answer


async def test_a_body_without_a_length_is_read_no_further_than_it_may_be(phaya: Phaya) -> None:
    async def endless() -> AsyncGenerator[bytes]:
        for _ in range(200):
            yield b"x" * 65536

    headers = {"Authorization": f"Bearer {phaya.key}"}
    async with phaya.session.post(f"{phaya.url}/api/v1/{CREATE}", data=endless(), headers=headers) as answer:
        assert answer.status == 413


@pytest.mark.parametrize("amount", ["1e999999999", "1e999990", "9" * 5000, "-1e999999999", "NaN", "Infinity"])
def test_an_amount_is_no_bomb(amount: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        credits(amount)


async def test_a_client_that_vanishes_is_no_failure_of_ours(phaya: Phaya) -> None:
    host = urlsplit(phaya.url)
    with capture_logs() as logs:
        for path in (f"/api/v1/{CREATE}", "/v1/chat/completions", "/api/v1/media/upload"):
            _, writer = await asyncio.open_connection(host.hostname, host.port)
            kind = "multipart/form-data; boundary=x"
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {phaya.key}\r\nContent-Type: {kind}\r\n"
            writer.write(f"{head}Content-Length: 1000\r\n\r\n--x".encode())
            await writer.drain()
            await asyncio.sleep(0.2)
            writer.transport.abort()
        await asyncio.sleep(0.3)

    assert [entry for entry in logs if entry["log_level"] == "error"] == []


# ── scopes ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_may_spend_at_no_route_but_those_of_its_scope(phaya: Phaya) -> None:
    """Every POST of the API with a key of every scope: 403 where another scope is needed, and never a charge."""
    services = phaya.system.tariff.services
    creates = {f"/api/v1/{service.create_path()}": {path, "generate"} for path, service in services.items()}
    creates |= {
        f"{prefix}/chat/completions": {"chat", "phaya-gpt"} for prefix in ("/v1", "/api/v1", "/api/v1/phaya-gpt")
    }
    creates |= {"/v1/responses": {"chat", "phaya-gpt"}, "/api/v1/media/upload": {"generate", "media/upload"}}
    creates |= {"/api/v1/user/key/rotate": {"keys"}}
    for scope in ("generate", "chat", "webhooks", "keys", *services):
        key = await phaya.new_key("5", scopes=[scope])
        for path, needed in creates.items():
            if scope not in needed:
                body = {"input": "a", "prompt": "a", "messages": [{"role": "user", "content": "a"}]}
                answer = await phaya.ask("POST", path, body, key=key)
                assert answer.status == 403, (scope, path, answer.status, answer.content)
        assert await phaya.balance(key) == 5


async def test_every_route_asks_for_a_key_but_those_that_are_public(phaya: Phaya) -> None:
    from phaya.app import create_app

    public = {f"/api/v1/phaya-gpt/{name}" for name in ("pricing", "models")}
    public |= {"/api/v1/services", "/api/v1/text-to-speech/voices", "/api/v1/embedding/pricing"}
    public |= {"/api/v1/video-download/supported-platforms", "/api/v1/topup/packs"}
    app = create_app(phaya.system.settings, phaya.url)
    found: set[str] = set()
    for path, item in app.openapi()["paths"].items():
        for method in item:
            filled = path.replace("{job_id}", "x")
            answer = await phaya.ask(method.upper(), filled.split("{")[0] + "x" * ("{" in filled), {}, key="pk_none")
            if answer.status not in (401, 429, 404, 405, 503):  # 503: too busy for anybody
                found.add(path)
    assert found == public


# ── overload ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_busy_process_refuses_work_first_and_reading_later() -> None:
    load = Load(10, lambda: 3)
    load.requests = 12
    assert not refused(load, "POST", "/api/v1/x")
    load.requests = 13
    assert refused(load, "POST", "/api/v1/x")
    assert not refused(load, "GET", "/api/v1/x")
    load.requests, load.lag = 23, LAG * 3
    assert refused(load, "GET", "/api/v1/x")
    for path in ("/healthz", "/readyz", "/metrics", "/api/v1/text-to-image/callback"):
        assert not refused(load, "POST", path)
    assert load.refused == 2


async def test_an_overloaded_process_says_so_at_once_and_shows_it(tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_REQUESTS_AT_ONCE=1) as phaya:
        assert (await phaya.ask("GET", "/readyz")).json["load"] == "ready"
        phaya.system.load.requests += 1  # one that is being worked on
        answer = await phaya.post(CREATE, {"prompt": "a"})
        openai = await phaya.ask("POST", "/v1/chat/completions", {})
        assert (await phaya.ask("GET", "/readyz")).json["load"] == "overloaded"
        assert (await phaya.get("user/credits")).status == 200
        phaya.system.load.requests -= 1
        assert (await phaya.post(CREATE, {"prompt": "a"})).status == 200

    assert (answer.status, answer.json["error"], answer.headers["Retry-After"]) == (503, "overloaded", "2")
    assert openai.json["error"]["code"] == "overloaded"


# ── passwords ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_crowd_at_the_door_is_hashed_a_few_at_a_time() -> None:
    hashing, busy, most = Hashing(2, 3), 0, 0

    def work() -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        threading_pause()
        busy -= 1

    outcomes = await asyncio.gather(*(hashing.run(work) for _ in range(9)), return_exceptions=True)

    assert most <= 2
    assert sum(outcome is None for outcome in outcomes) == 5
    assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 4
    assert await hashing.run(work) is None


def threading_pause() -> None:
    import time

    time.sleep(0.02)


async def test_a_password_is_kept_under_todays_parameters_after_a_sign_in(phaya: Phaya) -> None:
    email = "weak@phaya.example"
    link = await phaya.operate("console link", account=email)
    form: dict[str, Any] = {"password": "a long password", "again": "a long password"}
    headers = {"Origin": phaya.url}
    async with phaya.session.post(phaya.url + link["path"], data=form, headers=headers, allow_redirects=False) as done:
        assert done.status == 303
    login = await phaya.system.database.read(logins.find, email)
    assert login is not None
    weak = PasswordHasher(time_cost=1, memory_cost=1024).hash("a long password")
    await phaya.system.database.write(logins.renew_hash, login.account_id, login.password, weak)

    phaya.session.cookie_jar.clear()
    form = {"email": email, "password": "a long password"}
    async with phaya.session.post(phaya.url + "/sign-in", data=form, headers=headers, allow_redirects=False) as done:
        assert done.status == 303

    after = await phaya.system.database.read(logins.find, email)
    assert after is not None
    assert passwords.outdated(weak)
    assert not passwords.outdated(after.password)
    assert passwords.fits(after.password, "a long password")
    phaya.session.cookie_jar.clear()
