"""What is due when: named deadlines on the timer wheel, in milliseconds since the start."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final

from ghostwire._native import timers
from ghostwire.model.time import SECOND, Now

_TICKS: Final = 1000
_SLACK: Final = 1e-6
"""Of a tick: what binary fractions may add to or take from a sum of exact milliseconds."""
_KINDS: Final = 16
LONGEST_S: Final = 3600.0
"""How far ahead a wall-clock deadline is set at most: the wall clock may be moved, the monotonic one may not."""


class Due(IntEnum):
    """Kinds of deadlines. The first three belong to a node, the others are one of a kind."""

    SILENCE = 0
    KEY_EXPIRY = 1
    IDLE = 2
    REST = 3
    FLUSH = 4
    SWEEP = 5
    CLOCK = 6
    CONFIRM = 7
    WINDOW = 8
    TURN = 9
    PURGE = 10


class Agenda:
    """One deadline for each kind and node. Times are monotonic seconds."""

    def __init__(self, now: Now) -> None:
        self._origin = now.mono
        self._wheel = timers.TimerWheel(0)

    def set(self, kind: Due, node: int, mono: float) -> None:
        """Set or move a deadline."""
        tick = math.ceil((mono - self._origin) * _TICKS - _SLACK)
        self._wheel.schedule(node * _KINDS + kind, max(tick, 0))

    def set_utc(self, kind: Due, node: int, utc: int, now: Now) -> None:
        """Set a deadline by the wall clock, at most an hour ahead: who is called early looks again and sets it."""
        self.set(kind, node, now.mono + min(max(utc - now.utc, 0) / SECOND, LONGEST_S))

    def bring_forward(self, kind: Due, node: int, utc: int, now: Now) -> None:
        """Like `set_utc`, unless the deadline stands earlier already."""
        before = self._wheel.deadline(node * _KINDS + kind)
        self.set_utc(kind, node, utc, now)
        if 0 <= before < self._wheel.deadline(node * _KINDS + kind):
            self._wheel.schedule(node * _KINDS + kind, before)

    def is_set(self, kind: Due, node: int) -> bool:
        """Whether there is such a deadline."""
        return node * _KINDS + kind in self._wheel

    def cancel(self, kind: Due, node: int) -> None:
        """Forget a deadline, if there is one."""
        self._wheel.cancel(node * _KINDS + kind)

    def forget_node(self, node: int) -> None:
        """Forget every deadline of a node."""
        for kind in (Due.SILENCE, Due.KEY_EXPIRY, Due.IDLE):
            self.cancel(kind, node)

    def next(self) -> float | None:
        """When to look again, in monotonic seconds. It may come early, never late."""
        tick = self._wheel.next_wake()
        return None if tick < 0 else self._origin + tick / _TICKS

    def due(self, now: Now) -> list[tuple[Due, int]]:
        """What has come due, oldest first, forgotten here."""
        tick = math.floor((now.mono - self._origin) * _TICKS + _SLACK)
        return [(Due(key % _KINDS), key // _KINDS) for key in self._wheel.advance(max(tick, 0))]
