"""What waits for a client that asks and does not read."""

from __future__ import annotations

import asyncio
from typing import Final

LEAST_READ: Final = 16 * 1024
"""Bytes of what waits for it that a client must read in its time."""


class Unread:
    """Cuts a connection off where of what waits for its client not even the least is read in `seconds`."""

    __slots__ = ("_loop", "_seconds", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport, self._seconds = transport, seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """See that it becomes less, where there is any."""
        waiting = self._transport.get_write_buffer_size()
        if waiting and self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look, waiting)

    def stop(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, waited: int) -> None:
        self._timer = None
        if self._transport.get_write_buffer_size() > max(0, waited - LEAST_READ):
            self._transport.abort()
        else:
            self.watch()
