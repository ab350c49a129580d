"""What a prompt asks for, read from its words (English and Thai): the hour, the land, the weather, who is in it.

What the words leave open, the seed decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar, cast

from phaya.providers.sandbox.drawing.textures import Colour, brightness, colour, mix

Hour = Literal["dawn", "day", "dusk", "night"]
Land = Literal["mountain", "hills", "forest", "sea", "desert", "city", "snow", "field"]
Weather = Literal["clear", "rain", "snow", "mist"]
_Name = TypeVar("_Name", bound=str)

HOURS: Mapping[Hour, str] = {
    "dawn": "dawn sunrise morning daybreak รุ่งอรุณ รุ่งเช้า เช้า อรุณ ตะวันขึ้น",
    "day": "day daytime noon midday afternoon sunny summer กลางวัน เที่ยง บ่าย แดดจ้า ฤดูร้อน",
    "dusk": "dusk sunset evening twilight autumn fall golden ตะวันตก อาทิตย์ตก เย็น สนธยา พลบค่ำ โพล้เพล้",
    "night": "night midnight star starry stars moon moonlight moonlit galaxy space aurora neon dark firefly "
    "กลางคืน ค่ำคืน ราตรี เที่ยงคืน ดาว พระจันทร์ ดวงจันทร์ แสงจันทร์ อวกาศ แสงเหนือ",
}
LANDS: Mapping[Land, str] = {
    "sea": "sea ocean beach coast island wave harbour harbor bay shore underwater lagoon boat ship whale "
    "ทะเล มหาสมุทร ชายหาด หาด เกาะ คลื่น อ่าว เรือ วาฬ",
    "city": "city town street skyline skyscraper tokyo bangkok cyberpunk neon car market cafe urban "
    "เมือง กรุงเทพ ตึก ถนน ตลาด ร้าน รถ",
    "desert": "desert dune sahara camel sand mars egypt ทะเลทราย เนินทราย อูฐ",
    "forest": "forest wood jungle tree pine bamboo deer tiger ป่า ต้นไม้ ไผ่ กวาง เสือ",
    "snow": "snow winter ice snowy frozen glacier arctic christmas penguin หิมะ ฤดูหนาว น้ำแข็ง คริสต์มาส",
    "mountain": "mountain peak alps cliff valley canyon volcano himalaya everest ภูเขา ดอย ยอดเขา หุบเขา",
    "field": "field meadow rice farm flower garden grass village lavender sunflower horse "
    "ทุ่ง นา ดอกไม้ สวน หมู่บ้าน ไร่ ชนบท",
    "hills": "hill countryside rolling tuscany เนินเขา",
}
WEATHERS: Mapping[Weather, str] = {
    "rain": "rain rainy storm stormy thunder monsoon ฝน พายุ",
    "snow": "snow snowing snowy snowfall blizzard snowflake winter christmas หิมะ",
    "mist": "mist misty fog foggy haze dream dreamy smoke หมอก ควัน ฝัน",
}
WATERS = "lake river pond water reflection waterfall canal ทะเลสาบ แม่น้ำ บึง สระ น้ำตก คลอง ลำธาร ลอยกระทง"
TINTS: Mapping[str, str] = {
    "d8344a": "red crimson scarlet ruby แดง",
    "f0802a": "orange amber fire ส้ม",
    "f2c230": "yellow gold golden เหลือง ทอง",
    "3fae5a": "green emerald jade เขียว มรกต",
    "1fb5b0": "teal turquoise cyan mint ฟ้าคราม เทอร์ควอยซ์",
    "3478e0": "blue sapphire azure น้ำเงิน ฟ้า คราม",
    "8a4fd8": "purple violet lavender magenta neon cyberpunk ม่วง",
    "f07aa8": "pink rose sakura cherry blossom ชมพู กุหลาบ ซากุระ",
}
FIGURES: Mapping[str, str] = {
    "cat": "cat kitten kitty แมว",
    "dragon": "dragon มังกร พญานาค",
    "elephant": "elephant ช้าง",
    "boat": "boat ship sail sailboat yacht เรือ",
    "balloon": "balloon hot-air บอลลูน",
    "lantern": "lantern loy krathong festival yi peng โคม ลอยกระทง ยี่เป็ง เทศกาล",
    "temple": "temple pagoda shrine wat วัด เจดีย์ ปราสาท",
    "person": "man woman girl boy person child traveller traveler hiker astronaut monk samurai "
    "wizard witch knight warrior robot people lady "
    "คน ผู้หญิง ผู้ชาย เด็ก สาว หนุ่ม นักเดินทาง พระ",
    "house": "house cabin hut home cottage บ้าน กระท่อม",
    "lighthouse": "lighthouse ประภาคาร",
    "tree": "tree ต้นไม้",
    "palm": "palm coconut beach tropical island มะพร้าว ชายหาด หาด เกาะ",
}
AURORA = "aurora northern แสงเหนือ"
# Thai writes without spaces, so that short words turn up inside other ones.
THAI_OTHERS = {
    "นา": "นาที|นาฬิกา|นาม|นาง|นาค|นาน",
    "ฟ้า": "ไฟฟ้า",
    "เย็น": "ใจเย็น",
    "ทะเล": "ทะเลสาบ|ทะเลทราย",
    "พระ": "พระจันทร์|พระอาทิตย์",
}


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of an hour: the sky from top to horizon, the light, the far haze and the near ground."""

    top: Colour
    high: Colour
    low: Colour
    horizon: Colour
    light: Colour
    near: Colour

    @property
    def haze(self) -> Colour:
        """What distance fades into."""
        return mix(self.low, self.horizon, 0.45)

    def tinted(self, tint: Colour, sky: float, ground: float) -> Palette:
        """The same brightnesses, drawn towards another colour: shares for the sky and for the near ground."""

        def towards(tone: Colour, share: float = sky) -> Colour:
            bright = brightness(tone)
            target = mix((0, 0, 0), tint, bright / 0.5) if bright < 0.5 else mix(tint, (255, 255, 255), bright * 2 - 1)
            return mix(tone, target, share)

        return Palette(
            towards(self.top),
            towards(self.high),
            towards(self.low),
            towards(self.horizon),
            towards(self.light, sky * 0.7),
            towards(self.near, ground),
        )


