"""Plots as SVG, drawn from numbers alone: over a run's time, by percentile, and over the size of a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH, FLOOR, TOP = 760, 210, 14
LEFT, RIGHT = 56, 8
LINE: Final = 14
"""Between two lines of text."""
LETTER: Final = 6.2
"""What a letter takes of a line, about."""
SCENE_ROWS: Final = 4
COLOURS: Final = ("#2563eb", "#c2570c", "#15803d", "#9333ea", "#e11d48", "#0891b2", "#a16207", "#64748b")
PERCENTS: Final = (50.0, 90.0, 99.0, 99.9, 99.99)
TICKS: Final = 5
"""Along an axis, at most."""
STYLE: Final = (
    "text{font:11px system-ui,sans-serif;fill:#555}.axis{stroke:#999}.grid{stroke:#888;stroke-opacity:.3}"
    ".scene{stroke:#999;stroke-dasharray:2 3}"
)
Point = tuple[float, float]


class Curve(NamedTuple):
    """A named line."""

    name: str
    points: Sequence[Point]


def over_time(curves: Sequence[Curve], scenes: Sequence[tuple[float, str]]) -> str:
    """Lines over the seconds of a run, from 0 up, with the moments at which its scenes began."""
    points = [point for curve in curves for point in curve.points]
    if not points:
        return "<p>Nothing was measured.</p>"
    last = max(at for at, _ in points) or 1.0
    highest = max(value for _, value in points) or 1.0
    top = TOP + SCENE_ROWS * LINE
    drawn = [*_across([(at / last, f"{at:g} s") for at in _ticks(last)])]
    drawn += _up([(value / highest, f"{value:,g}") for value in _ticks(highest)], top)
    drawn += _scenes([(at / last, name) for at, name in scenes], top)
    drawn += _lines([Curve(name, [(at / last, up / highest) for at, up in found]) for name, found in curves], top)
    return _svg(drawn, curves)


def percentiles(curves: Sequence[Curve]) -> str:
    """Distributions over the number of nines, milliseconds on a logarithmic scale."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return "<p>Nothing was measured.</p>"

    def nines(percent: float) -> float:
        return -math.log10(1 - percent / 100) / -math.log10(1 - PERCENTS[-1] / 100)

    scaled = [
        Curve(name, [(nines(at), math.log10(max(ms, 0.01))) for at, ms in points if at <= PERCENTS[-1]])
        for name, points in curves
    ]
    return _logarithmic(scaled, [(nines(percent), f"{percent:g} %") for percent in PERCENTS], " ms")


def growth(curves: Sequence[Curve], across: str, up: str) -> str:
    """Quantities over sizes, both on logarithmic scales."""
    sizes = sorted({size for curve in curves for size, _ in curve.points})
    low, span = math.log10(sizes[0]), math.log10(sizes[-1] / sizes[0]) or 1.0
    scaled = [
        Curve(name, [((math.log10(size) - low) / span, math.log10(value)) for size, value in points])
        for name, points in curves
    ]
    marks = [((math.log10(size) - low) / span, f"{size:,.0f}") for size in sizes]
    marks[-1] = (1.0, f"{sizes[-1]:,.0f} {across}")
    return _logarithmic(scaled, marks, f" {up}")


def _logarithmic(curves: Sequence[Curve], marks: Sequence[tuple[float, str]], unit: str) -> str:
    """Curves whose heights are decades and whose places are shares of the width."""
    heights = [height for curve in curves for _, height in curve.points]
    low = math.floor(min(heights))
    high = max(math.ceil(max(heights)), low + 1)
    span = high - low
    drawn = [*_across(marks)]
    drawn += _up([((decade - low) / span, f"{10.0**decade:,g}") for decade in range(low, high)], TOP)
    drawn.append(f'<text x="2" y="{TOP - 2}">{10.0**high:,g}{escape(unit)}</text>')
    drawn += _lines([Curve(name, [(at, (height - low) / span) for at, height in points]) for name, points in curves])
    return _svg(drawn, curves)


