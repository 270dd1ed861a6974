"""A bar chart as SVG, with ranges, legible on light and on dark pages. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH: Final = 900
LEFT: Final = 285
"""Where the bars begin: the labels stand before it."""
RIGHT: Final = 170
"""Behind the longest bar: the figures stand there."""
ROW: Final = 26
BAR: Final = 14
TOP: Final = 58
BOTTOM: Final = 44

STYLE: Final = """
    .bar { fill: #8c96a3 } .ours { fill: #2f7d5b } .yard { fill: #b9a36a }
    .range { stroke: #22272e; stroke-width: 1.5; fill: none }
    text { font: 13px system-ui, sans-serif; fill: #22272e } .title { font-size: 16px }
    .note, .tick { font-size: 11.5px; fill: #59636e } .grid { stroke: #d5dae0 }
    .page { fill: #ffffff }
    @media (prefers-color-scheme: dark) {
      .page { fill: #16191d } text { fill: #e4e8ec } .note, .tick { fill: #9aa4af }
      .grid { stroke: #343b43 } .range { stroke: #e4e8ec }
      .bar { fill: #6b7683 } .ours { fill: #46a67b } .yard { fill: #93804a }
    }"""


@dataclass(frozen=True)
class Bar:
    """One bar: the median of its values, and their range as a line upon it.

    Attributes:
        label: before it.
        values: at least one, each above 0; none for what was not measured.
        kind: "bar", "ours" or "yard": its colour.
        note: behind it; for what was not measured the reason.
    """

    label: str
    values: Sequence[float]
    kind: str = "bar"
    note: str = ""


def chart(title: str, note: str, bars: Sequence[Bar]) -> str:
    """An SVG document; bars in their order, on a scale that starts at 0.

    Args:
        title: above the bars.
        note: below the title: unit and circumstances.
        bars: one of them at least has values.
    """
    longest = max(max(bar.values) for bar in bars if bar.values)
    step = tick_step(longest)
    scale = (WIDTH - LEFT - RIGHT) / longest
    height = TOP + ROW * len(bars) + BOTTOM
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}\n</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        text(16, 26, title, "title"),
        text(16, 45, note, "note"),
        *axis(step, longest, scale, height - BOTTOM + 6),
    ]
    for row, bar in enumerate(bars):
        parts += drawn(bar, TOP + ROW * row, scale)
    return "\n".join([*parts, "</svg>"]) + "\n"


def axis(step: float, longest: float, scale: float, bottom: int) -> Iterator[str]:
    """Lines at round numbers, and the numbers below them."""
    for number in range(int(longest / step) + 1):
        x = LEFT + number * step * scale
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{bottom}"/>'
        yield text(x, bottom + 16, f"{number * step:,.0f}", "tick", "middle")


def drawn(bar: Bar, top: int, scale: float) -> Iterator[str]:
    """A bar with its label, its range and its figure."""
    base = top + BAR - 2
    yield text(LEFT - 10, base, bar.label, anchor="end")
    if not bar.values:
        yield text(LEFT + 6, base, f"not run: {bar.note}", "note")
        return
    middle, low, high = (f(bar.values) * scale for f in (statistics.median, min, max))
    yield (
        f'<rect class="{bar.kind}" x="{LEFT}" y="{top}" width="{max(middle, 1):.1f}"'
        f' height="{BAR}" rx="2"/>'
    )
    if high - low > 2:
        y = top + BAR / 2
        yield (
            f'<path class="range" d="M{LEFT + low:.1f} {y - 4:g}v8m0-4H{LEFT + high:.1f}m0-4v8"/>'
        )
    figure = f"{rounded(statistics.median(bar.values))} {bar.note}".strip()
    yield text(LEFT + max(high, middle) + 8, base, figure)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text{marked} x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def rounded(value: float) -> str:
    """Three digits, as a person would say it."""
    if value < 10:
        return f"{value:.1f}"
    digits = max(0, math.floor(math.log10(value)) - 2)
    return f"{round(value, -digits):,.0f}"


def tick_step(longest: float) -> float:
    """A round distance that gives four to nine lines."""
    unit: float = 10 ** math.floor(math.log10(longest))
    for part in (0.2, 0.5, 1):
        if longest / (unit * part) <= 9:
            return unit * part
    return unit * 2
