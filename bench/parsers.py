"""The parsers of what others send, each with honest documents, and what must hold of what it makes of wrong ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import struct
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any, cast

import aiohttp
import orjson

from mutation import broken, changed
from phaya.calls import Finished, Look, Passage, Refused, Waiting
from phaya.providers import ProviderError, Rejected
from phaya.providers import gemini_wire as gemini
from phaya.providers.captions import from_speech
from phaya.providers.kie import Kie
from phaya.providers.kie_envelope import LONGEST_TICKET, read_answer, record_in, ticket_in
from phaya.providers.kie_records import LONGEST_URL, read_record
from phaya.providers.openrouter_errors import refusal
from phaya.providers.openrouter_stream import Stream, Usage, usage_in
from phaya.providers.pcm import NotSound, read_sound
from phaya.providers.suno import read_songs
from phaya.providers.transcription import read_heard
from phaya.providers.transport import start_of
from phaya.providers.veo import read_film
from phaya.results import Results
from phaya.stripe import Declined, NotStripe, read_event
from phaya.web.tab import tokens

URL = "https://files.example/a.png"
NOW = 1_800_000_000_000
STATUSES = (
    200,
    200,
    200,
    200,
    200,
    201,
    204,
    302,
    400,
    401,
    402,
    403,
    404,
    408,
    422,
    429,
    433,
    451,
    455,
    500,
    502,
    524,
)
MOST_TOKENS = 10**9
LONGEST_SENTENCE = 400

Run = Callable[[random.Random], None]

TASK = {"code": 200, "msg": "success", "data": {"taskId": "t-1", "recordId": "t-1"}}
NO = {"code": 422, "msg": "The prompt is too long", "data": None}
RECORD = {
    "code": 200,
    "msg": "success",
    "data": {
        "taskId": "t-1", "model": "z-image", "state": "success", "param": '{"model":"z"}', "progress": 40,
        "resultJson": orjson.dumps({"resultUrls": [URL], "originUrls": [URL + "2"], "resolution": "1080p"}).decode(),
        "response": {"resultObject": {"character_id": "c-1"}}, "failCode": None, "failMsg": "", "creditsConsumed": 0.8,
    },
}  # fmt: skip
WORKING = {"code": 200, "msg": "ok", "data": {"taskId": "t", "state": "generating", "progress": 40}}
FAILED = {
    "code": 200,
    "msg": "ok",
    "data": {"state": "fail", "failCode": "422", "failMsg": "It failed.", "creditsConsumed": 1},
}
SONGS = {
    "code": 200,
    "msg": "success",
    "data": {
        "taskId": "t-1", "status": "SUCCESS", "errorMessage": None,
        "response": {
            "sunoData": [{"audioUrl": URL, "title": "One", "duration": 120.5}, {"audioUrl": URL, "title": "Two"}],
        },
    },
}  # fmt: skip
FILM = {
    "code": 200,
    "msg": "success",
    "data": {
        "successFlag": 1,
        "response": {"resultUrls": [URL], "originUrls": [URL], "resolution": "1080p"},
        "errorCode": None,
    },
}
CALLBACK = {
    "code": 200,
    "msg": "success",
    "data": {"taskId": "t-1", "task_id": "t-1", "state": "success"},
    "taskId": "t-1",
}
USAGE = {"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42, "cost": 0.00012}
COMPLETION = {"id": "gen-1", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": USAGE}
TROUBLE = {
    "error": {
        "code": 429, "message": "Provider returned error", "availability": {"retryable": True, "retry_after": 3},
        "metadata": {"error_type": "rate_limit_exceeded", "raw": "slow down", "headers": {"Retry-After": "2"}},
    }
}  # fmt: skip
CHUNK = {
    "id": "gen-1",
    "choices": [{"delta": {"content": "Hi", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}],
}
LAST: dict[str, Any] = {"id": "gen-1", "choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE}
SPEECH = {
    "candidates": [{
        "content": {"parts": [{"inlineData": {
            "mimeType": "audio/L16;codec=pcm;rate=24000", "data": base64.b64encode(bytes(48_000)).decode(),
        }}]},
        "finishReason": "STOP", "finishMessage": "",
    }],
    "promptFeedback": {},
    "usageMetadata": {
        "promptTokenCount": 10, "candidatesTokenCount": 25,
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 25}],
    },
}  # fmt: skip
QUOTA = {
    "error": {
        "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Please retry in 3.5s.",
        "details": [{"retryDelay": "3s"}, {"violations": [{"quotaId": "PerMinute", "quotaValue": "10"}]}],
    }
}  # fmt: skip
HEARD = {
    "text": "Hello there. สวัสดี",
    "segments": [
        {"text": "Hello there.", "start": 0.2, "end": 1.5, "words": [{"word": "Hello", "start": 0.2, "end": 0.9}]}
    ],
    "words": [{"word": "Hello", "start": 0.2, "end": 0.9}, {"word": "there.", "start": 1.0, "end": 1.5}],
}
EVENT = {
    "id": "evt_1", "type": "checkout.session.completed",
    "data": {"object": {
        "object": "checkout.session", "id": "cs_1", "url": URL, "client_reference_id": "top-1", "status": "complete",
        "payment_status": "paid", "amount_total": 10_000, "currency": "thb", "payment_intent": {"id": "pi_1"},
    }},
}  # fmt: skip
FORMAT = struct.pack("<IHHIIHH", 16, 1, 1, 24_000, 48_000, 2, 16)
WAV = b"RIFF\x24\x01\x00\x00WAVEfmt " + FORMAT + b"data" + (256).to_bytes(4, "little") + bytes(256)


class Wrong(AssertionError):
    """A parser made something of an answer that must not be made of any."""


def hold(claim: bool, told: object) -> None:
    """Raises Wrong where a claim does not hold."""
    if not claim:
        raise Wrong(str(told)[:300])


def created(dice: random.Random) -> None:
    """KIE's answer to a creation: a ticket that can be kept, or a refusal."""
    body = changed(dice.choice((TASK, NO)), dice)
    try:
        ticket = ticket_in(read_answer(dice.choice(STATUSES), body, None))
    except ProviderError as error:
        _tell(error)
    else:
        hold(0 < len(ticket) <= LONGEST_TICKET and ticket.isprintable(), ticket)


