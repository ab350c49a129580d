"""Models that make songs and speech."""

from __future__ import annotations

from decimal import Decimal

from phaya.providers.sandbox.endings import unmarked
from phaya.providers.sandbox.fields import Asked, Choice, Field, Flag, Number, Refusal, Text
from phaya.providers.sandbox.products import Song
from phaya.providers.sandbox.tariffs import Model, flat

SPEECH = 2.0
SONGS = "ai-music-api/generate"  # since September 2026; models before V6 are listed as discontinued
SONG: dict[str, Field] = {
    "model": Choice(("V6", "V6_MINI", "V6_WILD"), "V6", required=True),
    "custom_mode": Flag(required=True),
    "instrumental": Flag(required=True),
    "prompt": Text(5000),
    "lyrics": Text(5000),
    "style": Text(1000),
    "title": Text(80),
    "negative_tags": Text(200),
    "vocal_gender": Choice(("m", "f"), "f"),
    "style_weight": Number(0, 1, 0.5),
    "weirdness_constraint": Number(0, 1, 0.5),
    "audio_weight": Number(0, 1, 0.5),
    "duration": Number(10, 360, 0),
}


def _song(asked: Asked) -> Song:
    if asked.number("duration") and not asked.flag("custom_mode"):
        raise Refusal(422, "duration is not supported in this mode")
    text = unmarked(asked.text("lyrics") or asked.text("prompt") or asked.text("style"))
    title = unmarked(asked.text("title")) or " ".join(text.split()[:5])[:80]
    # custom mode makes 20 seconds where no length is named
    seconds = asked.number("duration") or (20 if asked.flag("custom_mode") else 40)
    return Song(text, title, unmarked(asked.text("style")), seconds, asked.flag("instrumental"), 1)


def _speech(asked: Asked) -> Song:
    """The sandbox cannot talk; its singer sings for about as long as reading would take."""
    text = unmarked(asked.text("text"))
    return Song(text, "Speech", "calm voice", min(60.0, max(3.0, len(text) / 15)), instrumental=False, take=1)


SOUNDS = (
    Model(SONGS, SONG, 5.0, flat("12"), _song, takes=2),
    Model(
        "elevenlabs/text-to-speech-turbo-2-5",
        {"text": Text(5000, required=True), "voice": Text(100, 1, required=True)},
        SPEECH,
        lambda asked: 6 * Decimal(len(asked.text("text"))) / 1000,
        _speech,
    ),
)
