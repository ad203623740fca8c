"""Turnstile: whose session is opened next when many want one, and when the others are to come back.

Opening a session is the dearest thing that a stranger can ask for: a proof to check, a map to find, for a machine that
joins a commit too. One turn of the event loop spends at most a millisecond on it, so whoever is connected is answered
meanwhile; and where turns take long, because this process or the machine has too much to do, openings rest. Nodes that
come back pass before machines that join. Whoever would wait longer than a few seconds is refused at once and given a
time of its own, as far off as what has been measured says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from ghostwire.errors import UnavailableError

TURN_S: Final = 0.001
"""What one turn of the event loop may spend on opening sessions."""
SLOW_S: Final = 0.003
"""A turn of the event loop that takes longer leaves whoever is connected waiting: openings rest for as long."""
REST_S: Final = 0.01
"""The longest such rest: 50,000 sessions over four processes are opened in less than a minute all the same."""
PATIENCE_S: Final = 3.0
"""How long a connection may wait for its turn."""
RETURNS: Final = 512
"""Nodes that come back whose session may be on its way at a time."""
JOINS: Final = 256
"""Machines whose registration may be on its way to the disk at a time."""
ASSUMED_PER_S: Final = 500.0
"""Sessions opened a second, until it has been measured."""
MEASURED_S: Final = 0.25
"""How long there must have been a queue for its pace to count."""
WEIGHT: Final = 0.3
"""Of the newest measurement."""
JITTER_S: Final = 1.0


class Passage(IntEnum):
    """What a connection wants, dearest last."""

    RETURN = 0
    JOIN = 1


_MOST: Final = {Passage.RETURN: RETURNS, Passage.JOIN: JOINS}


class Turnstile:
    """One server's. `per_s` sessions are opened a second while there is a queue; `refused` were given a time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, mono: Callable[[], float], entropy: Callable[[int], bytes]
    ) -> None:
        self.per_s = ASSUMED_PER_S
        self.refused = 0
        self._loop, self._mono, self._entropy = loop, mono, entropy
        self._queues: tuple[deque[Callable[[], None]], deque[Callable[[], None]]] = (deque(), deque())
        self._inside = [0, 0]
        self._spent = 0.0
        self._ended = 0.0
        self._passing = self._armed = False
        self._queued_since: float | None = None
        self._passed = 0
        self._promised, self._promised_at = 0.0, mono()

    @property
    def waiting(self) -> int:
        """Connections that wait for their turn."""
        return len(self._queues[0]) + len(self._queues[1])

    def enter(self, passage: Passage, act: Callable[[], None]) -> None:
        """Have `act` called in its turn, perhaps before this returns; `left` must be called once after that.

        Raises `UnavailableError` with the time to come back where the turn would be too far off.
        """
        self._check(passage)
        self._queues[passage].append(act)
        self._pass()

    def left(self, passage: Passage) -> None:
        """Who passed has its answer."""
        self._inside[passage] -= 1
        self._pass()

    def _check(self, passage: Passage) -> None:
        ahead = len(self._queues[Passage.RETURN])
        if passage is Passage.JOIN:
            ahead += len(self._queues[Passage.JOIN])
        if ahead <= PATIENCE_S * self.per_s:
            return
        now = self._mono()
        self._promised = max(0.0, self._promised - (now - self._promised_at) * self.per_s) + 1.0
        self._promised_at = now
        self.refused += 1
        wait = (ahead + self._promised) / self.per_s
        jitter = JITTER_S * int.from_bytes(self._entropy(2), "big") / 65536
        raise UnavailableError("too many machines come at once: this one's turn is later", retry_after=wait + jitter)

    def _pass(self) -> None:
        # An act may be answered at once, and its answer let the next one pass: the loop below is already running then.
        if self._passing:
            return
        self._passing = True
        try:
            while self._spent < TURN_S and (act := self._next()) is not None:
                began = self._mono()
                try:
                    act()
                except Exception as error:
                    # It is not the fault of whoever has just let this one pass.
                    self._loop.call_exception_handler({"message": "a session could not be opened", "exception": error})
                self._spent += self._mono() - began
                self._passed += 1
        finally:
            self._passing = False
        if self._spent and not self._armed:
            self._armed = True
            self._ended = self._mono()
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """A new turn of the event loop, in which others had theirs."""
        took = self._mono() - self._ended
        if took > SLOW_S:
            self._spent = TURN_S
            self._loop.call_later(min(took, REST_S), self._open)
        else:
            self._open()

    def _open(self) -> None:
        """Openings may go on."""
        self._armed = False
        self._spent = 0.0
        self._measure()
        if self.waiting:
            self._pass()

    def _next(self) -> Callable[[], None] | None:
        passage = Passage.RETURN if self._queues[Passage.RETURN] else Passage.JOIN
        queue = self._queues[passage]
        if not queue or self._inside[passage] >= _MOST[passage]:
            return None
        self._inside[passage] += 1
        return queue.popleft()

    def _measure(self) -> None:
        now = self._mono()
        if not self.waiting:
            self._queued_since = None
        elif self._queued_since is None:
            self._queued_since, self._passed = now, 0
        elif now - self._queued_since >= MEASURED_S:
            pace = self._passed / (now - self._queued_since)
            self.per_s = max(1.0, WEIGHT * pace + (1 - WEIGHT) * self.per_s)
            self._queued_since, self._passed = now, 0
