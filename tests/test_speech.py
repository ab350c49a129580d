"""Texts read aloud: through the whole of Phaya against the sandbox, and the adapter against scripted answers."""

from __future__ import annotations

import base64
import io
import struct
import wave
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from pydantic import JsonValue

from conftest import Phaya, running
from phaya.calls import GeminiSpeech, Passage
from phaya.catalog import SERVICES
from phaya.catalog.speech import TextToSpeech
from phaya.catalog.voices import VOICES
from phaya.providers import Made, Rejected
from phaya.providers.gemini import ATTEMPTS, Gemini
from phaya.providers.gemini_wire import family_of
from wire import Act, Wire, answer

pytestmark = pytest.mark.anyio
PATH = "text-to-speech"
MODELS = {
    "v38": "gemini-3.8-flash-tts",
    "3.1": "gemini-3.1-flash-tts-preview",
    "2.5": "gemini-2.5-flash-preview-tts",
}


# --- through the whole of Phaya ---


async def say(phaya: Phaya, key: str | None = None, **fields: Any) -> dict[str, Any]:
    created = await phaya.create(SERVICES[PATH], key, **fields)
    return await phaya.finish(PATH, created["job_id"], key)


async def facts_of(phaya: Phaya, status: dict[str, Any]) -> dict[str, Any]:
    """What the job's row remembers of its making."""

    def read(connection: Any) -> str:
        found = connection.exec_driver_sql("SELECT results FROM jobs WHERE id = ?", (status["job_id"],))
        return str(found.scalar_one())

    return orjson.loads(await phaya.system.database.read(read))["facts"]


async def sound_of(phaya: Phaya, url: str) -> wave.Wave_read:
    async with phaya.session.get(url, allow_redirects=False) as reply:
        assert (200, "audio/wav") == (reply.status, reply.headers["Content-Type"])
        return wave.open(io.BytesIO(await reply.read()))


