"""Pace: when the next batch of a link goes, by how thick what is said has come lately.

A batch costs both ends more than most messages in it: a write, and a process that wakes up for it. Messages that come
alone go at once; where several would come while one waits, they do.
"""

from __future__ import annotations

from typing import Final

SHORTEST_S: Final = 0.002
"""How soon after a batch the next one goes that has something pressing in it; and at first any other."""
LONGEST_S: Final = 0.02
"""How soon after a batch the next one goes at most."""
WORTH: Final = 2
"""So many messages in the longest wait are worth waiting for."""


class Pace:
    """One end's. Times are seconds of one clock that only goes forward."""

    __slots__ = ("_apart_s", "_sent_at")

    def __init__(self) -> None:
        self._apart_s = SHORTEST_S
        self._sent_at = 0.0

    def due(self, *, presses: bool) -> float:
        """When what is said now is to go, which may be past."""
        return self._sent_at + (SHORTEST_S if presses else self._apart_s)

    def sent(self, now: float, messages: int) -> None:
        """A batch with so many messages goes: where they came thick, the next ones are gathered for longer."""
        if messages * LONGEST_S >= WORTH * (now - self._sent_at):
            self._apart_s = min(LONGEST_S, 2 * self._apart_s)
        else:
            self._apart_s = max(SHORTEST_S, self._apart_s / 2)
        self._sent_at = now
