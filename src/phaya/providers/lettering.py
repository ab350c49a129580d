"""Captions as an ASS file, as libass draws it into a film."""

from __future__ import annotations

from collections.abc import Sequence

from phaya.providers.captions import Caption

FONT = "Prompt Medium"
BREAK = "\u200b"
"""Where a line may break: libass knows no Thai words, and breaks here only with `wrap_unicode=1`."""
_POP_MS, _FADE_MS = 140, 120

_HEAD = """[Script Info]
ScriptType: v4.00+
WrapStyle: 0
ScaledBorderAndShadow: yes
YCbCr Matrix: TV.709
PlayResX: {width}
PlayResY: {height}

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Caption,{font},{size},&H00FFFFFF,&H00FFFFFF,&H00101010,&H80000000,0,0,0,0,100,100,0,0,1,{outline},{shadow},2,\
{side},{side},{bottom},1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def script(captions: Sequence[Caption], frame: tuple[int, int], *, pop: bool) -> str:
    """The file for a film of this size; with `pop` each word comes up when it is said, and the caption fades."""
    width, height = frame
    size = max(10.0, 0.088 * min(width, height))
    head = _HEAD.format(
        width=width,
        height=height,
        font=FONT,
        size=f"{size:.1f}",
        outline=f"{max(1.0, size * 0.06):.1f}",
        shadow=f"{size * 0.02:.1f}",
        side=round(width * 0.06),
        # Players of upright films write over their lower part.
        bottom=round(height * (0.15 if height > width else 0.06)),
    )
    return head + "".join(
        f"Dialogue: 0,{_time(one.start)},{_time(one.end)},Caption,,0,0,0,,{_text(one, pop)}\n" for one in captions
    )


def _text(caption: Caption, pop: bool) -> str:
    starts = list(caption.word_starts())
    lines: list[str] = []
    number = 0
    for line in caption.lines:
        words: list[str] = []
        for word in line:
            shown = escaped(word)
            words.append(_popping(shown, starts[number] - caption.start) if pop else shown)
            number += 1
        lines.append(BREAK.join(words))
    text = r"\N".join(lines)
    return f"{{\\fad(0,{_FADE_MS})}}{text}" if pop else text


def _popping(word: str, after: float) -> str:
    """A word that is not there at first. Until then it holds its place at full size, so that lines break alike."""
    begin = round(after * 1000)
    hidden = r"\alpha&HFF&\fscx100\fscy100"
    small = rf"\t({begin},{begin + 1},\alpha&H90&\fscx82\fscy82)"
    grown = rf"\t({begin + 1},{begin + _POP_MS},\alpha&H00&\fscx100\fscy100)"
    return f"{{{hidden}{small}{grown}}}{word}"


def escaped(text: str) -> str:
    """Text that libass shows as it is: braces would be its commands, a backslash begins one."""
    plain = "".join(sign for sign in text if sign.isprintable() or sign.isspace() or sign in "\u200c\u200d")
    # A word joiner has no width, and after it no letter makes a command of the backslash.
    plain = plain.replace("\\", "\\\u2060").replace("{", "\\{").replace("}", "\\}")
    return " ".join(plain.split()) + (" " if plain[-1:].isspace() else "")


def _time(seconds: float) -> str:
    hundredths = round(seconds * 100)
    return f"{hundredths // 360000}:{hundredths // 6000 % 60:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"
