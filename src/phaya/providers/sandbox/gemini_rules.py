"""What Gemini's speech models take and refuse: both contracts, in the words of the real refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import JsonValue

from phaya.providers.sandbox import tokens

VOICES = frozenset(
    re.findall(
        r"\w+",
        "Zephyr Puck Charon Kore Fenrir Leda Orus Aoede Callirrhoe Autonoe Enceladus Iapetus Umbriel Algieba Despina "
        "Erinome Algenib Rasalgethi Laomedeia Achernar Alnilam Schedar Gacrux Pulcherrima Achird Zubenelgenubi "
        "Vindemiatrix Sadachbia Sadaltager Sulafat",
    )
)
LANGUAGES = frozenset(
    re.findall(
        r"\S+",
        "de-DE en-AU en-GB en-IN en-US es-US fr-FR hi-IN pt-BR ar-XA es-ES fr-CA id-ID it-IT ja-JP tr-TR vi-VN bn-IN "
        "gu-IN kn-IN ml-IN mr-IN ta-IN te-IN nl-NL ko-KR cmn-CN pl-PL ru-RU th-TH",
    )
)
LONGEST_PROMPT, LONGEST_SPEECH = 8192, 16_384
NOT_TTS = "Model tried to generate text, but it should only be used for TTS."

_KNOWN = {
    "": {"contents", "generationConfig", "safetySettings", "systemInstruction", "tools", "labels", "model"},
    "generationConfig": {
        *("responseModalities", "speechConfig", "responseFormat", "temperature", "topP", "topK"),
        *("maxOutputTokens", "candidateCount", "seed", "stopSequences"),
    },
    "generationConfig.speechConfig": {"voiceConfig", "multiSpeakerVoiceConfig", "languageCode"},
    "generationConfig.speechConfig.voiceConfig": {"prebuiltVoiceConfig", "voice"},
}
# What reads like a wish rather than like a text: without a word that it is to be read, older models answer it.
_WISH = re.compile(r"^(say|write|tell|give|explain|list|translate|summari[sz]e|make|create)\b|\?\s*$", re.IGNORECASE)


class Refused(Exception):
    """A request that is answered by an error envelope."""

    def __init__(self, code: int, status: str, message: str, details: list[JsonValue] | None = None) -> None:
        super().__init__(message)
        self.code, self.status, self.message, self.details = code, status, message, details

    def body(self) -> dict[str, JsonValue]:
        """Google's envelope."""
        error: dict[str, JsonValue] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details is not None:
            error["details"] = self.details
        return {"error": error}


@dataclass(frozen=True)
class Model:
    """A model and which contract it speaks."""

    name: str
    family: Literal["2.5", "3.1", "v38"]


MODELS = {
    model.name: model
    for model in (
        Model("gemini-3.8-flash-tts", "v38"),
        Model("gemini-3.8-flash-lite-tts", "v38"),
        Model("gemini-3.1-flash-tts-preview", "3.1"),
        Model("gemini-2.5-flash-preview-tts", "2.5"),
        Model("gemini-2.5-pro-preview-tts", "2.5"),
    )
}


@dataclass(frozen=True)
class Reading:
    """What is read: the words alone, the whole text as it was sent, and in whose voice."""

    words: str
    text: str
    voice: str
    prompt_tokens: int


def camel(value: JsonValue) -> JsonValue:
    """The value with its names in camelCase; Google takes both spellings."""
    if isinstance(value, dict):
        return {re.sub(r"_([a-z])", lambda match: match[1].upper(), name): camel(one) for name, one in value.items()}
    return [camel(one) for one in value] if isinstance(value, list) else value


