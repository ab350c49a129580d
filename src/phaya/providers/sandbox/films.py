"""Films: how FFmpeg moves the layers of a scene, or one or two given stills, and encodes what is seen.

Words of users reach FFmpeg as pixels only: the graph is made of numbers and of the names of its own inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from phaya.providers.sandbox.chance import chance
from phaya.providers.sandbox.drawing import lettering, waters
from phaya.providers.sandbox.drawing.moods import Mood, mood_of
from phaya.providers.sandbox.drawing.pictures import calmed, opened
from phaya.providers.sandbox.drawing.scenery import FRAMES, Layer, paint
from phaya.providers.sandbox.drawing.weather import falling
from phaya.providers.sandbox.workshop import ffmpeg

# FFmpeg lays YUV 4:2:0 pictures over each other in steps of two pixels. Averaging three frames makes slow
# drifts smooth again, and gives fast ones the blur that a camera gives.
SMOOTH = "tmix=frames=3"
MATRIX = "scale=out_color_matrix=bt709:out_range=tv"


@dataclass(slots=True)
class Reel:
    """A film in the making: the files it is made of, and the graph that moves them."""

    folder: Path
    width: int
    height: int
    frames: int
    inputs: list[Path] = field(default_factory=list[Path])
    chains: list[str] = field(default_factory=list[str])
    seen: str = ""

    def _input(self, image: Image.Image) -> int:
        path = self.folder / f"{len(self.inputs)}.png"
        image.save(path, compress_level=1)
        self.inputs.append(path)
        return len(self.inputs) - 1

    def backdrop(self, image: Image.Image) -> None:
        """A picture that stands still behind everything."""
        self.seen = self._looped(image, self.frames)

    def _looped(self, image: Image.Image, frames: int, moved: str = "") -> str:
        number = self._input(image)
        self.chains.append(
            f"[{number}]{MATRIX},format=yuv420p,loop=loop={frames - 1}:size=1,"
            f"setpts=N/{FRAMES}/TB,fps={FRAMES}{moved}[b{number}]"
        )
        return f"b{number}"

    def still(self, image: Image.Image, frames: int, start: Window, end: Window) -> str:
        """A picture on which the camera moves from one window to another; returns the stream's name."""
        share = f"(on/{max(1, frames)})"

        def move(one: float, other: float, side: str) -> str:
            return f"{side}*({one:.5f}+({other - one:.5f})*{share})"

        left, top = move(start.left, end.left, "W"), move(start.top, end.top, "H")
        right, bottom = (
            move(start.left + start.size, end.left + end.size, "W"),
            move(start.top + start.size, end.top + end.size, "H"),
        )
        corners = ((left, top), (right, top), (left, bottom), (right, bottom))
        places = ":".join(f"x{index}='{x}':y{index}='{y}'" for index, (x, y) in enumerate(corners))
        return self._looped(image, frames, f",perspective={places}:interpolation=linear:eval=frame")

    def fade(self, one: str, other: str, start: float, seconds: float) -> None:
        """Shows one stream, then the other."""
        self.chains.append(f"[{one}][{other}]xfade=transition=fade:duration={seconds:.4f}:offset={start:.4f}[faded]")
        self.seen = "faded"

    def layer(self, layer: Layer) -> None:
        """A moving layer over what is seen so far."""
        number = self._input(layer.image)
        across = f"{layer.x:.2f}+({layer.across / FRAMES:.6f})*n+0.01"
        fall = f"({layer.down / FRAMES:.6f})*n"
        down = f"{layer.y:.2f}+{f'mod({fall},{layer.wrap})' if layer.wrap else fall}+0.01"
        if layer.swing:
            down += f"+{layer.swing:.3f}*sin(2*PI*t/{layer.turn:.3f})"
        beat = ""
        if layer.beat:
            period, start, long = layer.beat
            beat = f":enable='lt(mod(t-{start:.3f}+{period:.3f},{period:.3f}),{long:.3f})'"
        self.chains.append(f"[{number}]{MATRIX},format=yuva420p[i{number}]")
        self.chains.append(f"[{self.seen}][i{number}]overlay=x='{across}':y='{down}':format=yuv420{beat}[l{number}]")
        self.seen = f"l{number}"

    def smooth(self) -> None:
        """Averages neighbouring frames; what is laid over later stays sharp."""
        self.chains.append(f"[{self.seen}]{SMOOTH}[smooth]")
        self.seen = "smooth"

    def arguments(self, sound: Path | None, target: Path) -> list[str | Path]:
        """FFmpeg's command line."""
        line: list[str | Path] = [
            ffmpeg(),
            "-nostdin",
            "-hide_banner",
            "-v",
            "error",
            "-y",
            "-filter_complex_threads",
            "1",
        ]
        for path in self.inputs:
            line += ["-f", "png_pipe", "-i", path]
        if sound:
            line += ["-i", sound]
        line += ["-filter_complex", ";".join([*self.chains, f"[{self.seen}]format=yuv420p[film]"]), "-map", "[film]"]
        if sound:
            line += ["-map", f"{len(self.inputs)}:a", "-c:a", "aac", "-b:a", "128k"]
        # The number of threads is fixed, because it shows in x264's output.
        line += [
            "-c:v",
            "libx264",
            "-preset",
            "superfast",
            "-crf",
            "24",
            "-threads",
            "2",
            "-frames:v",
            str(self.frames),
        ]
        line += ["-maxrate", "4M", "-bufsize", "6M"]
        line += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
        return [*line, "-movflags", "+faststart", "-map_metadata", "-1", "-bitexact", target]


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a still that fills the frame: shares of its width and height."""

    left: float
    top: float
    size: float


def frames_of(seconds: float) -> int:
    """How many frames a film of this length has."""
    return max(1, round(seconds * FRAMES))


def scene_film(folder: Path, prompt: str, width: int, height: int, seconds: float, seed: str) -> Reel:
    """A film of the scene that the prompt and the seed give."""
    reel = Reel(folder, width, height, frames_of(seconds))
    scene = paint(prompt, width, height, seed, seconds)
    reel.backdrop(scene.backdrop)
    for layer in scene.layers:
        reel.layer(layer)
    reel.smooth()
    _words(reel, prompt, scene.mood)
    return reel


def still_film(
    folder: Path, prompt: str, width: int, height: int, seconds: float, seed: str, stills: Sequence[Path]
) -> Reel:
    """A film of one still, or from a first to a last one."""
    rng = chance(seed, prompt)
    mood = mood_of(prompt, rng)
    reel = Reel(folder, width, height, frames_of(seconds))
    near = Window(rng.uniform(0.02, 0.12), rng.uniform(0.02, 0.12), 0.85)
    whole = Window(0.0, 0.0, 1.0)
    first = calmed(opened(stills[0], width, height))
    if len(stills) == 1:
        way = (whole, near) if rng.random() < 0.6 else (near, whole)
        reel.seen = reel.still(first, reel.frames, *way)
    else:
        over = max(1, round(reel.frames * 0.4))
        start = (reel.frames - over) // 2
        one = reel.still(first, start + over, whole, near)
        # A cross-fade may drop a frame at its seam, so that the second part has some to spare.
        other = reel.still(calmed(opened(stills[-1], width, height)), reel.frames - start + 4, near, whole)
        reel.fade(one, other, start / FRAMES, over / FRAMES)
    unit = min(width, height)
    light = waters.lamp(mood.palette.light, round(unit * 1.5), 0.34)
    heading = rng.choice((-1, 1))
    reach = (width + light.width * 0.3) / seconds
    start_x = -light.width * 0.6 if heading > 0 else width - light.width * 0.4
    reel.layer(Layer(light, start_x, -light.height * rng.uniform(0.35, 0.6), heading * reach))
    if mood.weather in ("rain", "snow"):
        sheet = falling(rng, mood.weather, width, height, unit, 0.8)
        reel.layer(Layer(sheet, 0, -height, down=unit * {"rain": 2.0, "snow": 0.15}[mood.weather], wrap=height))
    _words(reel, prompt, mood)
    return reel


def _words(reel: Reel, prompt: str, mood: Mood) -> None:
    words = lettering.caption(prompt, reel.width, reel.height, mood.palette.near, mood.palette.light)
    box = words.getbbox() or (0, 0, reel.width, reel.height)
    top = box[1] - box[1] % 2
    reel.layer(Layer(words.crop((0, top, reel.width, reel.height)), 0, top))
