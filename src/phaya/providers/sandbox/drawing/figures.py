"""Who stands, sails or flies in a scene: silhouettes drawn in a box of 1 by 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from phaya.providers.sandbox.chance import chance
from phaya.providers.sandbox.drawing.textures import Point, silhouette


class Pencil:
    """Fills shapes given in a unit box; `across` and `down` are the box's sides in pixels."""

    def __init__(self, pen: ImageDraw.ImageDraw, across: float, down: float) -> None:
        self._pen = pen
        self._across = across
        self._down = down

    def shape(self, *points: Point) -> None:
        """A polygon."""
        self._pen.polygon([(x * self._across, y * self._down) for x, y in points], fill=255)

    def oval(self, left: float, top: float, right: float, bottom: float) -> None:
        """An ellipse in its box."""
        box = (left * self._across, top * self._down, right * self._across, bottom * self._down)
        self._pen.ellipse(box, fill=255)

    def stroke(self, points: Sequence[Point], start: float, end: float) -> None:
        """A smooth curve through the points; its thickness (of the box's height) runs from start to end."""
        path = smooth(points)
        for index, (x, y) in enumerate(path):
            radius = (start + (end - start) * index / (len(path) - 1)) * self._down / 2
            centre = x * self._across, y * self._down
            self._pen.ellipse(
                (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius), fill=255
            )


def smooth(points: Sequence[Point], steps: int = 24) -> list[Point]:
    """A Catmull-Rom curve through the points."""
    padded = [points[0], *points, points[-1]]
    path: list[Point] = []
    for before, one, two, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(steps):
            t = step / steps
            path.append((_bend(before[0], one[0], two[0], after[0], t), _bend(before[1], one[1], two[1], after[1], t)))
    return [*path, points[-1]]


def _bend(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t**3)


def cat(p: Pencil) -> None:
    """A cat that sits and looks at the view."""
    p.oval(0.2, 0.44, 0.7, 1.02)
    p.oval(0.28, 0.3, 0.62, 0.75)
    p.oval(0.26, 0.1, 0.64, 0.44)
    p.shape((0.27, 0.27), (0.27, 0.0), (0.44, 0.13))
    p.shape((0.46, 0.13), (0.63, 0.0), (0.63, 0.27))
    p.stroke([(0.6, 0.95), (0.76, 0.975), (0.9, 0.92), (0.93, 0.8), (0.88, 0.7), (0.92, 0.6)], 0.08, 0.05)


def elephant(p: Pencil) -> None:
    """An elephant walking to the right."""
    p.oval(0.1, 0.2, 0.72, 0.72)
    p.oval(0.45, 0.16, 0.8, 0.6)
    p.oval(0.6, 0.12, 0.88, 0.5)
    for left in (0.15, 0.29, 0.5, 0.62):
        p.shape((left, 0.5), (left + 0.12, 0.5), (left + 0.115, 1), (left + 0.005, 1))
    p.stroke([(0.8, 0.3), (0.9, 0.48), (0.91, 0.7), (0.9, 0.86), (0.97, 0.9)], 0.17, 0.055)
    p.stroke([(0.79, 0.5), (0.88, 0.6), (0.97, 0.57)], 0.035, 0.01)
    p.stroke([(0.12, 0.4), (0.05, 0.55), (0.06, 0.7)], 0.03, 0.025)


