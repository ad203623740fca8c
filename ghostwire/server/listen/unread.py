"""What waits for a client that asks and does not read."""

from __future__ import annotations

import asyncio
from typing import Final

LEAST_READ: Final = 16 * 1024
"""Bytes of what waits for it that a client must read in its time. Its protocol is paused where more than these wait."""


class Unread:
    """Cuts a connection off where of what waits for its client not even the least is read in `seconds`.

    The protocol writes nothing while it is paused, and is resumed when all is read: between `watch` and `stop` what
    waits becomes less by what the client reads alone. Behind TLS the transport knows only of what the connection
    beneath has not taken, which it does again when all that it has (64 KiB and one write) is read: there these are the
    least.
    """

    __slots__ = ("_loop", "_seconds", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport, self._seconds = transport, seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        transport.set_write_buffer_limits(high=LEAST_READ, low=0)

    def watch(self) -> None:
        """See from now on that it becomes less, where there is any: something was written."""
        self.stop()
        if waiting := self._transport.get_write_buffer_size():
            self._timer = self._loop.call_later(self._seconds, self._look, waiting)

    def stop(self) -> None:
        """All is read, or the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, waited: int) -> None:
        self._timer = None
        if self._transport.get_write_buffer_size() > max(0, waited - LEAST_READ):
            self._transport.abort()
        else:
            self.watch()
