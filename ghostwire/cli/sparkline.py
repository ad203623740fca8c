"""A row of values as a line of small bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"
GAP: Final = " "


def sparkline(values: Sequence[float | None]) -> str:
    """One bar a value, the lowest for nothing and the highest for the most; None is a gap."""
    most = max((value for value in values if value is not None), default=0.0)
    steps = len(BARS) - 1
    return "".join(GAP if value is None else BARS[round(value / most * steps) if most > 0 else 0] for value in values)
