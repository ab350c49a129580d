"""Calls: values that say exactly what is asked of whom. A job stores its call, and only that is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field as Tag
from pydantic import JsonValue, TypeAdapter


@dataclass(frozen=True)
class KieTask:
    """A task of KIE's jobs API: `model` and its `input`, sent as they stand (kie.ai, market jobs API)."""

    model: str
    input: Mapping[str, JsonValue]
    kind: Literal["kie-task"] = "kie-task"


@dataclass(frozen=True)
class KieSuno:
    """A song by KIE's dedicated Suno route; the body is flat and camelCase (kie.ai, Suno API)."""

    body: Mapping[str, JsonValue]
    kind: Literal["kie-suno"] = "kie-suno"


@dataclass(frozen=True)
class KieVeo:
    """A film by KIE's dedicated Veo route; the body is flat and mixes spellings (kie.ai, Veo 3.1 API)."""

    body: Mapping[str, JsonValue]
    kind: Literal["kie-veo"] = "kie-veo"


@dataclass(frozen=True)
class Zoom:
    """How a still moves: growth per frame at 30 frames a second, the largest scale, passes over the picture."""

    mode: str
    speed: float
    max_scale: float
    pan_speed: float


@dataclass(frozen=True)
class StillToVideo:
    """A clip that FFmpeg renders from one still. `image` and `music` are keys of files in our storage."""

    image: str
    seconds: float
    music: str | None = None
    zoom: Zoom | None = None
    kind: Literal["still-to-video"] = "still-to-video"


@dataclass(frozen=True)
class Passage:
    """A piece of a text, and how many seconds it usually takes to say."""

    text: str
    seconds: float


@dataclass(frozen=True)
class GeminiSpeech:
    """Passages that Google Gemini reads one after another, joined into one file. `language` is a code of Gemini's."""

    passages: Sequence[Passage]
    voice: str
    language: str | None = None
    slow: bool = False
    kind: Literal["gemini-speech"] = "gemini-speech"


@dataclass(frozen=True)
class MergeAudioVideo:
    """The film with another sound: cut to the film's length, or followed by silence."""

    video: str
    audio: str
    kind: Literal["merge-audio-video"] = "merge-audio-video"


@dataclass(frozen=True)
class MergeVideos:
    """Films one after another, in the size and frame rate of the first."""

    videos: Sequence[str]
    kind: Literal["merge-videos"] = "merge-videos"


@dataclass(frozen=True)
class MergeAudios:
    """Sounds one after another."""

    audios: Sequence[str]
    kind: Literal["merge-audios"] = "merge-audios"


@dataclass(frozen=True)
class OverlayGif:
    """An animation that repeats on a film. `scale` is its width as a part of the film's."""

    video: str
    gif: str
    position: str
    scale: float
    kind: Literal["overlay-gif"] = "overlay-gif"


@dataclass(frozen=True)
class LastFrame:
    """The last picture of a film."""

    video: str
    kind: Literal["last-frame"] = "last-frame"


@dataclass(frozen=True)
class Transcribe:
    """What is said in a film or sound; `language` is a code such as `th`, None where it is to be heard."""

    media: str
    language: str | None = None
    kind: Literal["transcribe"] = "transcribe"


@dataclass(frozen=True)
class Subtitle:
    """Captions burnt into a film. Without a `script` they are what is heard; `offset` is in seconds."""

    media: str
    script: str | None = None
    animation: str = "none"
    offset: float = 0.0
    kind: Literal["subtitle"] = "subtitle"


@dataclass(frozen=True)
class Download:
    """A film or its sound, brought from a page of another site by yt-dlp. `limit` is the bytes that are paid for."""

    url: str
    format: str
    quality: str
    limit: int
    kind: Literal["download"] = "download"


@dataclass(frozen=True)
class Chat:
    """A chat completion: OpenRouter's body, sent as it stands. It lives as long as its HTTP request."""

    body: Mapping[str, JsonValue]
    kind: Literal["chat"] = "chat"


RemoteCall = KieTask | KieSuno | KieVeo
EditCall = StillToVideo | MergeAudioVideo | MergeVideos | MergeAudios | OverlayGif | LastFrame | Transcribe | Subtitle
LocalCall = EditCall | GeminiSpeech | Download
Call = RemoteCall | LocalCall | Chat

_calls: TypeAdapter[Call] = TypeAdapter(Annotated[Call, Tag(discriminator="kind")])


def pack(call: Call) -> str:
    """The call as text, for the job's row."""
    return _calls.dump_json(call).decode()


def unpack(text: str) -> Call:
    """The call that `pack` wrote."""
    return _calls.validate_json(text)


@dataclass(frozen=True)
class Waiting:
    """The provider is not done yet. `progress` is 0..1 where the provider says so."""

    queued: bool = False
    progress: float | None = None


@dataclass(frozen=True)
class Finished:
    """The provider is done: `urls` hold the results, `facts` what is no file (a character id, a resolution).

    `spent` is what the provider says it charged us, in the provider's own credits, as a decimal text.
    """

    urls: Sequence[str] = ()
    facts: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    spent: str | None = None


@dataclass(frozen=True)
class Refused:
    """The provider ended the task without a result; `reason` is a sentence that a user may read.

    `code` is one of `provider_error`, `content_rejected`, `lost`.
    """

    reason: str
    code: str = "provider_error"
    spent: str | None = None


Look = Waiting | Finished | Refused
