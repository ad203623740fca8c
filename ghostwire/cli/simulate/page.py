"""A simulation's report as one HTML page: the table, and plots drawn as SVG. It loads nothing from anywhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

import click

from ghostwire import __version__
from ghostwire.cli.simulate import text
from ghostwire.testing.load.report import Report, Sample, Trace

WIDTH, HEIGHT, MARGIN = 760, 240, 52
COLOURS: Final = ("#2563eb", "#b45309", "#15803d", "#9333ea", "#be123c", "#0e7490")
STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:54rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}
th{text-align:left;padding-right:1.5rem;vertical-align:top;white-space:nowrap}td,th{padding-bottom:.4rem}
svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#333}
.axis{stroke:#999}.scene{stroke:#bbb;stroke-dasharray:3}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}text{fill:#ccc}}
"""
Point = tuple[float, float]


def render(found: Report, trace: Trace) -> str:
    """The page."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(click.unstyle(value))}</td></tr>"
        for name, value in text.rows(found) + text.run_rows(trace)
    )
    sessions = [(sample.at, float(sample.sessions)) for sample in trace.samples]
    memory = [(sample.at, sample.mib) for sample in trace.samples]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Ghostwire: {found.nodes} nodes</title><style>{STYLE}</style>"
        f"<h1>{found.nodes} nodes</h1><p>Ghostwire {escape(__version__)}; server and clients on one machine, which "
        "they share. Latencies count from the scheduled moment.</p>"
        f"<table>{rows}</table>"
        f"<h2>Sessions</h2>{_over_time(sessions, trace.scenes)}"
        f"<h2>Changes told a second</h2>{_over_time(_rates(trace, lambda sample: sample.deliveries), trace.scenes)}"
        f"<h2>CPU of the server, cores</h2>{_over_time(_rates(trace, lambda sample: sample.cpu_s), trace.scenes)}"
        f"<h2>Memory of the server, MiB</h2>{_over_time(memory, trace.scenes)}"
        f"<h2>Latency by percentile</h2>{_percentiles(trace)}"
        "</html>"
    )


def _rates(trace: Trace, of: Callable[[Sample], float]) -> list[Point]:
    """How fast something grew, a second; a server that was started again began anew."""
    pairs = itertools.pairwise(trace.samples)
    return [(now.at, max(0.0, of(now) - of(then)) / (now.at - then.at)) for then, now in pairs if now.at > then.at]


def _over_time(points: Sequence[Point], scenes: Sequence[tuple[float, str]]) -> str:
    """A line over the whole run, with the scenarios' beginnings."""
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


def _percentiles(trace: Trace) -> str:
    """Each distribution over the number of nines, milliseconds on a logarithmic scale."""
    curves = [curve for curve in trace.curves if curve.points]
    if not curves:
        return "<p>Nothing was measured.</p>"
    values = [max(value, 0.001) for curve in curves for _, value in curve.points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    drawn = [_axes("99.99 %", f"{10.0**high:g} ms")]
    for decade in range(low, high):
        y = _y((decade - low) / (high - low))
        drawn.append(f'<line class="scene" x1="{MARGIN}" y1="{y:.1f}" x2="{WIDTH}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="2" y="{y:.1f}">{10.0**decade:g} ms</text>')
    for place, curve in enumerate(curves):
        colour = COLOURS[place % len(COLOURS)]
        points = [
            (-math.log10(1 - percent / 100) / 4, (math.log10(max(value, 0.001)) - low) / (high - low))
            for percent, value in curve.points
            if percent <= 99.99
        ]
        drawn.append(_line(points, colour))
        drawn.append(f'<text x="{MARGIN + 8}" y="{28 + 15 * place}" style="fill:{colour}">{escape(curve.name)}</text>')
    return _svg(drawn)


def _axes(right: str, top: str) -> str:
    floor = HEIGHT - MARGIN
    return (
        f'<line class="axis" x1="{MARGIN}" y1="{floor}" x2="{WIDTH}" y2="{floor}"/>'
        f'<line class="axis" x1="{MARGIN}" y1="14" x2="{MARGIN}" y2="{floor}"/>'
        f'<text x="{WIDTH}" y="{floor + 16}" text-anchor="end">{escape(right)}</text>'
        f'<text x="2" y="24">{escape(top)}</text>'
    )


def _line(points: Sequence[Point], colour: str) -> str:
    path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>'


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - MARGIN)


def _y(share: float) -> float:
    return HEIGHT - MARGIN - share * (HEIGHT - MARGIN - 20)


def _svg(drawn: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(drawn)}</svg>'
