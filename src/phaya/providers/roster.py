"""Who carries out which call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from phaya.calls import Call, Chat, GeminiSpeech, KieSuno, KieTask, KieVeo, StillToVideo
from phaya.errors import Closed
from phaya.providers import Local, Remote
from phaya.providers.kie_routes import KieRoutes

REMOTE, RENDER, SPEECH = "remote", "render", "speech"
"""Lanes: which workers may take a job, so that heavy local work has places of its own."""


@dataclass(frozen=True)
class Roster:
    """Who carries out which call. One that is not configured is None."""

    kie: Remote | None
    ffmpeg: Local
    gemini: Local | None = None
    kie_routes: KieRoutes = field(default_factory=KieRoutes)

    def remote(self, call: KieTask | KieSuno | KieVeo) -> Remote:
        """The provider of a remote call. Raises Closed where no key for it was given."""
        match call:
            case KieTask() | KieSuno() | KieVeo():
                if self.kie is None:
                    raise Closed("This service needs KIE.ai, and this Phaya has no KIE_API_KEY.", 3600)
                return self.kie

    def local(self, call: StillToVideo | GeminiSpeech) -> Local:
        """The provider of local work. Raises Closed where no key for it was given."""
        match call:
            case StillToVideo():
                return self.ffmpeg
            case GeminiSpeech():
                if self.gemini is None:
                    raise Closed("This service needs Google Gemini, and this Phaya has no GEMINI_API_KEY.", 3600)
                return self.gemini

    def lane(self, call: Call) -> str:
        """Which workers may take the call. Raises Closed where nobody can."""
        match call:
            case StillToVideo():
                return RENDER
            case GeminiSpeech():
                self.local(call)
                return SPEECH
            case Chat():
                return REMOTE
            case KieTask() | KieSuno() | KieVeo():
                self.remote(call)
                return REMOTE


def fingerprint(provider_key: str) -> str:
    """What stands for a provider's key in the database."""
    return hashlib.sha256(provider_key.encode()).hexdigest()[:16]
