"""Genres: how a kind of music is played, and which one the words of a request name (English and Thai)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Style:
    """How a kind of music is played. `beat` names a drum pattern, `colour` how many notes a chord has."""

    words: str
    tempo: tuple[int, int]
    beat: str
    chords: str
    figure: str
    pad: str
    bass: str
    lead: str
    walk: str = "root"
    notes: int = 3
    swing: float = 0.0
    pump: float = 0.0
    room: float = 0.28
    gapped: bool = False  # melodies without the fourth and seventh degree: pentatonic


STYLES: Mapping[str, Style] = {
    "mor lam": Style(
        "thai mor lam molam luk thung lukthung isan isaan phin khaen ไทย หมอลำ ลูกทุ่ง อีสาน พิณ แคน รำวง",
        (100, 122),
        "folk",
        "phin",
        "skip",
        "khaen",
        "round",
        "phin",
        walk="fifths",
        gapped=True,
        room=0.2,
    ),
    "lofi": Style(
        "lofi lo-fi chill chillhop hip hiphop hip-hop rap beats study relax ฮิปฮอป แร็ป ชิล",
        (72, 86),
        "lofi",
        "electric",
        "held",
        "warm",
        "round",
        "flute",
        notes=4,
        swing=0.16,
        room=0.22,
    ),
    "jazz": Style(
        "jazz swing blues bossa lounge saxophone แจ๊ส แจ๊ซ บลูส์",
        (98, 124),
        "swing",
        "electric",
        "comp",
        "",
        "round",
        "flute",
        walk="walk",
        notes=4,
        swing=0.3,
        room=0.2,
    ),
    "rock": Style(
        "rock metal punk grunge guitar band ร็อก ร็อค",
        (116, 138),
        "rock",
        "driven",
        "eighths",
        "",
        "growl",
        "lead",
        room=0.16,
    ),
    "electronic": Style(
        "electronic edm dance house techno trance synthwave synth club disco cyberpunk retro 80s อิเล็กทรอนิกส์ แดนซ์ เต้น",
        (118, 128),
        "four",
        "pluck",
        "arpeggio",
        "super",
        "growl",
        "lead",
        walk="offbeat",
        pump=0.55,
        room=0.25,
    ),
    "cinematic": Style(
        "cinematic epic orchestral orchestra trailer soundtrack film fantasy battle ออร์เคสตรา ภาพยนตร์ มหากาพย์",
        (78, 96),
        "epic",
        "strings",
        "pulse",
        "strings",
        "round",
        "strings",
        room=0.42,
    ),
    "piano": Style(
        "piano classical ballad lullaby gentle soft romantic wedding เปียโน คลาสสิก บัลลาด กล่อม",
        (66, 84),
        "none",
        "piano",
        "broken",
        "warm",
        "round",
        "piano",
        room=0.36,
    ),
    "ambient": Style(
        "ambient meditation sleep drone spa yoga space calm สมาธิ ผ่อนคลาย นอน",
        (58, 70),
        "none",
        "bell",
        "sparse",
        "warm",
        "round",
        "bell",
        notes=4,
        room=0.5,
    ),
    "folk": Style(
        "folk acoustic country indie ukulele campfire โฟล์ค อะคูสติก เพื่อชีวิต",
        (88, 108),
        "folk",
        "guitar",
        "strum",
        "",
        "round",
        "flute",
        walk="fifths",
        room=0.22,
    ),
    "pop": Style(
        "pop love summer happy upbeat k-pop t-pop ป๊อป ป็อป รัก สนุก",
        (98, 118),
        "pop",
        "pluck",
        "skip",
        "warm",
        "round",
        "lead",
        room=0.25,
    ),
}


SAD = (
    "sad dark melancholy melancholic lonely night rain rainy minor lost tears heartbreak epic cyberpunk battle "
    "เศร้า เหงา อกหัก คืน ฝน น้ำตา"
)


GLAD = "happy bright joy joyful love summer sunny wedding morning major upbeat funny รัก สุข สนุก สดใส เช้า"

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (3, 4, 2, 5), (0, 2, 3, 4), (5, 3, 0, 4), (0, 3, 1, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 6, 2), (0, 6, 5, 6), (5, 6, 0, 0), (0, 2, 6, 3), (0, 5, 3, 6)),
    "jazz": ((1, 4, 0, 5), (0, 5, 1, 4), (3, 6, 2, 5)),
}


def style_of(text: str, rng: Random) -> Style:
    """The first style whose word the text has; otherwise the generator chooses."""
    chosen = rng.choice(("pop", "lofi", "folk", "electronic", "piano", "cinematic"))
    places = {name: place for name, style in STYLES.items() if (place := _place(text, style.words)) is not None}
    return STYLES[min(places, key=places.__getitem__, default=chosen)]


def scale_of(text: str, rng: Random) -> tuple[int, ...]:
    """Minor for sad words, major for glad ones; otherwise the generator chooses."""
    sad, glad = _place(text, SAD), _place(text, GLAD)
    chosen = rng.random() < 0.5
    return MINOR if (chosen if (sad is None) == (glad is None) else glad is None) else MAJOR


def _place(text: str, words: str) -> int | None:
    found = [
        at.start()
        for word in words.split()
        if (at := re.search(rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word), text, re.IGNORECASE))
    ]
    return min(found, default=None)
