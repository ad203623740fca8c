"""Who goes first where the event loop's reads and the writer's thread want the interpreter at the same time."""

from __future__ import annotations

import threading
from typing import Final

PATIENCE_S: Final = 0.0005
"""How long the writer waits for one read: tens of times what a short one takes."""


class Precedence:
    """Reads on the event loop go before what the writer has not begun yet.

    A read lets go of the interpreter's lock at each of its statements. A writer that takes it there, or the core that
    the read runs on, keeps everybody on the loop waiting: while one is under way it begins nothing, for a short time.
    """

    __slots__ = ("_passed", "_read", "_reading")

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._read = 0
        self._passed = 0

    def take(self) -> bool:
        """A read begins; whether it goes first. Where another one does already, this one has nothing to give back."""
        if not self._reading.acquire(blocking=False):
            return False
        self._read += 1
        return True

    def give_back(self) -> None:
        """The read that went first is over."""
        self._reading.release()

    def grant(self) -> None:
        """Let a read go first, in the writer's thread. One that takes longer than `PATIENCE_S` is waited for once."""
        read = self._read
        if not self._reading.locked() or read == self._passed:
            return
        if self._reading.acquire(timeout=PATIENCE_S):
            self._reading.release()
        else:
            self._passed = read
