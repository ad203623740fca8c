"""When to try again: full jitter, so that a coordinator that comes back meets its nodes one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SHORTEST_S: Final = 0.5
LONGEST_S: Final = 10.0


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
        """Seconds until the next attempt. What the coordinator asked for comes on top of the jitter."""
        bound = min(LONGEST_S, 2.0 * SHORTEST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        delay = SHORTEST_S + fraction(self._entropy) * (bound - SHORTEST_S)
        return delay + max(0.0, retry_after or 0.0)


def fraction(entropy: Callable[[int], bytes]) -> float:
    """A number from 0 to below 1."""
    return float(int.from_bytes(entropy(6), "big")) / float(1 << 48)
