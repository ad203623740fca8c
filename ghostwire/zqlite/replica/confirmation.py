"""Semi-synchronous writes: an answer waits until a replica has the rows that it rests on, on its disk."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from ghostwire.errors import GhostwireError, UnavailableError

PATIENCE_S: Final = 10.0

Deliver = Callable[[GhostwireError | None], None]


class Confirmation:
    """Holds answers by row of the log. After `patience` seconds an answer is an error, not a promise; None: never."""

    def __init__(self, seq: int, patience: float | None = PATIENCE_S) -> None:
        self.seq = seq
        self._patience = patience
        self._held: deque[tuple[int, float, Deliver]] = deque()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()

    def hold(self, seq: int, deliver: Deliver) -> None:
        """Call `deliver` once a replica has confirmed row `seq`."""
        if seq <= self.seq and not self._held:
            deliver(None)
            return
        if self._patience is None:
            self._held.append((seq, math.inf, deliver))
            return
        self._held.append((seq, self._loop.time() + self._patience, deliver))
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._expire)

    def confirm(self, seq: int) -> None:
        """A replica has all rows up to `seq` on its disk."""
        self.seq = max(self.seq, seq)
        while self._held and self._held[0][0] <= self.seq:
            self._held.popleft()[2](None)
        if not self._held:
            self._idle.set()

    async def settle(self, within: float) -> None:
        """Return once no answer is held, after `within` seconds at the latest."""
        if self._held:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), within)

    def close(self) -> None:
        """No replica will confirm anything any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._fail(math.inf)

    def _expire(self) -> None:
        self._timer = None
        self._fail(self._loop.time())
        if self._held:
            self._timer = self._loop.call_at(self._held[0][1], self._expire)

    def _fail(self, now: float) -> None:
        while self._held and self._held[0][1] <= now:
            self._held.popleft()[2](
                UnavailableError(
                    "the change is on this disk and no replica has confirmed it: it may be lost with this machine. "
                    "Start a replica (`ghostwire db replicate`)",
                    retry_after=1.0,
                )
            )