def looked(seeds: tuple[object, ...], read: Callable[[Any], Look]) -> Run:
    """KIE's answer to a look, in one of its three dialects."""

    def run(dice: random.Random) -> None:
        answer = read_answer(dice.choice(STATUSES), changed(dice.choice(seeds), dice), None)
        try:
            record = record_in(answer)
            _judge(record if isinstance(record, Refused) else read(record))
        except ProviderError as error:
            _tell(error)

    return run


def _judge(found: Look) -> None:
    match found:
        case Waiting(_, progress):
            hold(progress is None or 0 <= progress <= 1, found)
        case Finished(urls, facts, spent):
            hold(bool(urls or facts), found)
            hold(all(url.startswith(("https://", "http://")) and len(url) <= LONGEST_URL for url in urls), found)
            hold(len(Results.pack(found)) < 1_000_000, "the row of the result is too long")
            hold("character_id" not in facts or isinstance(facts["character_id"], str), facts)
            _money(spent)
        case Refused(reason, code, spent):
            hold(0 < len(reason) <= LONGEST_SENTENCE, reason)
            hold(code in ("provider_error", "content_rejected", "lost"), code)
            _money(spent)


def _money(text: str | None) -> None:
    hold(text is None or (len(text) <= 64 and 0 <= Decimal(text) < 10**15), text)


def _tell(error: ProviderError) -> None:
    hold(0 < len(error.message) <= LONGEST_SENTENCE, error.message)
    hold(len(error.detail) <= 20_000, len(error.detail))


def called_back(dice: random.Random) -> None:
    """A callback: whose job it names, and whether it is signed; nothing else of it counts."""
    try:
        body: object = orjson.loads(changed(CALLBACK, dice))
    except orjson.JSONDecodeError:
        return
    kie = Kie(cast("aiohttp.ClientSession", None), "https://kie.example", ["k"], ["secret"])
    ticket = kie.callback_ticket(body)
    hold(ticket is None or 0 < len(ticket) <= LONGEST_TICKET, ticket)
    headers = {
        "X-Webhook-Timestamp": dice.choice(("", "1", "-1", "9" * 12, "\u0661")),
        "X-Webhook-Signature": "é\udcff",
    }
    hold(not kie.callback_is_signed(headers, ticket), "a signature that nobody made")


def completed(dice: random.Random) -> None:
    """OpenRouter's answer in one piece: its usage, or what its refusal means."""
    body = changed(dice.choice((COMPLETION, TROUBLE)), dice)
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    answer: dict[str, Any] = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    _usage(usage_in(answer))
    _tell(refusal(dice.choice(STATUSES), answer, start_of(body), None))


def _usage(usage: Usage | None) -> None:
    if usage is not None:
        hold(0 <= usage.prompt_tokens <= MOST_TOKENS and 0 <= usage.completion_tokens <= MOST_TOKENS, usage)
        _money(usage.cost)
        orjson.dumps(tokens(usage))


