from typing import Any

import click
import pytest

from ghostwire.cli.node import plots
from ghostwire.cli.sparkline import sparkline


@pytest.mark.parametrize(
    ("values", "shown"),
    [([], ""), ([0, 0], "▁▁"), ([None, None], "  "), ([0, 1, 2, None, 7], "▁▂▃ █"), ([5], "█")],
)
def test_bars(values: list[float | None], shown: str) -> None:
    assert sparkline(values) == shown


def point(at: str, **told: float) -> dict[str, Any]:
    rest = dict.fromkeys(("load_factor", "latency_ms", "bandwidth_mbps", "bytes_in", "bytes_out"), 0.0)
    return {"at": f"2026-05-01T{at}Z", **rest, **told}


def test_a_plot_has_a_place_for_each_step_and_rates_for_totals() -> None:
    points = [
        point("12:00:00", load_factor=1.0, bytes_in=0),
        point("12:01:00", load_factor=2.0, bytes_in=60_000),
        point("12:03:00", load_factor=4.0, bytes_in=180_000),
        point("12:04:00", load_factor=0.0, bytes_in=6000),
    ]
    found = {"since": "2026-05-01T12:00:00Z", "until": "2026-05-01T12:05:00Z", "step": 60, "points": points}
    lines = {line.split("  ")[0]: line for line in click.unstyle(plots("laptop", found)).splitlines()}
    assert lines["METRIC"].split() == ["METRIC", "THE", "LAST", "5", "MIN", "LEAST", "MEAN", "MOST"]
    assert "▃▅ █▁" in lines["load"]
    assert lines["load"].split()[-3:] == ["0", "1.75", "4"]
    assert lines["in (kB/s)"].split()[-3:] == ["0.1", "0.7", "1"]


def test_no_points_is_a_sentence() -> None:
    found = {"since": "2026-05-01T12:00:00Z", "until": "2026-05-01T12:05:00Z", "step": 60, "points": []}
    assert plots("laptop", found) == "laptop told nothing in this time."