async def test_a_text_becomes_a_wav_file_that_costs_exactly_its_tokens(phaya: Phaya) -> None:
    key = await phaya.new_key("5")

    status = await say(phaya, key, prompt="สวัสดีครับ Welcome to Chiang Mai. It is a fine day.", voice="Kore")

    assert ("COMPLETED", status["result_url"]) == (status["status"], status["audio_url"])
    assert status["audio_url"].endswith(".wav")
    sound = await sound_of(phaya, status["audio_url"])
    assert (1, 2, 24_000) == (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
    assert 2 < sound.getnframes() / 24_000 < 8
    facts = await facts_of(phaya, status)
    assert abs(facts["audio_tokens"] - sound.getnframes() / 24_000 * 25) < 1
    cost = (Decimal("17.5") * facts["prompt_tokens"] + 315 * facts["audio_tokens"]) / 1_000_000
    assert await phaya.balance(key) == 5 - cost
    assert await phaya.audit() == []


async def test_a_hundred_characters_hold_a_fraction_of_a_credit(phaya: Phaya) -> None:
    quote = await phaya.post(
        f"{PATH}/estimate", {"prompt": "The quick brown fox jumps. " * 3 + "It is nineteen words."}
    )

    assert Decimal("0.05") < quote.exact("credits") < Decimal("0.4")
    assert f"at most {quote.exact('credits')} credits" in quote.json["message"]


async def test_a_long_text_is_read_in_passages_and_joined_whole(phaya: Phaya) -> None:
    prompt = "The river is wide here, and slow. Nobody knows its name. " * 45
    passages = SERVICES[PATH].model_validate({"prompt": prompt}).call()
    assert isinstance(passages, GeminiSpeech)
    assert len(passages.passages) == 3

    status = await say(phaya, prompt=prompt)

    seconds = (await sound_of(phaya, status["audio_url"])).getnframes() / 24_000
    assert abs(seconds - sum(len(one.text) for one in passages.passages) / 15) < 1
    assert (await facts_of(phaya, status))["audio_tokens"] == pytest.approx(seconds * 25, abs=2)


@pytest.mark.parametrize("prompt", ["Say hello", "Write a poem about rain", "What is the capital of Thailand?", "5"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
async def test_a_text_that_looks_like_a_wish_is_read_and_not_obeyed(
    tmp_path: Path, session: aiohttp.ClientSession, phaya: Phaya, model: str, prompt: str
) -> None:
    made = await Gemini(session, origin(phaya), "any", model).run(speech(prompt), {}, tmp_path, ignore)

    with wave.open(str(made.files[0])) as sound:
        assert sound.getnframes() / 24_000 == pytest.approx(max(0.3, len(prompt) / 15), abs=0.01)


@pytest.mark.parametrize("marker", ["[429]", "[drop]", "[midfail]"])
async def test_a_passing_trouble_only_delays_a_reading(phaya: Phaya, marker: str) -> None:
    key = await phaya.new_key("5")

    status = await say(phaya, key, prompt=f"A heron stands in the mist {marker}")

    facts = await facts_of(phaya, status)
    cost = (Decimal("17.5") * facts["prompt_tokens"] + 315 * facts["audio_tokens"]) / 1_000_000
    assert ("COMPLETED", 5 - cost) == (status["status"], await phaya.balance(key)), "what gave nothing is not charged"
    assert facts["wasted_tokens"] == (40 if marker == "[midfail]" else 0)


async def test_what_is_against_the_policy_is_told_so(phaya: Phaya) -> None:
    status = await say(phaya, prompt="Something forbidden [reject]")

    assert ("FAILED", "content_rejected") == (status["status"], status["error_code"])


async def test_a_reading_can_be_cancelled(phaya: Phaya) -> None:
    key = await phaya.new_key("5")
    job = (await phaya.create(SERVICES[PATH], key, prompt="A long silence [slow 2]"))["job_id"]

    await phaya.post(f"{PATH}/cancel/{job}", {}, key=key)

    assert ("FAILED", "cancelled") == ((status := await phaya.finish(PATH, job, key))["status"], status["state"])
    assert await phaya.balance(key) == 5


async def test_the_voices_are_open_to_all_and_all_of_them_can_be_asked_for(phaya: Phaya) -> None:
    async with phaya.session.get(f"{phaya.url}/api/v1/{PATH}/voices") as reply:
        voices = (await reply.json())["voices"]

    assert len(voices) == 30
    assert [voice["name"] for voice in voices] == list(VOICES)
    assert {"name": "Zephyr", "description": "Bright"} == voices[0]
    assert {"name": "Sulafat", "description": "Warm"} == voices[-1]
    for voice in voices:
        quote = await phaya.post(f"{PATH}/estimate", {"prompt": "Hello", "voice": voice["name"].lower()})
        assert (200, [f"'voice': {voice['name'].lower()!r} was read as {voice['name']!r}."]) == (
            quote.status,
            quote.json["warnings"],
        )


async def test_voices_differ(tmp_path: Path, session: aiohttp.ClientSession, phaya: Phaya) -> None:
    gemini = Gemini(session, origin(phaya), "any", MODELS["v38"])
    sounds: set[bytes] = set()
    for voice in ("Zephyr", "Charon", "Leda"):
        made = await gemini.run(speech("Good morning", voice=voice), {}, tmp_path, ignore)
        sounds.add(made.files[0].read_bytes())

    assert len(sounds) == 3


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "x", "voice": "Siri"}, "voice: must be one of Zephyr, Puck"),
    ({"prompt": "x", "language": "fr"}, "language: must be one of en, th, ja, zh-CN, ko"),
    ({"prompt": "x" * 500_001}, "prompt: must have at most 500000 characters"),
    ({"prompt": "...!?"}, "prompt must hold a letter or a number"),
    ({"prompt": "漢" * 330_000}, "at most 18 fit into one file"),
]


@pytest.mark.parametrize(("body", "told"), FAULTS, ids=[told for _, told in FAULTS])
async def test_what_cannot_be_read_is_told_and_costs_nothing(phaya: Phaya, body: dict[str, Any], told: str) -> None:
    reply = await phaya.post(f"{PATH}/generate", body)

    assert reply.status == 422
    assert told in reply.json["message"]


async def test_other_names_of_fields_are_known(phaya: Phaya) -> None:
    quote = await phaya.post(f"{PATH}/estimate", {"text": "Hello", "voice_id": "Puck"})

    assert ["'text' was read as 'prompt'.", "'voice_id' was read as 'voice'."] == quote.json["warnings"]


async def test_without_a_key_of_gemini_the_service_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path, OPENROUTER_API_KEY="sk-or-nothing-is-sent") as other:
        reply = await other.post(f"{PATH}/generate", {"prompt": "Hello"})

        assert (503, False) == (reply.status, other.system.settings.sandbox)
        assert "GEMINI_API_KEY" in reply.json["message"]
        assert await other.balance() == 1000


