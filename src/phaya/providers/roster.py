"""Who carries out which call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from phaya.calls import Call, Chat, KieSuno, KieTask, LocalCall, StillToVideo
from phaya.errors import Closed
from phaya.providers import Local, Remote

REMOTE, RENDER = "remote", "render"
"""Lanes: which workers may take a job, so that heavy local work has places of its own."""


@dataclass(frozen=True)
class Roster:
    """Who carries out which call. One that is not configured is None."""

    kie: Remote | None
    ffmpeg: Local

    def remote(self, call: KieTask | KieSuno) -> Remote:
        """The provider of a remote call. Raises Closed where no key for it was given."""
        match call:
            case KieTask() | KieSuno():
                if self.kie is None:
                    raise Closed("This service needs KIE.ai, and this Phaya has no KIE_API_KEY.", 3600)
                return self.kie

    def local(self, call: StillToVideo) -> Local:
        """The provider of local work."""
        match call:
            case StillToVideo():
                return self.ffmpeg

    def lane(self, call: Call) -> str:
        """Which workers may take the call. Raises Closed where nobody can."""
        match call:
            case StillToVideo():
                return RENDER
            case Chat():
                return REMOTE
            case KieTask() | KieSuno():
                self.remote(call)
                return REMOTE


def circuits(call: Call) -> tuple[str, ...]:
    """What fails together with the call: its provider, and there its model. Local work has no circuit."""
    match call:
        case Chat():
            return ("openrouter",)
        case KieTask():
            return "kie", f"kie {call.model}"
        case _ if isinstance(call, LocalCall):
            return ()
        case _:
            return "kie", call.kind.replace("-", " ")


def fingerprint(provider_key: str) -> str:
    """What stands for a provider's key in the database."""
    return hashlib.sha256(provider_key.encode()).hexdigest()[:16]