def dragon(p: Pencil) -> None:
    """A long dragon winding through the air."""
    body = [(0.02, 0.62), (0.1, 0.42), (0.22, 0.34), (0.34, 0.5), (0.46, 0.68), (0.6, 0.6), (0.7, 0.36), (0.82, 0.27)]
    path = smooth(body)
    p.stroke(body[:3], 0.02, 0.1)
    p.stroke(body[2:6], 0.1, 0.15)
    p.stroke(body[5:], 0.15, 0.1)
    for index in range(10, len(path) - 14, 6):
        (x, y), (ahead, above) = path[index], path[index + 2]
        long = math.hypot(ahead - x, above - y) or 1
        across, down = (above - y) / long, -(ahead - x) / long
        size = 0.055 + 0.06 * math.sin(math.pi * index / len(path))
        p.shape((x - 0.012, y), (x + across * size * 0.5 - 0.018, y + down * size * 1.5), (x + 0.014, y))
    p.oval(0.77, 0.18, 0.89, 0.36)
    p.shape((0.84, 0.2), (0.99, 0.27), (0.985, 0.31), (0.85, 0.33))
    p.shape((0.84, 0.31), (0.965, 0.35), (0.84, 0.37))
    p.stroke([(0.82, 0.21), (0.77, 0.11), (0.7, 0.09)], 0.035, 0.008)
    p.stroke([(0.85, 0.2), (0.82, 0.08), (0.77, 0.03)], 0.035, 0.008)
    p.stroke([(0.96, 0.29), (1.0, 0.4), (0.95, 0.5)], 0.012, 0.004)
    p.shape((0.02, 0.62), (-0.0, 0.8), (0.045, 0.7), (0.09, 0.78), (0.07, 0.58))
    for x, y in ((0.3, 0.5), (0.62, 0.6)):
        p.stroke([(x, y), (x + 0.03, y + 0.14), (x + 0.07, y + 0.16)], 0.06, 0.025)
        for claw in (0.0, 0.025, 0.05):
            p.stroke([(x + 0.06, y + 0.16), (x + 0.075 + claw, y + 0.2 - claw)], 0.02, 0.006)


def boat(p: Pencil) -> None:
    """A sailing boat."""
    p.shape((0.12, 0.8), (0.9, 0.8), (0.76, 0.96), (0.24, 0.96))
    p.shape((0.47, 0.02), (0.485, 0.02), (0.485, 0.82), (0.47, 0.82))
    main = smooth([(0.5, 0.06), (0.74, 0.38), (0.84, 0.74)])
    p.shape(*main, (0.5, 0.74))
    fore = smooth([(0.455, 0.12), (0.28, 0.44), (0.16, 0.74)])
    p.shape(*fore, (0.455, 0.74))


def temple(p: Pencil) -> None:
    """A chedi: steps, bell and spire, with a smaller one at each side."""
    for centre, size in ((0.5, 1.0), (0.16, 0.5), (0.84, 0.5)):

        def at(x: float, y: float, centre: float = centre, size: float = size) -> Point:
            return centre + (x - 0.5) * size * 0.75, 1 - (1 - y) * size

        for step in range(4):
            half = 0.46 - 0.065 * step
            p.shape(
                at(0.5 - half, 1 - 0.075 * step),
                at(0.5 + half, 1 - 0.075 * step),
                at(0.5 + half, 0.92 - 0.075 * step),
                at(0.5 - half, 0.92 - 0.075 * step),
            )
        side = smooth([(0.27, 0.71), (0.31, 0.6), (0.35, 0.5), (0.42, 0.42)])
        p.shape(*(at(x, y) for x, y in side), *(at(1 - x, y) for x, y in reversed(side)))
        p.shape(at(0.43, 0.44), at(0.57, 0.44), at(0.55, 0.36), at(0.45, 0.36))
        spire = smooth([(0.44, 0.38), (0.47, 0.24), (0.49, 0.1), (0.497, 0.0)])
        p.shape(*(at(x, y) for x, y in spire), *(at(1 - x, y) for x, y in reversed(spire)))


def person(p: Pencil) -> None:
    """A wanderer with a staff and a coat in the wind."""
    p.oval(0.42, 0.0, 0.6, 0.17)
    p.shape((0.4, 0.2), (0.6, 0.18), (0.68, 0.3), (0.64, 0.66), (0.34, 0.68))
    p.shape((0.42, 0.22), (0.5, 0.6), (0.16, 0.76), (0.3, 0.5))
    p.shape((0.36, 0.6), (0.48, 0.6), (0.45, 1.0), (0.34, 1.0))
    p.shape((0.5, 0.6), (0.63, 0.6), (0.66, 1.0), (0.55, 1.0))
    p.stroke([(0.6, 0.26), (0.72, 0.4), (0.82, 0.42)], 0.075, 0.05)
    p.stroke([(0.84, 0.16), (0.84, 1.0)], 0.022, 0.022)


