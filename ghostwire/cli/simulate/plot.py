"""Plots as SVG, drawn from numbers alone: over a run's time, by percentile, and over the size of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH, HEIGHT, MARGIN = 760, 240, 52
COLOURS: Final = ("#2563eb", "#b45309", "#15803d", "#9333ea", "#be123c", "#0e7490")
MOST_PERCENT: Final = 99.99
Point = tuple[float, float]


class Curve(NamedTuple):
    """A named line."""

    name: str
    points: Sequence[Point]


def over_time(points: Sequence[Point], scenes: Sequence[tuple[float, str]]) -> str:
    """A line over the seconds of a run, with the moments at which its scenes began."""
    if not points:
        return "<p>Nothing was measured.</p>"
    last = max(at for at, _ in points) or 1.0
    top = max(value for _, value in points) or 1.0
    drawn = [_axes(f"{last:.0f} s", f"{top:,.0f}" if top >= 10 else f"{top:.2f}")]
    for at, name in scenes:
        x = _x(at / last)
        drawn.append(f'<line class="scene" x1="{x:.1f}" y1="14" x2="{x:.1f}" y2="{HEIGHT - MARGIN}"/>')
        drawn.append(f'<text x="{x + 3:.1f}" y="12">{escape(name)}</text>')
    drawn.append(_line([(at / last, value / top) for at, value in points], COLOURS[0]))
    return _svg(drawn)


def percentiles(curves: Sequence[Curve]) -> str:
    """Distributions over the number of nines, milliseconds on a logarithmic scale."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return "<p>Nothing was measured.</p>"
    scaled = [
        Curve(
            curve.name,
            [
                (-math.log10(1 - percent / 100) / 4, math.log10(max(value, 0.001)))
                for percent, value in curve.points
                if percent <= MOST_PERCENT
            ],
        )
        for curve in curves
    ]
    return _logarithmic(scaled, f"{MOST_PERCENT} %", " ms")


def growth(curves: Sequence[Curve], across: str, up: str) -> str:
    """Quantities over sizes, both on logarithmic scales."""
    sizes = [math.log10(size) for curve in curves for size, _ in curve.points]
    low, span = min(sizes), (max(sizes) - min(sizes)) or 1.0
    scaled = [
        Curve(curve.name, [((math.log10(size) - low) / span, math.log10(value)) for size, value in curve.points])
        for curve in curves
    ]
    return _logarithmic(scaled, f"{10 ** (low + span):,.0f} {across}", f" {up}", f"{10**low:,.0f}")


def _logarithmic(curves: Sequence[Curve], right: str, unit: str, left: str = "") -> str:
    """Curves whose heights are decades and whose places are shares of the width."""
    heights = [height for curve in curves for _, height in curve.points]
    low = math.floor(min(heights))
    high = max(math.ceil(max(heights)), low + 1)
    drawn = [_axes(right, f"{10.0**high:g}{unit}")]
    if left:
        drawn.append(f'<text x="{MARGIN}" y="{HEIGHT - MARGIN + 16}">{escape(left)}</text>')
    for decade in range(low, high):
        y = _y((decade - low) / (high - low))
        drawn.append(f'<line class="scene" x1="{MARGIN}" y1="{y:.1f}" x2="{WIDTH}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="2" y="{y:.1f}">{10.0**decade:g}</text>')
    for place, curve in enumerate(curves):
        colour = COLOURS[place % len(COLOURS)]
        drawn.append(_line([(at, (height - low) / (high - low)) for at, height in curve.points], colour))
        drawn.append(f'<text x="{MARGIN + 8}" y="{28 + 15 * place}" style="fill:{colour}">{escape(curve.name)}</text>')
    return _svg(drawn)


def _axes(right: str, top: str) -> str:
    floor = HEIGHT - MARGIN
    return (
        f'<line class="axis" x1="{MARGIN}" y1="{floor}" x2="{WIDTH}" y2="{floor}"/>'
        f'<line class="axis" x1="{MARGIN}" y1="14" x2="{MARGIN}" y2="{floor}"/>'
        f'<text x="{WIDTH}" y="{floor + 16}" text-anchor="end">{escape(right)}</text>'
        f'<text x="2" y="12">{escape(top)}</text>'
    )


def _line(points: Sequence[Point], colour: str) -> str:
    path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>'


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - MARGIN)


def _y(share: float) -> float:
    return HEIGHT - MARGIN - share * (HEIGHT - MARGIN - 20)


def _svg(drawn: Sequence[str]) -> str:
    style = "text{font:12px system-ui,sans-serif;fill:#555}.axis{stroke:#999}.scene{stroke:#bbb;stroke-dasharray:3}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<style>{style}</style>{''.join(drawn)}</svg>"
    )
