"""The plots: well-formed, and each point where its number says."""

import re
from xml.etree import ElementTree

from ghostwire.cli.simulate.plot import (
    FLOOR,
    LEFT,
    LINE,
    RIGHT,
    SCENE_ROWS,
    TOP,
    WIDTH,
    Curve,
    growth,
    over_time,
    percentiles,
)


def lines(svg: str) -> list[list[tuple[float, float]]]:
    """The points of each line of a plot."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}polyline")
    return [
        [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", line.attrib["points"])] for line in found
    ]


def names(svg: str) -> list[tuple[str, float, float]]:
    """Each text of a plot, and where it begins."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [(text.text or "", float(text.attrib["x"]), float(text.attrib["y"])) for text in found]


END = WIDTH - RIGHT


def test_a_line_over_time_ends_at_the_right_and_peaks_at_the_top() -> None:
    line = Curve("", [(0.0, 0.0), (5.0, 10.0), (10.0, 5.0)])
    (points,) = lines(over_time([line], [(5.0, "<join>")]))
    assert points[0] == (LEFT, FLOOR)
    assert points[1][1] == TOP + SCENE_ROWS * LINE
    assert points[2][0] == END


def test_scenes_that_follow_each_other_have_their_names_on_lines_of_their_own() -> None:
    line = Curve("", [(0.0, 1.0), (100.0, 1.0)])
    scenes = [(0.0, "prepare"), (1.0, "join"), (2.0, "steady"), (90.0, "storm")]
    shown = {name: y for name, _, y in names(over_time([line], scenes))}
    assert len({shown[name] for name in ("prepare", "join", "steady")}) == 3
    assert shown["storm"] == shown["prepare"]


def test_axes_have_round_numbers() -> None:
    line = Curve("", [(0.0, 0.0), (580.0, 49_900.0)])
    shown = [name for name, _, _ in names(over_time([line], []))]
    assert shown == ["0 s", "200 s", "400 s", "0", "10,000", "20,000", "30,000", "40,000"]


def test_several_lines_are_named_below() -> None:
    curves = [Curve(f"curve {number}", [(0.0, 1.0), (1.0, 2.0)]) for number in range(12)]
    shown = [(x, y) for name, x, y in names(over_time(curves, [])) if name.startswith("curve")]
    assert len(shown) == len(set(shown)) == 12
    assert all(y > FLOOR and x < WIDTH for x, y in shown)


def test_sizes_and_what_grows_with_them_are_logarithmic() -> None:
    curves = [Curve("flat", [(1e3, 1.0), (1e6, 1.0)]), Curve("steep", [(1e3, 1.0), (1e6, 1000.0)])]
    flat, steep = lines(growth(curves, "nodes", "times"))
    assert flat[0] == steep[0] == (LEFT, FLOOR)
    assert flat[1] == (END, FLOOR)
    assert steep[1] == (END, TOP)


def test_distributions_are_shown_by_their_nines() -> None:
    (points,) = lines(percentiles([Curve("query", [(0.0, 1.0), (99.0, 10.0), (100.0, 50.0)]), Curve("none", [])]))
    assert [x for x, _ in points] == [LEFT, (LEFT + END) / 2]
    assert "Nothing" in percentiles([])
    assert "Nothing" in over_time([], [])