def _palette(text: str) -> Palette:
    return Palette(*(colour(part) for part in text.split()))


PALETTES: Mapping[Hour, Sequence[Palette]] = {
    "dawn": (
        _palette("2b3a67 8d77a8 f3aea6 ffe0bd fff0d2 231f3a"),
        _palette("1f4a78 6d9cc4 f6c9b0 fff0d8 fffaea 14283a"),
        _palette("3b2f63 b2708f f7a27f ffdc9e fff3cf 2a1a33"),
    ),
    "day": (
        _palette("2670bd 62aae2 b5dcf2 eef7f3 fffdf2 12392f"),
        _palette("2f8fbf 74c6dc c4ebe6 f7fbec fffff5 15402c"),
        _palette("4a7fc1 8ebbe6 d8e4f0 fff4e2 fffaf0 20384a"),
    ),
    "dusk": (
        _palette("1a1446 6a2c70 dd5a6e f9ad6a ffdf9a 150d28"),
        _palette("16324f 5f5590 e9896a ffd28f fff0c4 101a2c"),
        _palette("2d1b4e 9c3a70 ee7b3c ffcb6b ffe9ad 1d0f26"),
        _palette("243b6b 7d6bab f09aa4 ffd6b0 fff0d6 1a1d3a"),
    ),
    "night": (
        _palette("050a1f 0d1d45 234270 50719b f6f1dc 03060f"),
        _palette("090520 1d124a 42307a 7a5fa3 f4ecff 06030f"),
        _palette("02101c 05304a 0f5a68 4f9c9b eefcf2 010a10"),
    ),
}
OVERCAST: Mapping[Hour, Palette] = {
    "dawn": _palette("46505e 76808c a9a9ab d3c8bd e8ddd0 20262c"),
    "day": _palette("475766 73858f a3b2b5 cdd6d3 eef2ee 1b282a"),
    "dusk": _palette("312f44 5b546c 92798a cba28f f0c9a4 18161f"),
    "night": _palette("080d16 16202e 2c3c4c 516574 c9d5dc 04070b"),
}


