"""OpenRouter's adapter against scripted answers: raw events, usage, and what each fault proves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

import aiohttp
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from phaya.providers import Balance, ProviderError, Rejected, Unavailable, Unknown
from phaya.providers.openrouter import Model, OpenRouter, Stream, Usage
from phaya.providers.openrouter_errors import ChatRejected, ChatUnavailable, refusal
from phaya.providers.refusals import AGAINST_POLICY, CONTENT, PROVIDER
from wire import Act, Step, Wire, answer, events, refused_port

KEY = "sk-or-secret-0001"
BODY: dict[str, JsonValue] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
USAGE: JsonValue = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "cost": 0.00014}
WHOLE: dict[str, JsonValue] = {
    "id": "gen-1",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
    "usage": USAGE,
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def wire(anyio_backend: str) -> AsyncIterator[Wire]:
    async with Wire() as wire:
        yield wire


@pytest.fixture
async def session(anyio_backend: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def openrouter(session: aiohttp.ClientSession, wire: Wire) -> OpenRouter:
    return OpenRouter(session, wire.base, KEY, silence_seconds=0.3)


def error(code: JsonValue, message: str = "no", **more: JsonValue) -> dict[str, JsonValue]:
    return {"error": {"code": code, "message": message} | more, "user_id": "user_1"}


def event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def chunk(content: str = "", reason: str | None = None, **more: JsonValue) -> bytes:
    choice: JsonValue = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": reason}
    return event({"id": "gen-1", "object": "chat.completion.chunk", "choices": [choice]} | more)


COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
BILL = event({"id": "gen-1", "choices": [], "usage": USAGE})
OLD_BILL = chunk(usage=USAGE)
GOOD = [COMMENT, chunk("He"), COMMENT, chunk("llo"), chunk(reason="stop"), BILL, DONE]


async def heard(openrouter: OpenRouter) -> tuple[list[bytes], Stream]:
    """All events of one stream, and the stream after them."""
    async with openrouter.stream(BODY) as stream:
        return [event async for event in stream], stream


# ── whole answers ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_a_completion_is_handed_on_as_it_came(openrouter: OpenRouter, wire: Wire) -> None:
    """The body goes out with nothing but `stream` added; answer, usage and id come back."""
    wire.play(answer(WHOLE, headers={"X-Generation-Id": "gen-header"}))

    completion = await openrouter.complete(BODY)

    sent = wire.asked[0]
    assert ("POST", "/chat/completions", f"Bearer {KEY}") == (sent.method, sent.target, sent.headers["authorization"])
    assert sent.json == BODY | {"stream": False}
    assert completion.body == WHOLE
    assert (completion.usage, completion.generation) == (Usage(10, 4, "0.00014"), "gen-header")


@pytest.mark.anyio
async def test_the_operators_site_is_named_only_where_it_is_given(session: aiohttp.ClientSession, wire: Wire) -> None:
    wire.play(answer(WHOLE), answer(WHOLE))

    await OpenRouter(session, wire.base, KEY).complete(BODY)
    await OpenRouter(session, wire.base, KEY, "https://phaya.example").complete(BODY)

    told = [(asked.headers.get("http-referer"), asked.headers.get("x-openrouter-title")) for asked in wire.asked]
    assert told == [(None, None), ("https://phaya.example", "Phaya")]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("cost", "text"),
    [(b"0.00001", "0.00001"), (b"1e-05", "0.00001"), (b"0", "0"), (b'"0.5"', "0.5"), (b"null", None), (b"-1", None)],
)
async def test_cost_is_a_plain_decimal(openrouter: OpenRouter, wire: Wire, cost: bytes, text: str | None) -> None:
    wire.play(answer(orjson.dumps(WHOLE).replace(b"0.00014", cost)))

    completion = await openrouter.complete(BODY)

    assert completion.usage == Usage(10, 4, text)


@pytest.mark.anyio
async def test_embeddings_come_with_their_usage(openrouter: OpenRouter, wire: Wire) -> None:
    body: dict[str, JsonValue] = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": "AACAPw=="}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8, "cost": 0.0001},
    }
    wire.play(answer(body))

    found = await openrouter.embed({"model": "e", "input": "x", "encoding_format": "base64"})

    assert wire.asked[0].target == "/embeddings"
    assert wire.asked[0].json == {"model": "e", "input": "x", "encoding_format": "base64"}
    assert (found.body, found.usage) == (body, Usage(8, 0, "0.0001"))


# ── refusals before an answer ────────────────────────────────────────────────────────────────────────────

AFFORD = "This request requires more credits, or fewer max_tokens. You requested up to 9, but can only afford 3."


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("status", "body", "kind", "told", "type_"),
    [
        (400, error(400, "temperature is out of range"), ChatRejected, 400, "invalid_request_error"),
        (401, error(401, "User not found"), ChatUnavailable, 503, "server_error"),
        (402, error(402, AFFORD), ChatUnavailable, 503, "server_error"),
        (403, error(403, "Not available in your region"), ChatRejected, 403, "permission_error"),
        (403, error(403, "Key limit exceeded (total limit)"), ChatUnavailable, 503, "server_error"),
        (403, error(403, "flagged", metadata={"reasons": ["x"]}), ChatRejected, 403, "invalid_request_error"),
        (404, error(404, "No endpoints found"), ChatRejected, 404, "invalid_request_error"),
        (404, error(404, availability={"retryable": True}), ChatUnavailable, 503, "server_error"),
        (408, error(408), ChatUnavailable, 504, "server_error"),
        (413, error(413), ChatRejected, 413, "invalid_request_error"),
        (422, error(422), ChatRejected, 422, "invalid_request_error"),
        (429, error(429), ChatUnavailable, 429, "rate_limit_error"),
        (500, error(500), ChatUnavailable, 502, "server_error"),
        (502, error(502), ChatUnavailable, 502, "server_error"),
        (503, error(503), ChatUnavailable, 503, "server_error"),
        (521, b"<html>edge</html>", ChatUnavailable, 502, "server_error"),
        (523, b"<html>edge</html>", ChatUnavailable, 502, "server_error"),
        (525, b"<html>edge</html>", ChatUnavailable, 502, "server_error"),
        (526, b"<html>edge</html>", ChatUnavailable, 502, "server_error"),
        (529, error(529), ChatUnavailable, 503, "server_error"),
        (502, b"<html>edge</html>", ChatUnavailable, 502, "server_error"),
        (307, b"", ChatUnavailable, 502, "server_error"),
        (200, {"choices": None}, ChatUnavailable, 502, "server_error"),
        (200, {"choices": []}, ChatUnavailable, 502, "server_error"),
        (200, {"provider": WHOLE}, ChatUnavailable, 502, "server_error"),
        (200, {"choices": None} | error(429), ChatUnavailable, 429, "rate_limit_error"),
        (200, error("rate_limit_exceeded"), ChatUnavailable, 429, "rate_limit_error"),
        (200, error("503"), ChatUnavailable, 503, "server_error"),
        (200, error(400, "context too long"), ChatRejected, 400, "invalid_request_error"),
        (200, {"error": "odd"}, ChatUnavailable, 502, "server_error"),
    ],
)
async def test_every_refusal(
    openrouter: OpenRouter,
    wire: Wire,
    streamed: bool,
    status: int,
    body: JsonValue | bytes,
    kind: type[ProviderError],
    told: int,
    type_: str,
) -> None:
    """Streamed or not, a refusal before the first token is an exception that says what to answer."""
    wire.play(answer(body, status, {"Location": "/elsewhere"}))

    with pytest.raises(ProviderError) as raised:
        await (heard(openrouter) if streamed else openrouter.complete(BODY))

    assert isinstance(raised.value, ChatRejected | ChatUnavailable)
    assert (type(raised.value), raised.value.status, raised.value.type) == (kind, told, type_)
    assert len(wire.asked) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (520, b"<html>edge</html>"),
        (522, b"<html>edge</html>"),
        (524, b"<html>edge</html>"),
        (524, error(524, "Provider request timed out at edge network")),
        (527, b""),
    ],
)
async def test_what_the_edge_asked_in_vain_may_have_been_billed_and_is_not_asked_again(
    openrouter: OpenRouter, wire: Wire, streamed: bool, status: int, body: JsonValue | bytes
) -> None:
    wire.play(answer(body, status, {"Retry-After": "1"}))

    with pytest.raises(Unknown) as raised:
        await (heard(openrouter) if streamed else openrouter.complete(BODY))

    assert f"HTTP {status}" in raised.value.detail
    assert len(wire.asked) == 1


MASKED = "Provider returned error"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (400, error(400, "temperature is too high"), PROVIDER, "The chat provider says: temperature is too high."),
        (400, error(400, MASKED, metadata={"raw": "too small"}), PROVIDER, "The chat provider says: too small."),
        (400, error(400, MASKED, metadata={"raw": '{"x":1}'}), PROVIDER, "The chat provider refused the request."),
        (404, error(404, "Check your data policy"), PROVIDER, "The chat provider says: Check your data policy."),
        (403, error(403, metadata={"error_type": "content_policy_violation"}), CONTENT, AGAINST_POLICY),
        (403, error(403, metadata={"patterns": ["p"]}), CONTENT, AGAINST_POLICY),
        (400, error(400, MASKED, metadata={"raw": "Prompt was flagged"}), CONTENT, AGAINST_POLICY),
        (400, error(400, error_type="refusal"), CONTENT, AGAINST_POLICY),
    ],
)
async def test_refusals_read_as_sentences(
    openrouter: OpenRouter, wire: Wire, status: int, body: JsonValue, code: str, message: str
) -> None:
    wire.play(answer(body, status))

    with pytest.raises(Rejected) as raised:
        await openrouter.complete(BODY)

    assert (raised.value.code, raised.value.message) == (code, message)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "headers", "seconds"),
    [
        (429, error(429), {"Retry-After": "7"}, 7),
        (429, error(429, metadata={"retry_after_seconds": 8}), {}, 8),
        (429, error(429, availability={"retryable": True, "retry_after": 9}), {}, 9),
        (429, error(429, metadata={"headers": {"Retry-After": "11"}}), {}, 11),
        (429, error(429), {"Retry-After": "999999"}, 3600),
        (429, error(429), {"Retry-After": "Sat, 21 Nov 2026 00:00:00 GMT"}, 2),
        (402, error(402), {}, 300),
    ],
)
async def test_a_pause_is_read_wherever_it_is_told(
    openrouter: OpenRouter, wire: Wire, status: int, body: JsonValue, headers: Mapping[str, str], seconds: float
) -> None:
    wire.play(answer(body, status, headers))

    with pytest.raises(Unavailable) as raised:
        await openrouter.complete(BODY)

    assert raised.value.retry_after == seconds


@pytest.mark.anyio
async def test_users_never_read_of_our_account_nor_anyone_of_our_key(openrouter: OpenRouter, wire: Wire) -> None:
    wire.play(answer(error(402, AFFORD, metadata={"raw": f"key {KEY}"}), 402))

    with pytest.raises(Unavailable) as raised:
        await openrouter.complete(BODY)

    assert ("afford" in raised.value.detail, "credit" in raised.value.message) == (True, False)
    assert KEY not in raised.value.detail + raised.value.message


# ── connections ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "steps",
    [
        [Act.CLOSE],
        [Act.RESET],
        [Act.HANG],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nContent-Type: application/json\r\n\r\n{", Act.CLOSE],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: text/html\r\n\r\n<html>"],
    ],
    ids=["closed", "reset", "silent", "half", "html"],
)
async def test_an_answer_that_broke_off_may_be_billed(
    openrouter: OpenRouter, wire: Wire, streamed: bool, steps: list[Step]
) -> None:
    """It is not sent again: a completion may have been made."""
    wire.play(steps)

    with pytest.raises(Unknown):
        await (heard(openrouter) if streamed else openrouter.complete(BODY))

    assert len(wire.asked) == 1


@pytest.mark.anyio
async def test_a_reused_connection_that_dies_is_not_tried_again(openrouter: OpenRouter, wire: Wire) -> None:
    """The second request may have been read before the connection was closed."""
    wire.play(answer(WHOLE), [Act.CLOSE], answer(WHOLE))
    await openrouter.complete(BODY)

    with pytest.raises(Unknown):
        await openrouter.complete(BODY)

    assert [asked.connection for asked in wire.asked] == [1, 1]


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_connection_never_made_is_unavailable(session: aiohttp.ClientSession, streamed: bool) -> None:
    openrouter = OpenRouter(session, f"http://127.0.0.1:{refused_port()}", KEY)

    with pytest.raises(Unavailable):
        await (heard(openrouter) if streamed else openrouter.complete(BODY))


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_a_stream_is_handed_on_byte_for_byte(openrouter: OpenRouter, wire: Wire) -> None:
    """Comments are passed too; usage, id and end are read in passing."""
    wire.play(events(*GOOD, headers={"X-Generation-Id": "gen-header"}))

    passed, stream = await heard(openrouter)

    assert wire.asked[0].json == BODY | {"stream": True}
    assert passed == GOOD
    assert (stream.generation, stream.usage) == ("gen-header", Usage(10, 4, "0.00014"))
    assert (stream.finished, stream.error, stream.broken) == (True, None, None)
    assert (stream.characters, stream.octets) == (5, 5)


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["lf", "crlf"])
async def test_events_stay_whole_however_the_network_cuts_them(
    openrouter: OpenRouter, wire: Wire, size: int, newline: bytes
) -> None:
    """Thai letters are three bytes each; no cut through one reaches a client."""
    sent = [part.replace(b"\n", newline) for part in (COMMENT, chunk("สวัส"), chunk("ดี", "stop"), BILL, DONE)]
    whole = b"".join(sent)
    wire.play(events(*[whole[at : at + size] for at in range(0, len(whole), size)]))

    passed, stream = await heard(openrouter)

    assert passed == sent
    assert (stream.characters, stream.octets, stream.usage) == (6, 18, Usage(10, 4, "0.00014"))


@pytest.mark.anyio
@pytest.mark.parametrize("bill", [BILL, OLD_BILL], ids=["without choices", "with an empty choice"])
async def test_both_styles_of_the_usage_event_are_read(openrouter: OpenRouter, wire: Wire, bill: bytes) -> None:
    wire.play(events(chunk("a", "stop"), chunk(reason="stop"), bill, COMMENT, chunk(), DONE))

    _, stream = await heard(openrouter)

    assert (stream.usage, stream.finished, stream.generation) == (Usage(10, 4, "0.00014"), True, "gen-1")


@pytest.mark.anyio
async def test_all_that_a_model_writes_is_counted(openrouter: OpenRouter, wire: Wire) -> None:
    """Reasoning and tool calls are billed like content."""
    delta: JsonValue = {
        "content": None,
        "reasoning": "hmm",
        "tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a'}}, {"function": None}, 5],
        "audio": {"transcript": "la"},
    }
    wire.play(events(event({"choices": [{"delta": delta}, {"delta": None}, 7]}), chunk(reason="stop"), DONE))

    _, stream = await heard(openrouter)

    assert stream.characters == 3 + 1 + 3 + 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (chunk(reason="error", error={"code": 429, "message": "slow"}), {"code": 429, "message": "slow"}),
        (chunk(error={"code": "server_error", "message": "x"}, usage=USAGE), {"code": "server_error", "message": "x"}),
        (event({"error": {"code": 502, "message": "x"}}), {"code": 502, "message": "x"}),
        (event({"error": "x"}), {"message": "x"}),
    ],
)
@pytest.mark.parametrize("end", [(DONE,), ()], ids=["done", "no done"])
async def test_an_error_in_the_middle_is_told_and_passed_on(
    openrouter: OpenRouter, wire: Wire, told: bytes, expected: JsonValue, end: tuple[bytes, ...]
) -> None:
    """The presence of `error` decides, whatever the finish reason says."""
    wire.play(events(chunk("a"), told, *end))

    passed, stream = await heard(openrouter)

    assert passed == [chunk("a"), told, *end]
    assert (stream.error, stream.broken) == (expected, None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("last", "end"),
    [
        ((), True),
        ((), False),
        ((Act.RESET,), False),
        ((Act.CLOSE,), False),
        ((Act.HANG,), False),
        ((b'data: {"x', Act.CLOSE), False),
    ],
    ids=["ended", "open end", "reset", "closed", "silent", "half an event"],
)
async def test_a_stream_that_is_cut_is_not_finished(
    openrouter: OpenRouter, wire: Wire, last: tuple[bytes | Act, ...], end: bool
) -> None:
    """Without [DONE] or a finish reason an answer is broken, and half an event is not passed on."""
    wire.play(events(chunk("a"), *last, end=end) + ([] if end else [Act.CLOSE]))

    passed, stream = await heard(openrouter)

    assert passed == [chunk("a")]
    assert (stream.finished, stream.broken is None, stream.characters) == (False, False, 1)


@pytest.mark.anyio
async def test_a_last_event_without_its_blank_line_counts(openrouter: OpenRouter, wire: Wire) -> None:
    wire.play(events(chunk("a", "stop"), b"data: [DONE]\n"))

    passed, stream = await heard(openrouter)

    assert passed == [chunk("a", "stop"), DONE]
    assert (stream.finished, stream.broken) == (True, None)


@pytest.mark.anyio
async def test_nothing_is_waited_for_after_done(openrouter: OpenRouter, wire: Wire) -> None:
    wire.play(events(*GOOD, Act.HANG, end=False))

    passed, stream = await heard(openrouter)

    assert passed == GOOD
    assert stream.broken is None


@pytest.mark.anyio
async def test_leaving_the_context_hangs_up(openrouter: OpenRouter, wire: Wire) -> None:
    """Closing the connection is the only way to cancel, and what was heard so far stays known."""
    wire.play(events(chunk("abc"), Act.HANG, end=False))

    async with openrouter.stream(BODY) as stream:
        async for _ in stream:
            break

    await asyncio.wait_for(wire.left.wait(), 5)
    assert (stream.characters, stream.finished, stream.usage, stream.generation) == (3, False, None, "gen-1")


@pytest.mark.anyio
async def test_a_consumers_own_fault_is_not_taken_for_the_providers(openrouter: OpenRouter, wire: Wire) -> None:
    wire.play(events(*GOOD))

    with pytest.raises(ConnectionResetError):
        async with openrouter.stream(BODY):
            raise ConnectionResetError


@pytest.mark.anyio
async def test_a_stream_may_have_a_time_in_all(session: aiohttp.ClientSession, wire: Wire) -> None:
    wire.play(events(chunk("a"), Act.HANG, end=False))
    openrouter = OpenRouter(session, wire.base, KEY)

    async with openrouter.stream(BODY, 0.2) as stream:
        passed = [event async for event in stream]

    assert (passed, stream.finished, stream.broken is None) == ([chunk("a")], False, False)


# ── bookkeeping ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            200,
            {"data": {"native_tokens_prompt": 9, "native_tokens_completion": 2, "tokens_prompt": 1, "total_cost": 0.5}},
            Usage(9, 2, "0.5"),
        ),
        (200, {"data": {"tokens_prompt": 1, "tokens_completion": 0, "total_cost": 0}}, Usage(1, 0, "0")),
        (200, {"data": {"native_tokens_prompt": None}}, None),
        (404, error(404, "Generation not found"), None),
    ],
)
async def test_usage_can_be_asked_for_after_a_hang_up(
    openrouter: OpenRouter, wire: Wire, status: int, body: JsonValue, expected: Usage | None
) -> None:
    """By the generation's id, in the tokens that are billed; a record that is not there yet is None."""
    wire.play(answer(body, status))

    assert await openrouter.usage_of("gen-1") == expected
    assert wire.asked[0].target == "/generation?id=gen-1"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "steps", [[Act.CLOSE], [Act.HANG], answer(b"<html>"), answer(error(500), 500), answer(error(404), 200)]
)
async def test_usage_that_cannot_be_learned_now_raises(openrouter: OpenRouter, wire: Wire, steps: list[Step]) -> None:
    wire.play(steps, steps)

    with pytest.raises(ProviderError):
        await openrouter.usage_of("gen-1")


