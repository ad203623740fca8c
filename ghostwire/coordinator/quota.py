"""How often each node may have something."""

from __future__ import annotations

from collections import deque


class Quota:
    """At most `limit` uses in any `period_s` seconds, of each node."""

    __slots__ = ("_limit", "_period_s", "_uses")

    def __init__(self, limit: int, period_s: float) -> None:
        self._limit, self._period_s = limit, period_s
        self._uses: dict[int, deque[float]] = {}

    def take(self, node: int, mono: float) -> bool:
        """Count one more use; whether it is within the limit."""
        times = self._uses.setdefault(node, deque())
        while times and times[0] <= mono - self._period_s:
            times.popleft()
        if len(times) >= self._limit:
            return False
        times.append(mono)
        return True

    def forget(self, node: int) -> None:
        """The node is gone."""
        self._uses.pop(node, None)
