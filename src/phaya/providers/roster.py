"""Who carries out which call."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field

from phaya.calls import Call, Chat, Download, GeminiSpeech, KieTask, LocalCall, RemoteCall, Subtitle, Transcribe
from phaya.errors import Closed
from phaya.providers import Foreseeing, Local, Remote
from phaya.providers.kie_routes import KieRoutes

REMOTE, RENDER, SPEECH, DOWNLOAD = "remote", "render", "speech", "download"
LANES = (REMOTE, RENDER, SPEECH, DOWNLOAD)
"""Lanes: which workers may take a job, so that heavy local work has places of its own."""


@dataclass(frozen=True)
class Roster:
    """Who carries out which call. One that is not configured is None."""

    kie: Remote | None
    ffmpeg: Local
    gemini: Local | None = None
    transcribes: bool = False  # whether speech can be turned into text
    kie_routes: KieRoutes = field(default_factory=KieRoutes)
    ytdlp: Foreseeing | None = None

    def remote(self, call: RemoteCall) -> Remote:
        """The provider of a remote call. Raises Closed where no key for it was given."""
        if self.kie is None:
            raise Closed(f"This service needs KIE.ai for its {call.kind}, and this Phaya has no KIE_API_KEY.", 3600)
        return self.kie

    def local(self, call: LocalCall) -> Local:
        """The provider of local work. Raises Closed where no key for it was given."""
        match call:
            case GeminiSpeech():
                if self.gemini is None:
                    raise Closed("This service needs Google Gemini, and this Phaya has no GEMINI_API_KEY.", 3600)
                return self.gemini
            case Transcribe() | Subtitle(script=None) if not self.transcribes:
                raise Closed("Speech needs a transcriber, and this Phaya has no PHAYA_TRANSCRIBE_URL.", 3600)
            case Download():
                return self.downloader()
            case _:
                return self.ffmpeg

    def downloader(self) -> Foreseeing:
        """Who downloads films. Raises Closed where the operator allows no site."""
        if self.ytdlp is None:
            raise Closed("Downloads are off on this Phaya: PHAYA_DOWNLOAD_PLATFORMS is empty.", 3600)
        return self.ytdlp

    async def foresee(self, call: LocalCall | RemoteCall) -> int | None:
        """The bytes that a call will make at the most, where that can be told. Raises Closed and ProviderErrors."""
        return await self.downloader().foresee(call) if isinstance(call, Download) else None

    def lane(self, call: Call) -> str:
        """Which workers may take the call. Raises Closed where nobody can."""
        if isinstance(call, Chat):
            return REMOTE
        if isinstance(call, RemoteCall):
            self.remote(call)
            return REMOTE
        self.local(call)
        match call:
            case GeminiSpeech():
                return SPEECH
            case Download():
                return DOWNLOAD
            case _:
                return RENDER


def circuits(call: Call) -> tuple[str, ...]:
    """What fails together with the call: its provider, and there its model. Local work has no circuit."""
    match call:
        case Chat():
            return ("openrouter",)
        case KieTask():
            return "kie", f"kie {call.model}"
        case GeminiSpeech():
            return ("gemini",)
        case _ if isinstance(call, LocalCall):
            return ()
        case _:
            return "kie", call.kind.replace("-", " ")


@functools.lru_cache(1024)
def fingerprint(provider_key: str) -> str:
    """What stands for a provider's key in the database."""
    return hashlib.sha256(provider_key.encode()).hexdigest()[:16]