@dataclass(frozen=True, slots=True)
class Mood:
    """Everything about a scene that words decide."""

    hour: Hour
    land: Land
    weather: Weather
    water: bool
    aurora: bool
    figures: tuple[str, ...]
    palette: Palette

    def ground(self, depth: float) -> Colour:
        """The colour of the ground at a depth: 0 is the horizon, 1 is before our feet."""
        veil = {"clear": 0.8, "rain": 0.86, "snow": 0.84, "mist": 0.95}[self.weather]
        near = self.palette.near
        if self.land == "desert":
            near = mix(near, mix((196, 110, 52), self.palette.low, 0.3), 0.2 if self.hour == "night" else 0.55)
        elif self.land == "snow":
            near = mix(near, mix(self.palette.high, (255, 255, 255), 0.25), 0.35 if self.hour == "night" else 0.6)
        elif self.land in ("field", "hills", "forest") and self.hour == "day":
            near = mix(near, (58, 122, 60), 0.45)
        return mix(self.palette.haze, near, 1 - veil * (1 - depth) ** 1.25)


def mood_of(prompt: str, rng: Random) -> Mood:
    """Reads the prompt; the seeded generator fills in what it leaves open."""
    # The same numbers are drawn whatever the words say, so that a word changes only what it names.
    any_hour = rng.choice(("dawn", "dawn", "day", "dusk", "dusk", "night"))
    any_land = rng.choice(("mountain", "mountain", "hills", "sea", "forest", "desert", "field"))
    any_water, any_mist, which = rng.random() < 0.4, rng.random() < 0.2, rng.random()

    hour = _first(prompt, HOURS) or any_hour
    land = _first(prompt, LANDS) or cast("Land", any_land)
    weather = _first(prompt, WEATHERS) or ("mist" if any_mist else "clear")
    if weather == "clear" and land == "snow":
        weather = "snow"
    choices = [OVERCAST[hour]] if weather == "rain" else PALETTES[hour]
    palette = choices[int(which * len(choices))]
    tint = _first(prompt, TINTS)
    if tint is not None:
        # Skies are seldom green or yellow; the ground may be.
        sky = 0.22 if tint in ("3fae5a", "f2c230") else 0.35 if hour == "night" else 0.55
        palette = palette.tinted(colour(tint), sky, 0.6)
    figures = [name for name, words in FIGURES.items() if _place(prompt, words) is not None]
    return Mood(
        hour=hour,
        land=land,
        weather=weather,
        water=land == "sea"
        or _place(prompt, WATERS) is not None
        or (land in ("mountain", "snow", "forest", "city") and any_water),
        aurora=_place(prompt, AURORA) is not None,
        figures=tuple(figures),
        palette=palette,
    )


def _first(prompt: str, table: Mapping[_Name, str]) -> _Name | None:
    places = {name: place for name, words in table.items() if (place := _place(prompt, words)) is not None}
    return min(places, key=places.__getitem__, default=None)


def _place(prompt: str, words: str) -> int | None:
    """Where the first of the words stands in the prompt: Latin ones as whole words, Thai ones anywhere."""
    found = [at.start() for word in words.split() if (at := re.search(_pattern(word), prompt, re.IGNORECASE))]
    return min(found, default=None)


def _pattern(word: str) -> str:
    if word.isascii():
        return rf"\b{re.escape(word)}(?:s|es)?\b"
    others = THAI_OTHERS.get(word)
    return rf"(?!{others}){word}" if others else word
