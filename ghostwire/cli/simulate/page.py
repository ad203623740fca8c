"""A simulation's report as one HTML page: the table, and plots. It loads nothing from anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

import click

from ghostwire import __version__
from ghostwire.cli.simulate import text
from ghostwire.cli.simulate.aims import NODES, Aim, aims
from ghostwire.cli.simulate.plot import Curve, Point, over_time, percentiles
from ghostwire.testing.load.report import Report, Sample, Trace

POINTS: Final = 240
"""Of a line that tells rates: each is a mean since the one before."""
STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:54rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}
h2{font-size:1.15rem;margin:2rem 0 .4rem}table{border-collapse:collapse}
th{text-align:left;white-space:nowrap;font-weight:600}td,th{padding:.25rem 1.5rem .25rem 0;vertical-align:top}
thead th{color:#666;font-weight:400;border-bottom:1px solid #8886}.not{color:#be123c}
svg{width:100%;height:auto}
@media(prefers-color-scheme:dark){
body{color:#eee;background:#161616}svg text{fill:#bbb}thead th{color:#aaa}.not{color:#fb7185}}
"""


def render(found: Report, trace: Trace) -> str:
    """The page."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(click.unstyle(value))}</td></tr>"
        for name, value in text.rows(found) + text.run_rows(trace)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Ghostwire: {found.nodes:,} nodes</title><style>{STYLE}</style>"
        f"<h1>{found.nodes:,} nodes</h1><p>Ghostwire {escape(__version__)}; server and clients on one machine, which "
        "they share. Latencies count from the scheduled moment.</p>"
        f"<table>{rows}</table>{_beside_aims(aims(found))}{_plots(found, trace)}</html>"
    )


def _beside_aims(beside: Sequence[Aim]) -> str:
    if not beside:
        return ""
    rows = "".join(
        f"<tr><th>{escape(one.what)}</th><td>{escape(one.aim)}</td>"
        + (f"<td>{escape(one.measured)}</td>" if one.reached else f'<td class="not">{escape(one.measured)} ✗</td>')
        + "</tr>"
        for one in beside
    )
    head = "<thead><tr><th></th><th>aim</th><th>measured</th></tr></thead>"
    return f"<h2>Beside what {NODES:,} nodes on two cores ought to take</h2><table>{head}{rows}</table>"


def _plots(found: Report, trace: Trace) -> str:
    def plot(title: str, *curves: Curve) -> str:
        return f"<h2>{title}</h2>{over_time(curves, trace.scenes)}"

    def cores(name: str, place: int) -> Curve:
        return Curve(name, _rates(trace, lambda sample: sample.cpu_s[place]))

    def memory(name: str, place: int) -> Curve:
        return Curve(name, [(sample.at, sample.mib[place]) for sample in trace.samples])

    server = "leader" if found.workers else "server"
    workers = slice(None if found.workers else 1)
    return (
        plot("Sessions", Curve("", [(sample.at, float(sample.sessions)) for sample in trace.samples]))
        + plot("Changes told a second", Curve("", _rates(trace, lambda sample: sample.deliveries)))
        + plot("CPU, cores", cores(server, 0), *([cores("workers", 1)] if found.workers else []), cores("clients", 2))
        + plot("Memory of the server, MiB", *[memory(server, 0), memory("workers", 1)][workers])
        + "<h2>Latency by percentile</h2>"
        + percentiles([Curve(curve.name, curve.points) for curve in trace.curves])
    )


def _rates(trace: Trace, of: Callable[[Sample], float]) -> list[Point]:
    """How fast something grew, a second; a server that was started again began anew."""
    pairs = itertools.pairwise(trace.samples[:: max(1, len(trace.samples) // POINTS)])
    return [(now.at, max(0.0, of(now) - of(then)) / (now.at - then.at)) for then, now in pairs if now.at > then.at]