async def test_an_older_model_can_be_chosen(tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_SPEECH_MODEL=MODELS["3.1"]) as older:
        status = await say(older, prompt="Who is there?", slow=True, language="zh-CN")

        assert "COMPLETED" == status["status"]
        assert (await facts_of(older, status))["model"] == MODELS["3.1"]


# --- the adapter on the wire ---


@pytest.fixture
async def session() -> AsyncGenerator[aiohttp.ClientSession, None]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def wire() -> AsyncGenerator[Wire, None]:
    async with Wire() as wire:
        yield wire


async def ignore(share: float) -> None:
    """Progress that nobody looks at."""


def origin(phaya: Phaya) -> str:
    """Where the embedded sandbox is."""
    kie: Any = phaya.system.workflow.roster.kie
    return str(kie.base_url)


def speech(*texts: str, seconds: float = 1.0, **more: Any) -> GeminiSpeech:
    return GeminiSpeech([Passage(text, seconds) for text in texts], more.pop("voice", "Kore"), **more)


async def read_by(
    wire: Wire, session: aiohttp.ClientSession, folder: Path, call: GeminiSpeech, model: str = "v38"
) -> Made:
    gemini = Gemini(session, wire.base, "a-key-of-sixteen-signs", MODELS[model], answer_seconds=5, pause_seconds=0.01)
    return await gemini.run(call, {}, folder, ignore)


def samples(seconds: float = 1.0, value: int = 7) -> bytes:
    return struct.pack("<h", value) * round(24_000 * seconds)


def wav(content: bytes, rate: int = 24_000, size: int | None = None) -> bytes:
    length = len(content) if size is None else size
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return head + b"LIST" + struct.pack("<I", 4) + b"INFO" + b"data" + struct.pack("<I", length) + content


def said(*parts: tuple[str, bytes], finish: str = "STOP", usage: dict[str, JsonValue] | None = None) -> JsonValue:
    inline: list[JsonValue] = [
        {"inlineData": {"mimeType": kind, "data": base64.b64encode(content).decode()}} for kind, content in parts
    ]
    body: dict[str, JsonValue] = {
        "candidates": [{"index": 0, "finishReason": finish, "content": {"role": "model", "parts": inline}}],
    }
    if usage is not None:
        body["usageMetadata"] = usage
    return body


def error(code: int, status: str, message: str, *details: JsonValue) -> JsonValue:
    return {"error": {"code": code, "status": status, "message": message, "details": [*details]}}


def stopped(*parts: JsonValue) -> JsonValue:
    return {"candidates": [{"finishReason": "STOP", "content": {"role": "model", "parts": [*parts]}}]}


WROTE = "Model tried to generate text, but it should only be used for TTS."
BAD_KEY = error(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"})
SPENT = error(
    429,
    "RESOURCE_EXHAUSTED",
    "You exceeded your current quota.",
    {"violations": [{"quotaId": "RequestsPerDayPerProject"}]},
    {"retryDelay": "34s"},
)
L16 = "audio/L16;codec=pcm;rate=24000"
GOOD = answer(said((L16, samples())))


def heard(made: Made) -> bytes:
    with wave.open(str(made.files[0])) as sound:
        assert (1, 2, 24_000) == (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
        return sound.readframes(sound.getnframes())


async def test_the_newest_models_get_the_text_alone_and_the_manner_beside_it(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    wire.play(GOOD)

    await read_by(wire, session, tmp_path, speech("สวัสดี", language="th-TH", slow=True))

    asked = wire.asked[0]
    assert asked.target == "/v1beta/models/gemini-3.8-flash-tts:generateContent"
    assert asked.headers["x-goog-api-key"] == "a-key-of-sixteen-signs"
    assert asked.json == {
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "สวัสดี", "speechMetadata": {"style": "slow and clear, with short pauses"}}],
            }
        ],
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "speechConfig": {
                "languageCode": "th-TH",
                "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}},
            },
        },
    }


