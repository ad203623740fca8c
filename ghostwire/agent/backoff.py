"""When to try again: full jitter, so that a coordinator that comes back meets its nodes one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SHORTEST_S: Final = 0.5
LONGEST_S: Final = 10.0
MOST_ASKED_S: Final = 600.0
"""The longest that a coordinator, or what answers in its place, can keep a node away at a time."""


class Backoff:
    """Delays drawn evenly from 0.5 s to a bound that doubles from 1 s to 10 s with each failure in a row."""

    __slots__ = ("_entropy", "_failures")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._failures = 0

    def reset(self) -> None:
        """A session stood: the next failure is a first one."""
        self._failures = 0

    def next(self, retry_after: float | None = None) -> float:
        """Seconds until the next attempt. What the coordinator asked for, up to a bound, comes on top of the jitter."""
        bound = min(LONGEST_S, 2.0 * SHORTEST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        delay = SHORTEST_S + fraction(self._entropy) * (bound - SHORTEST_S)
        return delay + min(max(0.0, retry_after or 0.0), MOST_ASKED_S)


def fraction(entropy: Callable[[int], bytes]) -> float:
    """A number from 0 to below 1."""
    return float(int.from_bytes(entropy(6), "big")) / float(1 << 48)