def house(p: Pencil) -> None:
    """A gabled house with a chimney."""
    p.shape((0.12, 0.5), (0.88, 0.5), (0.88, 1), (0.12, 1))
    p.shape((0.02, 0.54), (0.5, 0.12), (0.98, 0.54))
    p.shape((0.68, 0.1), (0.78, 0.1), (0.78, 0.42), (0.68, 0.42))


def lighthouse(p: Pencil) -> None:
    """A lighthouse; its lamp stands at a tenth of its height."""
    p.shape((0.4, 0.2), (0.6, 0.2), (0.7, 1), (0.3, 1))
    p.shape((0.34, 0.17), (0.66, 0.17), (0.66, 0.21), (0.34, 0.21))
    p.shape((0.42, 0.07), (0.58, 0.07), (0.58, 0.18), (0.42, 0.18))
    p.shape((0.38, 0.08), (0.5, 0.0), (0.62, 0.08))


def tree(p: Pencil) -> None:
    """A broad old tree."""
    rng = chance("tree")
    p.stroke([(0.5, 1.02), (0.49, 0.75), (0.5, 0.5)], 0.09, 0.05)
    p.stroke([(0.5, 0.72), (0.38, 0.56), (0.3, 0.45)], 0.05, 0.02)
    p.stroke([(0.5, 0.66), (0.62, 0.54), (0.7, 0.42)], 0.05, 0.02)
    for _ in range(90):
        turn, reach = rng.random() * math.tau, rng.random() ** 0.5
        x, y, size = 0.5 + math.cos(turn) * reach * 0.38, 0.33 + math.sin(turn) * reach * 0.23, rng.uniform(0.03, 0.08)
        p.oval(x - size, y - size, x + size, y + size * 0.8)


def palm(p: Pencil) -> None:
    """A palm bent by the wind."""
    p.stroke([(0.3, 1.02), (0.36, 0.7), (0.47, 0.42), (0.6, 0.26)], 0.05, 0.028)
    for across, down in (
        (-0.42, 0.02),
        (-0.3, 0.26),
        (-0.34, -0.14),
        (-0.1, -0.24),
        (0.18, -0.2),
        (0.36, -0.06),
        (0.36, 0.16),
        (0.22, 0.3),
        (-0.1, 0.34),
    ):
        tip = 0.6 + across, 0.26 + down
        middle = 0.6 + across * 0.55, 0.26 + down * 0.4 - 0.07
        spine = smooth([(0.6, 0.26), middle, tip], 14)
        p.stroke([(0.6, 0.26), middle, tip], 0.016, 0.005)
        for index in range(2, len(spine), 2):
            x, y = spine[index]
            long = 0.1 * math.sin(math.pi * min(1, index / len(spine) + 0.12))
            lean = 0.035 if across > 0 else -0.035
            p.shape((x - 0.008, y), (x + 0.008, y), (x + lean, y + long))
    for x, y in ((0.58, 0.28), (0.62, 0.29), (0.6, 0.31)):
        p.oval(x - 0.018, y - 0.02, x + 0.018, y + 0.02)


# Name: how it is drawn, its height in units of the picture's shorter side, its width over its height.
STANDING: dict[str, tuple[Callable[[Pencil], None], float, float]] = {
    "cat": (cat, 0.2, 0.9),
    "elephant": (elephant, 0.2, 1.35),
    "temple": (temple, 0.34, 0.9),
    "person": (person, 0.17, 0.55),
    "house": (house, 0.13, 1.15),
    "lighthouse": (lighthouse, 0.32, 0.5),
    "tree": (tree, 0.34, 1.1),
    "palm": (palm, 0.5, 0.9),
}


def outline(draw: Callable[[Pencil], None], across: int, down: int) -> Image.Image:
    """The mask of a figure."""
    return silhouette(across, down, lambda pen, scale: draw(Pencil(pen, across * scale, down * scale)))
