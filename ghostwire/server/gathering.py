"""Gathering: how long the leader lets commands come together before a turn deals with them, by how many there are.

A turn has costs that do not depend on how much is done in it: the process wakes up to cold caches, the store's writer
hands over the interpreter, and every worker is written to and wakes up in its turn. What comes alone is dealt with at
once; where commands keep coming upon one another, a turn that waits a little finds a dozen of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

CROWD: Final = 3
"""So many commands in one turn are worth waiting for the next ones."""
SHORTEST_S: Final = 0.002
LONGEST_S: Final = 0.025
"""Between the beginnings of two turns, at most: a few times what the disk takes, an eighth of a window of changes."""


class Gathering:
    """Calls `work` for each turn that is asked for, on this event loop."""

    __slots__ = ("_apart_s", "_began", "_handle", "_loop", "_waits", "_work")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
        self._loop, self._work = loop, work
        self._apart_s = self._began = 0.0
        self._handle: asyncio.Handle | None = None
        self._waits = False

    def ask(self, *, at_once: bool = False) -> None:
        """Have another turn, `at_once` or when it is time."""
        if self._handle is not None and not (at_once and self._waits):
            return
        self.cancel()
        wait_s = 0.0 if at_once or not self._apart_s else self._began + self._apart_s - self._loop.time()
        self._waits = wait_s > 0.0
        self._handle = self._loop.call_later(wait_s, self._work) if self._waits else self._loop.call_soon(self._work)

    def cancel(self) -> None:
        """Have none of those that were asked for."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def begin(self, commands: int) -> None:
        """A turn begins, for so many commands: where they are a crowd, the next one comes later."""
        self.cancel()
        self._began = self._loop.time()
        if commands >= CROWD:
            self._apart_s = min(LONGEST_S, max(SHORTEST_S, 2 * self._apart_s))
        elif self._apart_s:
            self._apart_s = self._apart_s / 2 if self._apart_s > SHORTEST_S else 0.0