@pytest.mark.anyio
async def test_a_management_key_is_told_what_is_left_of_what_was_bought(openrouter: OpenRouter, wire: Wire) -> None:
    wire.play(answer({"data": {"total_credits": 100.5, "total_usage": 25.75}}))

    assert await openrouter.balances() == [Balance(Decimal("74.75"), "USD", Decimal("25.75"))]


@pytest.mark.anyio
@pytest.mark.parametrize(("left", "told"), [(7.25, Decimal("7.25")), (None, None)])
async def test_another_key_is_told_its_own_limit(
    openrouter: OpenRouter, wire: Wire, left: float | None, told: Decimal | None
) -> None:
    wire.play(answer(error(403), 403), answer({"data": {"limit_remaining": left, "usage": 0.5}}))

    assert await openrouter.balances() == [Balance(told, "USD", Decimal("0.5"))]
    assert [asked.target for asked in wire.asked] == ["/credits", "/key"]


@pytest.mark.anyio
async def test_models_are_listed_with_exact_prices(openrouter: OpenRouter, wire: Wire) -> None:
    wire.play(
        answer(
            {
                "data": [
                    {
                        "id": "a/b",
                        "name": "B",
                        "context_length": 8192,
                        "pricing": {"prompt": "0.00003", "completion": "0"},
                    },
                    {"id": "c/auto", "pricing": {"prompt": "-1"}},
                    {"name": "no id"},
                    5,
                ]
            }
        )
    )

    models = await openrouter.models()

    assert models == [Model("a/b", "B", 8192, "0.00003", "0"), Model("c/auto", "c/auto", None, None, None)]


# ── anything at all ──────────────────────────────────────────────────────────────────────────────────────

NAMES = st.sampled_from(["code", "message", "metadata", "availability", "raw", "headers", "error_type", "retryable"])
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(told=ANYTHING, status=st.sampled_from([200, 400, 403, 404, 429, 500]))
def test_any_error_object_is_one_of_ours(told: JsonValue, status: int) -> None:
    found = refusal(status, {"error": told}, "", None)

    assert isinstance(found, Rejected | Unavailable)
    assert found.message