@pytest.mark.parametrize("model", ["2.5", "3.1"])
async def test_older_models_are_told_inside_the_text_that_it_is_only_to_be_read(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path, model: str
) -> None:
    wire.play(GOOD)

    await read_by(wire, session, tmp_path, speech("Say hello", slow=True), model)

    sent: Any = wire.asked[0].json
    head, _, text = sent["contents"][0]["parts"][0]["text"].partition(":\n\n")
    assert ("Say hello", {"text"}) == (text, sent["contents"][0]["parts"][0].keys())
    assert "exactly as it is written" in head
    assert "slow" in head
    assert {"responseModalities", "speechConfig"} == sent["generationConfig"].keys(), "and no temperature"


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gemini-2.5-pro-preview-tts", "legacy"),
        ("gemini-3.1-flash-tts-preview", "legacy"),
        ("gemini-3.8-flash-lite-tts", "v38"),
        ("gemini-4.0-flash-tts", "v38"),
    ],
)
def test_the_contract_follows_the_model(model: str, family: str) -> None:
    assert family == family_of(model)


SHAPES: list[tuple[str, list[tuple[str, bytes]]]] = [
    ("bare samples of 2.5", [(L16, samples())]),
    ("the spelling of 3.1", [("audio/l16; rate=24000; channels=1", samples())]),
    ("spaces and capitals", [("AUDIO/PCM ; Rate = 24000", samples())]),
    ("no rate and no type", [("", samples())]),
    ("a whole WAV", [("audio/wav", wav(samples()))]),
    ("a WAV under the old name", [(L16, wav(samples()))]),
    ("a header before a header", [("audio/wav", wav(wav(samples())))]),
    ("a WAV that does not know its length", [("audio/wav", wav(samples(), size=0xFFFFFFFF))]),
    ("a WAV of length 0", [("audio/x-wav", wav(samples(), size=0))]),
    ("several parts", [(L16, samples(0.25)), (L16, samples(0.75))]),
    ("only the first part with a header", [("audio/wav", wav(samples(0.5))), (L16, samples(0.5))]),
]


@pytest.mark.parametrize(("name", "parts"), SHAPES, ids=[name for name, _ in SHAPES])
async def test_every_shape_of_sound_is_the_same_sound(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path, name: str, parts: list[tuple[str, bytes]]
) -> None:
    wire.play(answer(said(*parts)))

    assert samples() == heard(await read_by(wire, session, tmp_path, speech("Hello there")))


async def test_passages_are_joined_sample_by_sample_and_their_tokens_added(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    told: dict[str, JsonValue] = {
        "promptTokenCount": 12,
        "candidatesTokenCount": 99,
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 26}],
    }
    wire.play(
        answer(said((L16, samples(1, 1)), usage=told)),
        answer(said(("audio/wav", wav(samples(2, 2))), usage={"promptTokenCount": 3, "candidatesTokenCount": 51})),
        answer(said((L16, samples(0.5, 3)))),
    )

    made = await read_by(wire, session, tmp_path, speech("One.", "Two.", "ten bytes."))

    assert heard(made) == samples(1, 1) + samples(2, 2) + samples(0.5, 3)
    assert made.facts["prompt_tokens"] == 12 + 3 + 3, "where it is not told, four bytes are a token"
    assert made.facts["audio_tokens"] == 26 + 51 + 12, "where it is not told, a second is 25"


PASSING: list[tuple[str, list[Any]]] = [
    ("500", answer(error(500, "INTERNAL", "An internal error has occurred."), 500)),
    ("503", answer(error(503, "UNAVAILABLE", "The model is overloaded."), 503)),
    ("504 in a list", answer([error(504, "DEADLINE_EXCEEDED", "too slow")], 504)),
    ("429 with a delay", answer(error(429, "RESOURCE_EXHAUSTED", "quota", {"retryDelay": "0.02s"}), 429)),
    ("429 with a sentence", answer(error(429, "RESOURCE_EXHAUSTED", "Please retry in 0.03s."), 429)),
    ("429 with nothing", answer(b"", 429)),
    ("OTHER without content", answer({"candidates": [{"finishReason": "OTHER", "content": {}}]})),
    ("STOP without parts", answer(stopped())),
    ("no candidates", answer({"usageMetadata": {"promptTokenCount": 3}})),
    ("cut off", answer(said((L16, samples(0.02))))),
    ("read many times over", answer(said((L16, samples(40))))),
    ("half a sample", answer(said((L16, samples() + b"\0")))),
    ("another kind of sound", answer(said(("audio/mpeg", samples())))),
    ("broken base64", answer(stopped({"inlineData": {"data": "#"}}))),
    ("text instead of sound", answer(stopped({"text": "Hi"}))),
    ("a web page", answer(b"<html>")),
    ("a closed connection", [Act.CLOSE]),
    ("a reset connection", [Act.RESET]),
    ("tried to write", answer(error(400, "INVALID_ARGUMENT", WROTE), 400)),
    ("the language's code", answer(error(400, "INVALID_ARGUMENT", "Unsupported language code: th-TH"), 400)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "trouble"), PASSING, ids=[name for name, _ in PASSING])
