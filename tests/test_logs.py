"""What the log says, and what it never says: real requests, failures, tracebacks and provider errors, and all of it
looked at."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from aiohttp import web

from conftest import Phaya, running
from phaya import logs, redaction
from phaya.catalog.images import TextToImage
from phaya.logs import request_id
from phaya.redaction import asked, clean
from phaya.serving import listen

pytestmark = pytest.mark.anyio

PROVIDER_KEY = "kie-live-5f2c9b7e1a4d8c6f"
OPENROUTER_KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
METRICS_TOKEN = "the-token-of-the-metrics"
PROMPT = 'A red "boat" at dawn,\nseen from ท่าเรือเก่า by the old harbour'
SIGNED = "http://127.0.0.1:9/pictures/sea.png?X-Amz-Signature=5ea5ea5ea5ea5ea5&X-Amz-Credential=AKIAABCDEFGHIJKLMNOP"


class Log:
    """All that was written."""

    def __init__(self, out: io.StringIO) -> None:
        self._out = out

    @property
    def text(self) -> str:
        return self._out.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.text.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    async def until(self, name: str, **values: Any) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while True:
                for line in self.events(name):
                    if values.items() <= line.items():
                        return line
                await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def log() -> Generator[Log]:
    """The log as a server writes it, from `debug` on."""
    before = structlog.get_config()
    handlers, level = logging.root.handlers[:], logging.root.level
    out = io.StringIO()
    logs.configure("debug", "json", out)
    structlog.configure(cache_logger_on_first_use=False)  # the loggers of the modules serve other tests, too
    yield Log(out)
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


class Echo:
    """A provider that fails, and repeats all that it was told."""

    def __init__(self) -> None:
        self.status = 500
        self.heard = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.heard += 1
        body = (await request.read()).decode()
        head = {name: value for name, value in request.headers.items() if name != "Host"}
        return web.Response(status=self.status, text=f"Oh no! {head} said {body} to {request.path_qs}")


@pytest.fixture(scope="module")
async def echo() -> AsyncGenerator[tuple[Echo, str]]:
    echo = Echo()
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", echo.answer)
    with listen("127.0.0.1", 0) as listener:
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        yield echo, f"http://127.0.0.1:{listener.getsockname()[1]}"
        await runner.cleanup()


@pytest.fixture(scope="module")
async def shop(log: Log, echo: tuple[Echo, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya]:
    """A Phaya whose providers all fail with an echo."""
    _, url = echo
    async with running(
        tmp_path_factory.mktemp("shop"),
        KIE_API_KEY=PROVIDER_KEY,
        KIE_BASE_URL=url,
        OPENROUTER_API_KEY=OPENROUTER_KEY,
        OPENROUTER_BASE_URL=url,
        PHAYA_METRICS_TOKEN=METRICS_TOKEN,
        PHAYA_LOG_REQUESTS="all",
    ) as phaya:
        yield phaya


def secrets_of(phaya: Phaya) -> list[str]:
    return [phaya.key, PROVIDER_KEY, OPENROUTER_KEY, METRICS_TOKEN, "5ea5ea5ea5ea5ea5", "AKIAABCDEFGHIJKLMNOP"]


def words_of(prompt: str) -> list[str]:
    """Pieces of a prompt by which it would be known."""
    return [prompt[:12], "at dawn", "ท่าเรือเก่า", "old harbour", orjson.dumps("ท่าเรือ").decode()[1:5]]


async def test_a_wellformed_id_of_the_client_is_answered_and_logged(shop: Phaya, log: Log) -> None:
    answer = await shop.get("user/credits", X_Request_Id="order-77.b:3")

    assert answer.headers["X-Request-Id"] == "order-77.b:3"
    line = await log.until("request", request="order-77.b:3")
    assert (line["route"], line["method"], line["status"]) == ("/api/v1/user/credits", "GET", 200)


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, "-x", "new\u00e9", "{}"])
async def test_any_other_id_is_replaced(shop: Phaya, given: str) -> None:
    answer = await shop.get("user/credits", X_Request_Id=given)

    assert len(answer.headers["X-Request-Id"]) == 32


async def test_a_secret_is_no_id(shop: Phaya, log: Log) -> None:
    answer = await shop.get("user/credits", X_Request_Id=shop.key.replace("_", "-").replace("pk-", "sk-"))

    assert len(answer.headers["X-Request-Id"]) == 32
    assert shop.key[3:] not in log.text


@pytest.mark.parametrize("path", ["/api/v1/nowhere", "/api/v1/jobs/none-such", "/v1/models/none-such"])
async def test_errors_name_their_request(shop: Phaya, path: str) -> None:
    answer = await shop.ask("GET", path)

    assert answer.status == 404
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


async def test_a_job_and_its_request_find_each_other_and_no_line_holds_a_secret(
    shop: Phaya, log: Log, echo: tuple[Echo, str]
) -> None:
    """The provider answers the creation with all that it was told: our key, the callback's token, the prompt."""
    made = await shop.create(TextToImage, prompt=PROMPT)
    line = await log.until("provider.unknown", job=made["job_id"])

    opened = [one for one in log.events("request") if one.get("job") == made["job_id"]]
    assert [(one["route"], one["status"]) for one in opened] == [("/api/v1/text-to-image/generate", 200)]
    assert "Oh no!" in line["detail"]
    for secret in secrets_of(shop):
        assert secret not in log.text
    for word in words_of(PROMPT):
        assert word not in log.text
    token = shop.system.workflow.callback_token(made["job_id"])
    assert token not in log.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_chat_is_logged_without_its_words(shop: Phaya, log: Log, stream: bool) -> None:
    body = {"messages": [{"role": "user", "content": PROMPT}], "stream": stream}
    answer = await shop.post("phaya-gpt/chat/completions", body)

    assert answer.status >= 500
    line = await log.until("call.failed", request=answer.headers["X-Request-Id"])
    assert line["detail"]
    for word in [*words_of(PROMPT), *secrets_of(shop)]:
        assert word not in log.text


