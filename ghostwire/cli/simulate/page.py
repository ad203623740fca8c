"""A simulation's report as one HTML page: the table, and plots. It loads nothing from anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from html import escape
from typing import Final

import click

from ghostwire import __version__
from ghostwire.cli.simulate import text
from ghostwire.cli.simulate.plot import Curve, over_time, percentiles
from ghostwire.testing.load.report import Report, Sample, Trace

STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:54rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}
th{text-align:left;padding-right:1.5rem;vertical-align:top;white-space:nowrap}td,th{padding-bottom:.4rem}
svg{width:100%;height:auto}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}svg text{fill:#ccc}}
"""


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
        f"<h2>Sessions</h2>{over_time(sessions, trace.scenes)}"
        f"<h2>Changes told a second</h2>{over_time(_rates(trace, lambda sample: sample.deliveries), trace.scenes)}"
        f"<h2>CPU of the server, cores</h2>{over_time(_rates(trace, lambda sample: sample.cpu_s), trace.scenes)}"
        f"<h2>Memory of the server, MiB</h2>{over_time(memory, trace.scenes)}"
        f"<h2>Latency by percentile</h2>{percentiles([Curve(curve.name, curve.points) for curve in trace.curves])}"
        "</html>"
    )


def _rates(trace: Trace, of: Callable[[Sample], float]) -> list[tuple[float, float]]:
    """How fast something grew, a second; a server that was started again began anew."""
    pairs = itertools.pairwise(trace.samples)
    return [(now.at, max(0.0, of(now) - of(then)) / (now.at - then.at)) for then, now in pairs if now.at > then.at]
