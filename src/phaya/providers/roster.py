"""Who carries out which call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from phaya.calls import Call, Chat, Download, KieSuno, KieTask, LocalCall, RemoteCall, StillToVideo
from phaya.errors import Closed
from phaya.providers import Foreseeing, Local, Remote

REMOTE, RENDER, DOWNLOAD = "remote", "render", "download"
"""Lanes: which workers may take a job, so that heavy local work has places of its own."""


@dataclass(frozen=True)
class Roster:
    """Who carries out which call. One that is not configured is None."""

    kie: Remote | None
    ffmpeg: Local
    ytdlp: Foreseeing | None = None

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
            case StillToVideo():
                return self.ffmpeg
            case Download():
                return self.downloader()

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
        match call:
            case StillToVideo():
                return RENDER
            case Download():
                self.downloader()
                return DOWNLOAD
            case Chat():
                return REMOTE
            case KieTask() | KieSuno():
                self.remote(call)
                return REMOTE


def fingerprint(provider_key: str) -> str:
    """What stands for a provider's key in the database."""
    return hashlib.sha256(provider_key.encode()).hexdigest()[:16]
