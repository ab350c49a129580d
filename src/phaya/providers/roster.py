"""Who carries out which call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from phaya.calls import (
    Call,
    Chat,
    KieSuno,
    KieTask,
    LastFrame,
    LocalCall,
    MergeAudios,
    MergeAudioVideo,
    MergeVideos,
    OverlayGif,
    StillToVideo,
    Subtitle,
    Transcribe,
)
from phaya.errors import Closed
from phaya.providers import Local, Remote

REMOTE, RENDER = "remote", "render"
"""Lanes: which workers may take a job, so that heavy local work has places of its own."""


@dataclass(frozen=True)
class Roster:
    """Who carries out which call. One that is not configured is None."""

    kie: Remote | None
    ffmpeg: Local
    transcribes: bool = False  # whether speech can be turned into text

    def remote(self, call: KieTask | KieSuno) -> Remote:
        """The provider of a remote call. Raises Closed where no key for it was given."""
        match call:
            case KieTask() | KieSuno():
                if self.kie is None:
                    raise Closed("This service needs KIE.ai, and this Phaya has no KIE_API_KEY.", 3600)
                return self.kie

    def local(self, call: LocalCall) -> Local:
        """The provider of local work."""
        match call:
            case StillToVideo() | MergeAudioVideo() | MergeVideos() | MergeAudios() | OverlayGif() | LastFrame():
                return self.ffmpeg
            case Transcribe() | Subtitle():  # FFmpeg, with a transcriber's ear
                return self.ffmpeg

    def lane(self, call: Call) -> str:
        """Which workers may take the call. Raises Closed where nobody can."""
        match call:
            case StillToVideo() | MergeAudioVideo() | MergeVideos() | MergeAudios() | OverlayGif() | LastFrame():
                return RENDER
            case Transcribe() | Subtitle(script=None) if not self.transcribes:
                raise Closed("Speech needs a transcriber, and this Phaya has no PHAYA_TRANSCRIBE_URL.", 3600)
            case Transcribe() | Subtitle():
                return RENDER
            case Chat():
                return REMOTE
            case KieTask() | KieSuno():
                self.remote(call)
                return REMOTE


def fingerprint(provider_key: str) -> str:
    """What stands for a provider's key in the database."""
    return hashlib.sha256(provider_key.encode()).hexdigest()[:16]
