"""The sandbox's Gemini: both contracts, their refusals, and the shapes of sound that each model answers in."""

from __future__ import annotations

import array
import base64
import io
import math
import wave
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from pydantic import JsonValue

from conftest import Phaya
from phaya.catalog.voices import VOICES
from phaya.providers.sandbox import gemini_rules

pytestmark = pytest.mark.anyio
NEW, OLD, OLDER = "gemini-3.8-flash-tts", "gemini-3.1-flash-tts-preview", "gemini-2.5-flash-preview-tts"
KORE: dict[str, JsonValue] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}


async def ask(
    phaya: Phaya, model: str, body: JsonValue, verb: str = "generateContent", version: str = "v1beta", key: str = "any"
) -> tuple[int, Any]:
    kie: Any = phaya.system.workflow.roster.kie
    url = f"{kie.base_url}/{version}/models/{model}:{verb}"
    async with phaya.session.post(url, json=body, headers={"x-goog-api-key": key} if key else {}) as reply:
        content = await reply.read()
    if verb == "generateContent":
        return reply.status, orjson.loads(content)
    events = [event for event in content.split(b"\r\n\r\n") if event]
    return reply.status, [orjson.loads(event.removeprefix(b"data: ")) for event in events]


def body(text: str = "Read this aloud:\n\nGood morning", **more: Any) -> dict[str, Any]:
    part: dict[str, JsonValue] = {"text": text}
    if style := more.pop("style", None):
        part["speechMetadata"] = {"style": style}
    config: dict[str, JsonValue] = {"responseModalities": ["AUDIO"], "speechConfig": KORE}
    top: dict[str, JsonValue] = more.pop("top", {})
    return {"contents": [{"parts": [part]}], "generationConfig": config | more, **top}


def inline(answer: Mapping[str, Any]) -> tuple[str, bytes]:
    data = answer["candidates"][0]["content"]["parts"][0]["inlineData"]
    return data["mimeType"], base64.b64decode(data["data"])


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    (NEW, body(temperature=0.7), "temperature is not supported"),
    (OLD, body(style="warm"), "speech_metadata is not supported"),
    (OLDER, body(responseModalities=["TEXT"]), "accepts the following combination"),
    (OLD, body(top={"systemInstruction": {"parts": [{"text": "Be kind"}]}}), "Developer instruction is not enabled"),
    (OLD, body(speechConfig={}), "invalid argument"),
    (NEW, body(speechConfig={}), "invalid argument"),
    (NEW, body(speechConfig={"voiceConfig": {"voice": "zephyr"}}), "Voice name zephyr is not supported"),
    (NEW, body(speechConfig=KORE | {"languageCode": "zh-CN"}), "Unsupported language code"),
    (NEW, body(speechConfig={"multiSpeakerVoiceConfig": {"speakerVoiceConfigs": [{}]}}), "must equal 2"),
    (NEW, body(shape="round"), "Unknown name \"shape\" at 'generationConfig'"),
    (NEW, body("word " * 9000), "exceeds the maximum number of tokens"),
    (OLDER, body("Say hello"), "tried to generate text"),
    (NEW, {"generationConfig": {"responseModalities": ["AUDIO"]}}, "contents is not specified"),
]


@pytest.mark.parametrize(("model", "sent", "told"), REFUSALS, ids=[told for _, _, told in REFUSALS])
async def test_each_contract_refuses_what_the_other_takes(
    phaya: Phaya, model: str, sent: dict[str, Any], told: str
) -> None:
    status, answer = await ask(phaya, model, sent)

    assert (400, 400, "INVALID_ARGUMENT") == (status, answer["error"]["code"], answer["error"]["status"])
    assert told in answer["error"]["message"]


async def test_a_model_that_is_gone_and_a_missing_key_are_told_as_google_tells_them(phaya: Phaya) -> None:
    gone = await ask(phaya, "gemini-2.0-tts", body())
    keyless = await ask(phaya, NEW, body(), key="")

    assert (404, "NOT_FOUND") == (gone[0], gone[1]["error"]["status"])
    assert (400, "API_KEY_INVALID") == (keyless[0], keyless[1]["error"]["details"][0]["reason"])


async def test_names_in_snake_case_are_names_too(phaya: Phaya) -> None:
    sent: JsonValue = {
        "contents": [{"parts": [{"text": "Good morning", "speech_metadata": {"style": "warm"}}]}],
        "generation_config": {
            "response_modalities": ["AUDIO"],
            "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}},
        },
    }

    assert (await ask(phaya, NEW, sent, version="v1"))[0] == 200


@pytest.mark.parametrize(
    ("model", "kind"), [(OLDER, "audio/L16;codec=pcm;rate=24000"), (OLD, "audio/l16; rate=24000; channels=1")]
)
async def test_older_models_answer_in_bare_samples_of_the_transcript(phaya: Phaya, model: str, kind: str) -> None:
    _, answer = await ask(phaya, model, body())

    told, samples = inline(answer)
    seconds = len(samples) / 48_000
    assert (kind, len("Good morning") / 15) == (told, pytest.approx(seconds, abs=0.01))
    assert answer["candidates"][0]["finishReason"] == "STOP"
    details = answer["usageMetadata"]["candidatesTokensDetails"]
    assert details == [{"modality": "AUDIO", "tokenCount": round(seconds * 25)}]


async def test_the_newest_answers_in_a_wav_file_that_can_be_heard(phaya: Phaya) -> None:
    _, answer = await ask(phaya, NEW, body("The rain fell on the tin roofs all night."))

    kind, content = inline(answer)
    assert kind == "audio/wav"
    with wave.open(io.BytesIO(content)) as sound:
        assert (1, 2, 24_000) == (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
        samples = array.array("h", sound.readframes(sound.getnframes()))
    loudness = math.sqrt(sum(sample * sample for sample in samples) / len(samples))
    assert 500 < loudness < 20_000
    assert max(map(abs, samples)) < 32_000, "nothing is clipped"


async def test_a_stream_is_bare_samples_whose_last_event_ends_it(phaya: Phaya) -> None:
    _, events = await ask(phaya, NEW, body("The rain fell on the tin roofs."), "streamGenerateContent")

    assert [event["candidates"][0].get("finishReason") for event in events] == [*[None] * (len(events) - 1), "STOP"]
    assert all(inline(event)[0].startswith("audio/L16") for event in events)
    assert len(b"".join(inline(event)[1] for event in events)) == pytest.approx(31 / 15 * 48_000, abs=4)


async def test_a_text_beyond_eleven_minutes_of_sound_gives_none(phaya: Phaya) -> None:
    _, answer = await ask(phaya, NEW, body("ก" * 8000))

    assert (answer["candidates"][0]["finishReason"], answer["candidates"][0]["content"]) == ("OTHER", {})


def test_the_sandbox_knows_exactly_the_voices_that_are_sold() -> None:
    assert set(VOICES) == gemini_rules.VOICES