def read_request(model: Model, body: Mapping[str, JsonValue]) -> Reading:
    """The checked request. Raises Refused."""
    given = _object(camel(dict(body)))
    config = _object(given.get("generationConfig"))
    for path, known in _KNOWN.items():
        _known_only(given, path, known)
    if given.get("systemInstruction"):
        raise _invalid("Developer instruction is not enabled for this model")
    if config.get("responseModalities") != ["AUDIO"]:
        raise _invalid(
            "The requested combination of response modalities is not supported by the model. "
            f"models/{model.name} accepts the following combination of response modalities:\n* AUDIO\n"
        )
    if model.family == "v38":
        for name in ("temperature", "topP", "topK"):
            if name in config:
                raise _invalid(f"{name} is not supported for this model.")
    parts = _parts(given)
    if model.family != "v38" and any("speechMetadata" in part for part in parts):
        raise _invalid("speech_metadata is not supported for this model.")
    text = "".join(str(part.get("text") or "") for part in parts)
    styles = [str(_object(part.get("speechMetadata")).get("style") or "") for part in parts]
    count = tokens.count(text) + sum(map(tokens.count, styles))
    if count > LONGEST_PROMPT:
        raise _invalid(f"The input token count ({count}) exceeds the maximum number of tokens allowed (8192).")
    voice = _voice(model, _object(config.get("speechConfig")))
    return Reading(text if model.family == "v38" else _transcript(text), text, voice, count)


def usual_seconds(words: str) -> float:
    """How long the words take: about 15 Latin or 12 Thai signs a second."""
    thai = sum(1 for sign in words if "\u0e00" <= sign <= "\u0e7f")
    wide = sum(1 for sign in words if sign >= "\u3040")
    return max(0.3, (len(words) - thai - wide) / 15 + thai / 12 + wide / 5)


def _transcript(text: str) -> str:
    """Older models read what follows a line that tells them to; what reads like a wish they would answer."""
    head, found, rest = text.partition(":\n\n")
    if found and re.search(r"\b(read|say|speak|narrate)\b", head, re.IGNORECASE):
        return rest
    if _WISH.search(text.strip()):
        raise _invalid(NOT_TTS)
    return text


def _voice(model: Model, speech: Mapping[str, JsonValue]) -> str:
    single, several = _object(speech.get("voiceConfig")), _object(speech.get("multiSpeakerVoiceConfig"))
    language = speech.get("languageCode")
    if language is not None and language not in LANGUAGES:
        raise _invalid(f"Unsupported language code: {language}")
    if single and several:
        raise _invalid("voice_config and multi_speaker_voice_config are mutually exclusive.")
    if several:
        speakers = several.get("speakerVoiceConfigs")
        if not isinstance(speakers, list) or len(speakers) != 2:
            raise _invalid("the number of speaker_voice_configs must equal 2")
        single = _object(_object(speakers[0]).get("voiceConfig"))
    name = _object(single.get("prebuiltVoiceConfig")).get("voiceName")
    if name is None and model.family == "v38":
        name = single.get("voice")
    if name is None and model.family == "2.5":
        return "Zephyr"
    if name is None:
        raise _invalid("Request contains an invalid argument.")
    if name not in VOICES:
        raise _invalid(f"Voice name {name} is not supported. Allowed voice names are: {', '.join(sorted(VOICES))}")
    return str(name)


def _parts(given: Mapping[str, JsonValue]) -> list[Mapping[str, JsonValue]]:
    contents = given.get("contents")
    found = [
        _object(part)
        for content in (contents if isinstance(contents, list) else [])
        for part in cast("list[JsonValue]", _object(content).get("parts") or [])
    ]
    if not any(str(part.get("text") or "").strip() for part in found):
        raise _invalid("* GenerateContentRequest.contents: contents is not specified\n")
    return found


def _known_only(given: Mapping[str, JsonValue], path: str, known: set[str]) -> None:
    inside = given
    for name in path.split(".") if path else ():
        inside = _object(inside.get(name))
    for name in inside:
        if name not in known:
            place = f" at '{path}'" if path else ""
            raise _invalid(f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.')


def _invalid(message: str) -> Refused:
    return Refused(400, "INVALID_ARGUMENT", message)


def _object(value: JsonValue | None) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}
