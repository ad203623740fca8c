"""The slow twin of the R-tree of address rules: try each rule in turn."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = 0xFFFFFFFF


def first_match(
    rules: Sequence[tuple[int, int, int, int, int, int, int, int]], source: int, target: int, protocol: int, port: int
) -> int:
    """The least number of a rule (spans of source, target, port and protocol) that matches."""
    for number, (s0, s1, t0, t1, p0, p1, q0, q1) in enumerate(rules):
        if s0 <= source <= s1 and t0 <= target <= t1 and p0 <= port <= p1 and q0 <= protocol <= q1:
            return number
    return NOTHING