class Fed:
    """Bytes in place of a connection, in parts."""

    def __init__(self, parts: list[bytes]) -> None:
        self.headers: dict[str, str] = {}
        self.content = self
        self._parts = parts

    async def iter_any(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


def streamed(dice: random.Random) -> None:
    """OpenRouter's events: handed on whole and unchanged, and counted."""
    events = [
        b"data: " + changed(dice.choice((CHUNK, LAST, TROUBLE)), dice) + b"\n\n" for _ in range(dice.randrange(1, 4))
    ]
    sent = b": ping\n\n" + b"".join(events) + dice.choice((b"", b"data: [DONE]\n\n", b"data: [DONE]", b"\r\n\r\n"))
    sent = broken(sent, dice) if dice.random() < 0.3 else sent
    cuts = sorted(dice.randrange(len(sent) + 1) for _ in range(dice.randrange(4)))
    parts = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    stream = Stream(cast("aiohttp.ClientResponse", Fed(parts)))

    async def read() -> list[bytes]:
        return [event async for event in stream]

    passed = _driven(read())
    hold(all(event.endswith((b"\n\n", b"\n\r\n")) for event in passed), passed)
    hold(sum(map(len, passed)) <= len(sent) + 2, "more was handed on than came")
    hold(stream.finished or stream.error is not None or stream.broken is not None, "a stream without an end")
    hold(0 <= stream.characters <= stream.octets <= len(sent) * 3, stream.octets)
    _usage(stream.usage)


def _driven(work: Any) -> Any:
    """What a coroutine returns that waits for nobody."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def spoken(dice: random.Random) -> None:
    """Gemini's answer: sound of a sensible length and tokens that can be charged, or another attempt."""
    body = changed(dice.choice((SPEECH, SPEECH, QUOTA)), dice)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    try:
        found = gemini.read_answer(answer, Passage("Hello", 1.0))
    except gemini.Again as again:
        hold(0 <= again.wasted <= MOST_TOKENS, again.wasted)
    except Rejected as error:
        _tell(error)
    else:
        hold(0 < found.sound.seconds <= 26, found.sound.seconds)
        hold(0 <= found.prompt_tokens <= MOST_TOKENS and 0 <= found.audio_tokens <= MOST_TOKENS, "absurd tokens")
        hold(found.sound.rate >= 1000 and found.sound.channels >= 1, found.sound.rate)
    meant = gemini.refusal(dice.choice(STATUSES), answer, start_of(body), None)
    hold(isinstance(meant, Rejected) or meant.pause is None or 0 <= meant.pause <= 3600, meant)


def sounded(dice: random.Random) -> None:
    """Samples of a provider, with or without a header."""
    content = WAV
    for _ in range(dice.randrange(1, 5)):
        content = broken(content, dice)
    try:
        sound = read_sound(
            content, dice.choice(("audio/wav", "audio/L16;rate=0000", "audio/L16;rate=24000", "", "text/html"))
        )
    except NotSound:
        return
    hold(sound.seconds >= 0 and sound.channels > 0 and len(sound.samples) <= len(content), sound.rate)


def heard(dice: random.Random) -> None:
    """A transcriber's answer: what was said lies within the sound, and makes captions."""
    try:
        answer: Any = orjson.loads(changed(HEARD, dice))
    except orjson.JSONDecodeError:
        return
    if not isinstance(answer, dict) or not isinstance(cast("dict[str, Any]", answer).get("text"), str):
        return  # what `hear` refuses
    found = read_heard(cast("dict[str, Any]", answer), 2.0)
    for span in (*found.segments, *found.words):
        hold(0 <= span.start <= span.end <= 2.0 and bool(span.text), span)
        orjson.dumps(span.told())
    if len(found.text) + sum(len(span.text) for span in (*found.segments, *found.words)) < 500:
        hold(all(one.start <= one.end for one in from_speech(found, 2.0)), "a caption that ends before it begins")


def paid(dice: random.Random) -> None:
    """An event of Stripe's, rightly signed: an amount is a whole number, and not negative."""
    body = changed(EVENT, dice)
    mark = hmac.new(b"whsec", f"{NOW // 1000}.".encode() + body, hashlib.sha256).hexdigest()
    try:
        session = read_event(body, f"t={NOW // 1000},v1={mark}", ["whsec"], NOW).session
    except (NotStripe, Declined):
        return
    if session is not None:
        hold(session.total is None or (type(session.total) is int and 0 <= session.total < 2**63), session.total)
        hold(
            all(text is None or 0 < len(text) <= 2048 for text in (session.id, session.reference, session.intent)),
            session,
        )


PARSERS: dict[str, Run] = {
    "creations of KIE": created,
    "records of KIE's jobs": looked((RECORD, RECORD, WORKING, FAILED, NO), read_record),
    "records of KIE's songs": looked((SONGS, NO), read_songs),
    "records of KIE's films": looked((FILM, NO), read_film),
    "callbacks": called_back,
    "answers of OpenRouter": completed,
    "streams of OpenRouter": streamed,
    "answers of Gemini": spoken,
    "sound": sounded,
    "transcripts": heard,
    "events of Stripe": paid,
}