async def test_a_signed_address_that_cannot_be_fetched_stays_out_of_the_log(shop: Phaya, log: Log) -> None:
    answer = await shop.post("image-to-video/create", {"image_url": SIGNED})

    assert answer.status == 422
    for secret in secrets_of(shop):
        assert secret not in log.text


async def test_a_fault_of_ours_is_logged_once_with_its_request_and_its_cookie_hidden(log: Log, tmp_path: Path) -> None:
    async with running(tmp_path) as phaya:
        await phaya.system.database.write(lambda connection: connection.exec_driver_sql("DROP TABLE deliveries"))
        answer = await phaya.ask(
            "GET", "/api/v1/webhooks/deliveries", Cookie="session=c00kie-c00kie", X_Api_Key=phaya.key
        )
        await asyncio.sleep(0.1)
        name = answer.headers["X-Request-Id"]
        key = phaya.key

    assert (answer.status, answer.json["request_id"]) == (500, name)
    lines = [line for line in log.lines if line.get("request") == name and "exception" in line]
    assert [line["event"] for line in lines] == ["request.failed"]
    assert "no such table" in lines[0]["exception"]
    for secret in (key, "c00kie-c00kie"):
        assert secret not in log.text


async def test_lines_of_libraries_are_json_with_the_id_and_without_secrets(log: Log) -> None:
    token = request_id.set("lib-1")
    logging.getLogger("some.library").error("it said Authorization: Bearer abcdef123456 to %s", "http://u:p4ss@host/")
    logging.getLogger("some.library").info("it is not told")
    request_id.reset(token)

    [line] = [one for one in log.lines if one.get("logger") == "some.library"]
    assert (line["request"], line["level"]) == ("lib-1", "error")
    assert "abcdef123456" not in log.text
    assert "p4ss" not in log.text


def test_a_statement_that_fails_does_not_tell_its_parameters(log: Log) -> None:
    from sqlalchemy.exc import IntegrityError

    hidden = IntegrityError("INSERT INTO jobs", {"prompt": "a secret wish"}, Exception("UNIQUE"), hide_parameters=True)

    assert "a secret wish" not in str(hidden)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key pk_0123456789abcdefABCDEF was refused", "0123456789abcdefABCDEF"),
        ("Bearer eyJhbGciOi.eyJzdWIiOi.c2ln rejected", "eyJhbGciOi"),
        ("https://b.example/x.png?X-Amz-Signature=abc123&a=1", "abc123"),
        ("https://b.example/x.png?a=1&token=abc123def", "abc123def"),
        ("postgresql://phaya:hunter22@db/phaya refused", "hunter22"),
        ("{'Authorization': 'Token t0ps3cret', 'Accept': '*/*'}", "t0ps3cret"),
        ('{"password": "open sesame", "user": "ann"}', "sesame"),
        ("Set-Cookie: session=abcdef; Path=/", "abcdef"),
        ('upstream said {"prompt": "a naked truth', "truth"),
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD is wrong", "C2FVsBQ"),
        ("AIzaSyA1234567890abcdefghijklmnopq not valid", "AIzaSy"),
        ("GET /welcome/sFuLEM2hrFsw-YzwVsyu failed", "sFuLEM2hrFsw"),
        ("DETAIL:  Failing row contains (1, a wish)", "wish"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, secret: str) -> None:
    assert secret not in clean(text)
    assert redaction.MASK in clean(text) or redaction.PRIVATE in clean(text)


@pytest.mark.parametrize(
    "text",
    [
        "the model bytedance/seedance-1.5-pro is paused",
        "KIE says 'sleeping' for task 5f2c9b7e; code 501",
        "OpenRouter answered 502 <html>Bad gateway</html>",
        "usage: prompt_tokens 11, completion_tokens 4",
        "job ea6d9ccd-4b17-4ddf-bbdc-8ec64482b36f: its file 2026/11/x.png is missing",
    ],
)
def test_what_an_operator_needs_stays(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("cut", [20, 30, 500])
def test_a_prompt_is_found_however_much_of_it_is_echoed(cut: int) -> None:
    token = asked.set({"prompt": PROMPT, "model": "z-image"})
    said = orjson.dumps({"asked": PROMPT}).decode()[: 10 + cut]
    found = clean(f"z-image failed: {said}")
    tail = clean(f"z-image failed: …{' '.join(PROMPT.split())[-30:]}")
    asked.reset(token)

    assert found.startswith("z-image failed: ")
    assert "boat" not in found
    assert "harbour" not in found + tail


async def test_only_notable_requests_get_a_line(log: Log, tmp_path: Path) -> None:
    async with running(tmp_path) as phaya:
        before = len(log.events("request"))
        await phaya.get("user/credits")
        await phaya.get("jobs/none")
        await phaya.post("text-to-image/estimate", {"prompt": 3})
        made = await phaya.create(TextToImage)
        await phaya.finish("text-to-image", made["job_id"])
        lines = log.events("request")[before:]

    assert [line["route"] for line in lines] == ["/api/v1/text-to-image/generate"]


async def test_a_slip_in_the_path_is_logged_by_the_route_that_answered(shop: Phaya, log: Log) -> None:
    answer = await shop.post("text-to-image/create/", {"prompt": 3})

    line = await log.until("request", request=answer.headers["X-Request-Id"])
    assert line["route"] == "/api/v1/text-to-image/generate"