async def test_what_passes_is_tried_again(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path, name: str, trouble: list[Any]
) -> None:
    wire.play(trouble, GOOD)

    made = await read_by(wire, session, tmp_path, speech("Hello", language="th-TH"))

    assert (samples(), 2) == (heard(made), len(wire.asked))


async def test_a_language_that_brings_trouble_is_left_out_and_a_model_that_writes_is_told_to_read(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    wire.play(
        answer(error(500, "INTERNAL", "An internal error has occurred."), 500),
        answer(error(400, "INVALID_ARGUMENT", WROTE), 400),
        GOOD,
    )

    await read_by(wire, session, tmp_path, speech("Hello", language="th-TH"), "2.5")

    sent: list[Any] = [asked.json for asked in wire.asked]
    assert ["languageCode" in one["generationConfig"]["speechConfig"] for one in sent] == [True, False, False]
    heads = [one["contents"][0]["parts"][0]["text"].partition(":\n\n")[0] for one in sent]
    assert ["Do not answer" in head for head in heads] == [False, False, True]


FINAL: list[tuple[str, list[Any], str]] = [
    ("blocked prompt", answer({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}), "content_rejected"),
    ("safety", answer(said(finish="SAFETY")), "content_rejected"),
    ("bad key", answer(BAD_KEY, 400), "provider_error"),
    ("forbidden", answer(error(403, "PERMISSION_DENIED", "no"), 403), "provider_error"),
    ("a model that is gone", answer(error(404, "NOT_FOUND", "models/x is not found"), 404), "provider_error"),
    ("billing is off", answer(error(400, "FAILED_PRECONDITION", "enable billing"), 400), "provider_error"),
    ("nothing left today", answer(SPENT, 429), "provider_error"),
    ("a fault of ours", answer(error(400, "INVALID_ARGUMENT", "Invalid payload."), 400), "provider_error"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "trouble", "code"), FINAL, ids=[name for name, _, _ in FINAL])
async def test_what_does_not_pass_is_asked_once(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path, name: str, trouble: list[Any], code: str
) -> None:
    wire.play(trouble)

    with pytest.raises(Rejected) as caught:
        await read_by(wire, session, tmp_path, speech("Hello"))

    assert (code, 1) == (caught.value.code, len(wire.asked))
    assert "key" not in caught.value.message.lower()
    assert "billing" not in caught.value.message.lower()


async def test_tries_have_an_end_and_crowds_do_not_count(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    crowd = answer(error(429, "RESOURCE_EXHAUSTED", "quota", {"retryDelay": "0.01s"}), 429)
    wire.play(*[crowd] * 6, *[answer(error(503, "UNAVAILABLE", "overloaded"), 503)] * ATTEMPTS)

    with pytest.raises(Rejected) as caught:
        await read_by(wire, session, tmp_path, speech("Hello"))

    assert (6 + ATTEMPTS, "provider_error") == (len(wire.asked), caught.value.code)


async def test_passages_that_do_not_fit_together_are_refused(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    wire.play(GOOD, answer(said(("audio/wav", wav(samples(), rate=16_000)))))

    with pytest.raises(Rejected, match="could not make this"):
        await read_by(wire, session, tmp_path, speech("One.", "Two."))


async def test_a_recited_text_is_refused_for_its_content_in_the_end(
    wire: Wire, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    wire.play(*[answer(said(finish="RECITATION"))] * ATTEMPTS)

    with pytest.raises(Rejected) as caught:
        await read_by(wire, session, tmp_path, speech("Hello"))

    assert caught.value.code == "content_rejected"


def test_what_was_not_told_costs_what_was_held() -> None:
    request = TextToSpeech(prompt="Hello")

    assert request.cost(TextToSpeech.rates, {}) == request.price(TextToSpeech.rates)
