"""The plots: well-formed, and each point where its number says."""

import re
from xml.etree import ElementTree

from ghostwire.cli.simulate.plot import HEIGHT, MARGIN, WIDTH, Curve, growth, over_time, percentiles


def lines(svg: str) -> list[list[tuple[float, float]]]:
    """The points of each line of a plot."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}polyline")
    return [
        [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", line.attrib["points"])] for line in found
    ]


def test_a_line_over_time_ends_at_the_right_and_peaks_at_the_top() -> None:
    (points,) = lines(over_time([(0.0, 0.0), (5.0, 10.0), (10.0, 5.0)], [(5.0, "<join>")]))
    assert points[0] == (MARGIN, HEIGHT - MARGIN)
    assert points[1][1] == 20.0
    assert points[2][0] == WIDTH


def test_sizes_and_what_grows_with_them_are_logarithmic() -> None:
    curves = [Curve("flat", [(1e3, 1.0), (1e6, 1.0)]), Curve("steep", [(1e3, 1.0), (1e6, 1000.0)])]
    flat, steep = lines(growth(curves, "nodes", "times"))
    assert flat[0] == steep[0] == (MARGIN, HEIGHT - MARGIN)
    assert flat[1] == (WIDTH, HEIGHT - MARGIN)
    assert steep[1] == (WIDTH, 20.0)


def test_distributions_are_shown_by_their_nines() -> None:
    (points,) = lines(percentiles([Curve("query", [(0.0, 1.0), (99.0, 10.0), (100.0, 50.0)]), Curve("none", [])]))
    assert [x for x, _ in points] == [MARGIN, (MARGIN + WIDTH) / 2]
    assert "Nothing" in percentiles([])
    assert "Nothing" in over_time([], [])