def _ticks(highest: float) -> list[float]:
    """Round numbers from 0 up to this one."""
    rough = highest / TICKS
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(decade * factor for factor in (1, 2, 5, 10) if decade * factor >= rough)
    return [float(f"{step * number:.6g}") for number in range(int(highest / step) + 1)]


def _across(marks: Sequence[tuple[float, str]]) -> Iterator[str]:
    """The lower axis; a name that would run into the one before it is left out."""
    yield f'<line class="axis" x1="{LEFT}" y1="{FLOOR}" x2="{WIDTH - RIGHT}" y2="{FLOOR}"/>'
    free = 0.0
    for share, name in marks:
        x, width = _x(share), len(name) * LETTER
        start = min(max(x - width / 2, LEFT - 4), WIDTH - width)
        yield f'<line class="axis" x1="{x:.1f}" y1="{FLOOR}" x2="{x:.1f}" y2="{FLOOR + 4}"/>'
        if start >= free:
            yield f'<text x="{start:.1f}" y="{FLOOR + 16}">{escape(name)}</text>'
            free = start + width + LETTER


def _up(marks: Sequence[tuple[float, str]], top: float) -> Iterator[str]:
    """The axis at the left, and a line across at each mark."""
    yield f'<line class="axis" x1="{LEFT}" y1="{top}" x2="{LEFT}" y2="{FLOOR}"/>'
    for share, name in marks:
        y = _y(share, top)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'


def _scenes(scenes: Sequence[tuple[float, str]], top: float) -> Iterator[str]:
    """Where scenes begin; a name that has no room beside the one before it stands a line lower."""
    free = [0.0] * SCENE_ROWS
    for share, name in scenes:
        x = _x(share)
        row = next((row for row, end in enumerate(free) if end <= x), SCENE_ROWS - 1)
        width = (len(name) + 2) * LETTER
        free[row] = x + width
        y = top - LINE * (SCENE_ROWS - row) + 8
        yield f'<line class="scene" x1="{x:.1f}" y1="{y - 8:.1f}" x2="{x:.1f}" y2="{FLOOR}"/>'
        yield f'<text x="{min(x + 3, WIDTH - width):.1f}" y="{y:.1f}">{escape(name)}</text>'


def _lines(curves: Sequence[Curve], top: float = TOP) -> Iterator[str]:
    for colour, (_, points) in zip(_colours(curves), curves, strict=True):
        path = " ".join(f"{_x(x):.1f},{_y(y, top):.1f}" for x, y in points)
        yield f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>'


def _legend(curves: Sequence[Curve]) -> Iterator[tuple[int, str]]:
    """Line and drawing of each name."""
    line, x = 0, float(LEFT)
    for colour, (name, _) in zip(_colours(curves), curves, strict=True):
        width = (len(name) + 6) * LETTER
        if x + width > WIDTH and x > LEFT:
            line, x = line + 1, float(LEFT)
        y = FLOOR + 38 + line * LINE
        yield (
            line,
            f'<line x1="{x:.1f}" y1="{y - 4}" x2="{x + 16:.1f}" y2="{y - 4}" stroke="{colour}" stroke-width="3"/>'
            f'<text x="{x + 21:.1f}" y="{y}">{escape(name)}</text>',
        )
        x += width


def _colours(curves: Sequence[Curve]) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(len(curves))]


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - RIGHT - LEFT)


def _y(share: float, top: float) -> float:
    return FLOOR - share * (FLOOR - top)


def _svg(drawn: Sequence[str], curves: Sequence[Curve]) -> str:
    """The drawing, and below it which line is what, where there are several."""
    names = [*_legend(curves)] if len(curves) > 1 else []
    height = FLOOR + 22 + (names[-1][0] * LINE + 24 if names else 0)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<style>{STYLE}</style>{''.join(drawn)}{''.join(name for _, name in names)}</svg>"
    )
