"""A chart of bars as SVG: no script, no fonts from elsewhere, readable on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LABEL, END = 720, 230, 90
"""The whole width, what names take on the left, and room for the numbers on the right."""
TITLE, BAR, GAP, REST = 26, 16, 8, 22

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .other { fill: #8c959f; }
  .ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .other { fill: #6e7681; }
    .ours { fill: #4493f8; }
  }
"""


@dataclass(frozen=True)
class Bar:
    """One value. NaN is shown as missing."""

    name: str
    value: float
    ours: bool = False


@dataclass(frozen=True)
class Panel:
    """Bars on a scale of their own."""

    title: str
    bars: Sequence[Bar]


def drawn(panels: Sequence[Panel], description: str) -> str:
    """The panels, one below the other. `description` is for those who cannot see them."""
    marks: list[str] = []
    y = 0
    for panel in panels:
        y += TITLE
        marks.append(f'<text class="title" x="0" y="{y - 10}">{escape(panel.title)}</text>')
        highest = max((bar.value for bar in panel.bars if not math.isnan(bar.value)), default=1) or 1
        for bar in panel.bars:
            marks += _bar(bar, highest, y)
            y += BAR + GAP
        y += REST - GAP
    height = max(y - REST, 1)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(description)}</title>",
            f"<style>{STYLE}</style>",
            *marks,
            "</svg>\n",
        ]
    )


def _bar(bar: Bar, highest: float, y: int) -> list[str]:
    middle = y + BAR - 4
    name = f'<text x="{LABEL - 10}" y="{middle}" text-anchor="end">{escape(bar.name)}</text>'
    if math.isnan(bar.value):
        return [name, f'<text x="{LABEL}" y="{middle}">not measured</text>']
    length = round((WIDTH - LABEL - END) * bar.value / highest, 1)
    kind = "ours" if bar.ours else "other"
    return [
        name,
        f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{length}" height="{BAR}" rx="2"/>',
        f'<text x="{LABEL + length + 6:.1f}" y="{middle}">{bar.value:,.0f}</text>',
    ]
