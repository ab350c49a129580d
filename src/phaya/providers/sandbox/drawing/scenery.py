"""A scene: a backdrop and the layers before it, each with the way in which it moves.

Lengths are shares of the picture's shorter side, and each part has its own course of chance, so that a prompt
and a seed give much the same view at every size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from PIL import Image

from phaya.providers.sandbox.chance import chance
from phaya.providers.sandbox.drawing import cities, figures, greenery, ranges, skies, staging, waters
from phaya.providers.sandbox.drawing.moods import Mood, mood_of
from phaya.providers.sandbox.drawing.textures import mix
from phaya.providers.sandbox.drawing.weather import falling

FRAMES = 24
"""Frames a second of every film: speeds are chosen to fall on whole pixels at this rate."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture with transparency at (x, y) of the frame at time 0; speeds are pixels a second.

    `swing` is how far it bobs up and down in pixels, `turn` the seconds of one bob. After `wrap` pixels of
    falling it starts again. It is seen only in its `beat`: every so many seconds, from when, for how long.
    """

    image: Image.Image
    x: float = 0
    y: float = 0
    across: float = 0
    down: float = 0
    swing: float = 0
    turn: float = 4
    wrap: int = 0
    beat: tuple[float, float, float] | None = None


@dataclass(slots=True)
class Scene:
    """What a film moves and a picture shows at time 0."""

    mood: Mood
    backdrop: Image.Image
    layers: list[Layer] = field(default_factory=list[Layer])

    def still(self) -> Image.Image:
        """The scene at time 0."""
        image = self.backdrop.copy()
        for layer in self.layers:
            if layer.beat is None or -layer.beat[1] % layer.beat[0] < layer.beat[2]:
                image.paste(layer.image, (round(layer.x), round(layer.y)), layer.image)
        return image


class Painter:
    """Builds a scene from back to front."""

    def __init__(self, prompt: str, width: int, height: int, seed: str, seconds: float) -> None:
        self.said = seed, prompt
        self.rng = chance(*self.said)
        self.mood = mood_of(prompt, self.rng)
        self.width = width
        self.height = height
        self.unit = min(width, height)
        self.seconds = seconds
        self.heading = self.rng.choice((-1, 1))
        self.pace = 24 * max(1, round(self.unit / 720))
        self.line = round(height * (0.6 if self.mood.water else 0.64) * self.rng.uniform(0.95, 1.05))
        side = self.rng.uniform(0.2, 0.42) if self.rng.random() < 0.35 else self.rng.uniform(0.56, 0.8)
        high = {"dawn": 0.17, "dusk": 0.1, "day": 0.42, "night": 0.38}[self.mood.hour]
        self.sun = round(width * side), round(self.line - min(self.line * 0.75, self.unit * high * 1.15))
        self.layers: list[Layer] = []

    def part(self, name: str) -> Random:
        """The chance of one part: what it draws changes nothing elsewhere."""
        return chance(*self.said, name)

    def wide(self, speed: float) -> int:
        """How wide a layer of this speed must be to fill the frame all the time."""
        return self.width + round(abs(speed) * self.seconds) + 8

    def add(self, image: Image.Image, y: float, speed: float) -> None:
        """A layer across the whole frame."""
        spare = image.width - self.width
        self.layers.append(Layer(image, 0 if self.heading > 0 else -spare, y, -self.heading * speed))

    def scene(self) -> Scene:
        """Paints everything."""
        mood, unit = self.mood, self.unit
        backdrop = skies.sky(self.part("sky"), mood, self.width, self.height, self.line, self.sun)
        self._sky()
        if mood.land == "city":
            self._city()
        else:
            self._ranges()
        if mood.water:
            self._water(Scene(mood, backdrop, self.layers))
        self._air()
        self._foreground()
        if mood.weather in ("rain", "snow"):
            for depth in (0.45, 1.0):
                sheet = falling(self.part(f"weather {depth}"), mood.weather, self.width, self.height, unit, depth)
                speed = unit * ({"rain": 2.2, "snow": 0.1}[mood.weather] * (0.5 + 0.5 * depth))
                wrap = self.height
                self.layers.append(Layer(sheet, 0, -wrap, down=speed, wrap=wrap))
        return Scene(mood, backdrop, self.layers)

    def _sky(self) -> None:
        rng, mood, unit = self.rng, self.mood, self.unit
        if mood.hour == "night" and mood.weather != "rain":
            for phase in range(3):
                stars = skies.twinkles(self.part(f"stars {phase}"), self.width, self.line, unit, 5)
                self.layers.append(Layer(stars, beat=(3.0, phase, 1.7)))
        if mood.aurora:
            tall = round(self.line * 0.95)
            self.add(skies.aurora(self.part("aurora"), self.wide(self.pace / 4), tall, unit), 0, self.pace / 4)
        if mood.weather == "rain" or (not mood.aurora and rng.random() < (0.35 if mood.hour == "night" else 0.85)):
            tall = round(self.line * rng.uniform(0.75, 1))
            self.add(
                skies.clouds(self.part("clouds"), mood, self.wide(self.pace / 3), tall, unit),
                rng.uniform(-0.1, 0.05) * self.line,
                self.pace / 3,
            )
        if mood.weather != "rain":
            disc = skies.sun_or_moon(self.part("sun"), mood, unit)
            sink = {"dawn": -0.012, "dusk": 0.014}.get(mood.hour, 0.0) * unit
            self.layers.append(Layer(disc, self.sun[0] - disc.width / 2, self.sun[1] - disc.width / 2, down=sink))

    def _ranges(self) -> None:
        """Ranges from the horizon to our feet; before water, those of its far shore."""
        mood, unit = self.mood, self.unit
        if mood.land == "sea":
            self._islands()
            return
        steep = mood.land in ("mountain", "snow")
        depths = (0.05, 0.24, 0.42) if mood.water else (0.05, 0.26, 0.5, 0.76)
        low = self.line if mood.water else self.height * 0.86
        start = self.line - unit * (0.3 if steep else 0.17)
        tops = [start + (low - start) * depth * (0.9 if mood.water else 1.3) for depth in depths]
        # Each range reaches down behind the next one.
        feet = [low] * 3 if mood.water else [*(top + unit * 0.36 for top in tops[1:]), self.height]
        for index, (depth, top, foot) in enumerate(zip(depths, tops, feet, strict=True)):
            tall = max(8, round(min(foot, self.height) - top))
            speed = self.pace * (0.25, 0.5, 1, 1)[index]
            head = ranges.trees_over(mood, unit, depth)
            rng = self.part(f"range {index}")
            self.add(ranges.ridge(rng, mood, self.wide(speed), tall + head, unit, depth), top - head, speed)
            if mood.weather == "mist" or (index < 2 and (steep or mood.land == "forest")):
                bank = round(unit * 0.22)
                mist = waters.fog(rng, mood, self.wide(speed * 2), bank, unit, 0.8 if mood.weather == "mist" else 0.45)
                self.add(mist, min(top + unit * 0.12, low - bank * 0.9), speed * 2)

    def _islands(self) -> None:
        if self.rng.random() < 0.2:
            return
        for depth, share in ((0.06, 0.25), (0.2, 0.5)):
            rng, speed, tall = (
                self.part(f"islands {depth}"),
                self.pace * share,
                round(self.unit * (0.08 - 0.16 * depth)),
            )
            coast = ranges.ridge(rng, self.mood, self.wide(speed), tall, self.unit, depth)
            waters.sink_between_islands(rng, coast, self.unit)
            self.add(coast, self.line - tall, speed)

    def _city(self) -> None:
        """Rows of buildings; before water, the two of its far bank."""
        mood, unit = self.mood, self.unit
        rows = ((0.1, 0.42, 0.25), (0.38, 0.36, 0.5), (0.8, 0.34, 1.0))
        for depth, tall, share in rows[:2] if mood.water else rows:
            floor = self.line if mood.water else self.height
            below = 0 if mood.water else unit * 0.1 + (self.height - self.line) * (1 - depth) * 0.75
            down, speed = round(unit * tall + below), self.pace * share
            row = cities.city(self.part(f"row {depth}"), mood, self.wide(speed), down, unit, depth)
            self.add(row, floor - down, speed)

    def _water(self, above: Scene) -> None:
        """Water takes the place of everything below its line; the far land lies mirrored in it."""
        unit = self.unit
        deep = self.height - self.line
        mirrored = above.still().crop((0, max(0, self.line - deep), self.width, self.line))
        sheet = waters.water(self.part("water"), self.mood, mirrored, deep, unit, self.sun[0])
        self.layers.append(Layer(sheet.convert("RGBA"), 0, self.line))
        for heading in (1, -1):
            speed = self.pace / 2
            streaks = waters.shimmer(self.part(f"streaks {heading}"), self.mood, self.wide(speed), deep, unit)
            spare = streaks.width - self.width
            self.layers.append(
                Layer(streaks, 0 if heading > 0 else -spare, self.line, -heading * speed, swing=unit * 0.003, turn=3)
            )

    def _air(self) -> None:
        rng, mood, unit = self.rng, self.mood, self.unit
        dark = mood.ground(0.8)
        if mood.water and ("boat" in mood.figures or (mood.land == "sea" and rng.random() < 0.6)):
            size = round(unit * rng.uniform(0.11, 0.2))
            hull = staging.flier(figures.boat, dark, size, size)
            x = self.width * rng.uniform(0.22, 0.5)
            self.layers.append(Layer(hull, x, self.line + size * -0.72, self.pace * 0.75, swing=unit * 0.004, turn=3.4))
        if "dragon" in mood.figures:
            down = round(unit * 0.3)
            across = round(down * 2.3)
            body = staging.flier(figures.dragon, mix(mood.ground(0.62), mood.palette.near, 0.3), across, down)
            self.layers.append(
                Layer(body, self.width * 0.1, self.line - unit * 0.5, self.pace * 1.5, swing=unit * 0.02, turn=5)
            )
        if "balloon" in mood.figures:
            tones = [
                mix(tone, mood.palette.light, 0.15)
                for tone in ((226, 84, 74), (246, 184, 74), (64, 150, 190), (250, 240, 225), (120, 80, 160))
            ]
            for index, size in enumerate((0.05, 0.075, 0.12, 0.2)):
                body = staging.balloon(self.part(f"balloon {index}"), round(unit * size), tones)
                x = self.width * (0.12 + 0.68 * (((3 - index) * 0.382 + 0.08 * rng.random()) % 1))
                y = self.line - unit * (0.29 + 0.07 * index) - unit * 0.05 * rng.random()
                self.layers.append(Layer(body, x, y, self.pace * size * 2, -self.pace * size * 1.5))
        if "lantern" in mood.figures:
            for _ in range(14):
                size = round(unit * 0.012 + unit * 0.035 * rng.random() ** 2.5)
                body = staging.lantern(size)
                x, y = rng.random() * self.width, self.line * rng.uniform(0.05, 1.0)
                self.layers.append(
                    Layer(
                        body,
                        x - size * 2,
                        y - size * 2,
                        self.pace * rng.uniform(-0.1, 0.2),
                        -self.pace * size / unit * 18,
                    )
                )
        if mood.hour != "night" and mood.weather != "rain" and "dragon" not in mood.figures:
            self._flock(rng.randrange(3, 8))

    def _flock(self, count: int) -> None:
        """Birds in two groups, each drawn in three poses of which one is seen at a time."""
        rng, unit = self.rng, self.unit
        tone = self.mood.ground(0.7)
        left, top = self.width * rng.uniform(0.12, 0.4), self.line * rng.uniform(0.3, 0.6)
        across, down = round(unit * 0.4), round(unit * 0.24)
        places = [
            (
                max(8, round(unit * rng.uniform(0.016, 0.034))),
                round(unit * (0.045 * index + 0.02 * rng.random())),
                round(unit * (0.03 + 0.03 * abs(index - count // 2) + 0.04 * rng.random())),
            )
            for index in range(count)
        ]
        for group in range(2):
            for pose, lift in enumerate((0.9, 0.25, -0.5)):
                sheet = Image.new("RGBA", (across, down), (*tone, 0))
                for size, x, y in places[group::2]:
                    sheet.alpha_composite(staging.bird(size, lift, tone), (x, y))
                start = (pose * 0.2 + group * 0.35) % 0.6
                self.layers.append(Layer(sheet, left, top, self.pace * 1.5, -unit * 0.006, beat=(0.6, start, 0.2)))

    def _foreground(self) -> None:
        rng, mood, unit = self.rng, self.mood, self.unit
        standing = [name for name in mood.figures if name in figures.STANDING][:3]
        if mood.land == "sea" and not standing and rng.random() < 0.5 and mood.hour != "night":
            standing = ["palm"]
        if "tree" in standing and mood.land == "forest":
            standing.remove("tree")
        speed = self.pace * 2.0
        if standing:
            across, down = round(unit * 1.5), round(unit * 0.98)
            hill = staging.mound(self.part("hill"), standing, mood.ground(0.93), mood.palette.light, across, down, unit)
            x = self.width * 0.7 - across / 2 if self.width >= unit * 1.2 else self.width * 0.58 - across / 2
            drift = -self.heading * self.pace * 0.5
            high = 0.94 if self.height > self.width * 1.2 else 0.78
            self.layers.append(Layer(hill, x - drift * self.seconds / 2, self.height - unit * high, drift))
        wide = self.wide(speed)
        if mood.land in ("forest", "snow"):
            tall = round(unit * 0.5)
            self.add(greenery.grove(self.part("grove"), mood, wide, tall, unit), self.height - tall * 0.86, speed)
        elif mood.land in ("field", "hills") or (mood.water and mood.land == "mountain"):
            tall = round(unit * 0.2)
            self.add(
                greenery.meadow(self.part("meadow"), mood, wide, tall, unit, 0.09), self.height - tall * 0.92, speed
            )


def paint(prompt: str, width: int, height: int, seed: str, seconds: float = 0) -> Scene:
    """The scene that the prompt and the seed give, with room for `seconds` of movement."""
    return Painter(prompt, width, height, seed, seconds).scene()
