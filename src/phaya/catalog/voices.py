"""Google Gemini's thirty prebuilt voices, each with Google's own word for it. All of them speak all languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Voice = Literal[
    "Zephyr", "Puck", "Charon", "Kore", "Fenrir", "Leda", "Orus", "Aoede", "Callirrhoe", "Autonoe",
    "Enceladus", "Iapetus", "Umbriel", "Algieba", "Despina", "Erinome", "Algenib", "Rasalgethi", "Laomedeia",
    "Achernar", "Alnilam", "Schedar", "Gacrux", "Pulcherrima", "Achird", "Zubenelgenubi", "Vindemiatrix", "Sadachbia",
    "Sadaltager", "Sulafat",
]  # fmt: skip

_WORDS = (
    *("bright", "upbeat", "informative", "firm", "excitable", "youthful", "firm", "breezy", "easy-going", "bright"),
    *("breathy", "clear", "easy-going", "smooth", "smooth", "clear", "gravelly", "informative", "upbeat", "soft"),
    *("firm", "even", "mature", "forward", "friendly", "casual", "gentle", "lively"),
    *("knowledgeable", "warm"),
)

VOICES: Mapping[str, str] = dict(zip(get_args(Voice), _WORDS, strict=True))
"""What each voice is like, by its name."""
