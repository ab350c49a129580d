"""By which of KIE's routes Veo and Suno are reached.

Both have a dedicated route and, since September 2026, a unified one through createTask. A call is turned to the
operator's route before it is stored with its job, so that looks follow the route that the task was created on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pydantic import JsonValue

from phaya.calls import Call, KieSuno, KieTask, KieVeo

Route = Literal["dedicated", "unified"]

SONG_SECONDS = 180
"""The unified song route makes 20 seconds where custom mode names no length; songs were about this long before."""
NEWEST_SONGS = "V6"
"""The unified route lists all models before this family as discontinued."""

_SONG = {
    "customMode": "custom_mode",
    "instrumental": "instrumental",
    "model": "model",
    "prompt": "prompt",
    "style": "style",
    "title": "title",
    "negativeTags": "negative_tags",
    "vocalGender": "vocal_gender",
    "styleWeight": "style_weight",
    "weirdnessConstraint": "weirdness_constraint",
    "audioWeight": "audio_weight",
}
# `model` and `seeds` have no counterpart on the unified film route.
_FILM = {
    "prompt": "prompt",
    "imageUrls": "image_urls",
    "generationType": "generation_type",
    "aspect_ratio": "aspect_ratio",
    "resolution": "resolution",
    "duration": "duration",
    "enableTranslation": "enable_translation",
    "watermark": "watermark",
}


@dataclass(frozen=True)
class KieRoutes:
    """The operator's choice. `song_model` replaces the Suno model that callers name."""

    veo: Route = "dedicated"
    suno: Route = "dedicated"
    song_model: str | None = None

    def routed(self, call: Call) -> Call:
        """The call as it goes out by these routes; calls of other kinds as they are."""
        match call:
            case KieVeo() if self.veo == "unified":
                return KieTask("veo-3-1", {_FILM[name]: value for name, value in call.body.items() if name in _FILM})
            case KieSuno():
                return self._song(call)
            case _:
                return call

    def notes(self, call: Call) -> list[str]:
        """What a caller should know of how these routes change what was asked."""
        notes: list[str] = []
        match call:
            case KieVeo() if self.veo == "unified":
                if call.body.get("model") != "veo3_fast":
                    notes.append("'model': the provider chooses the tier itself at the moment.")
                if "seeds" in call.body:
                    notes.append("'seeds' is not offered at the moment and was ignored.")
            case KieSuno() if (sent := self._song_model(call)) != call.body.get("model"):
                notes.append(f"'model': {sent} is used at the moment, whichever is asked for.")
            case _:
                pass
        return notes

    def _song_model(self, call: KieSuno) -> JsonValue:
        return self.song_model or (NEWEST_SONGS if self.suno == "unified" else call.body.get("model"))

    def _song(self, call: KieSuno) -> KieSuno | KieTask:
        body = {**call.body, "model": self._song_model(call)}
        if self.suno == "dedicated":
            return replace(call, body=body)
        sent: dict[str, JsonValue] = {_SONG[name]: value for name, value in body.items() if name in _SONG}
        if sent.get("custom_mode"):  # a length is refused in the other mode
            sent["duration"] = SONG_SECONDS
        return KieTask("ai-music-api/generate", sent)
