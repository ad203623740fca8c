"""Connections beyond the bounds: each is told so, and when to come back, at a cost that is bounded itself.

The answer is the same bytes for everyone, but for the time: those who were refused together do not return together.
Some connections are given a moment to read it, and the handshake where there is TLS. When too many come for that, they
get what can be sent without waiting: the answer, or behind TLS an alert.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from typing import Final, cast

from ghostwire.server.listen.acceptor import Accepted
from ghostwire.server.listen.head import refusal

RETRY_S: Final = range(3, 11)
"""Seconds after which those who are turned away are asked to return, in turns."""
ANSWERS: Final = tuple(refusal(503, "more connections than may stand: come back later", wait) for wait in RETRY_S)
ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x50"
"""A fatal TLS alert, internal_error (RFC 8446, section 6): the one answer that needs no handshake."""
LINGERING: Final = 64
"""Connections that may take their time to read the answer."""
LINGER_S: Final = 1.0
"""How much of it; with `LINGERING`, at most so many handshakes a second are spent on answers."""


class Turnaway:
    """Answers connections that may not stand. `lingering` are about to read it."""

    __slots__ = ("_answers", "_curt", "_loop", "lingering")

    def __init__(self, secure: bool, loop: asyncio.AbstractEventLoop) -> None:
        self._answers = itertools.cycle(ANSWERS)
        self._curt = ALERT if secure else None
        self._loop = loop
        self.lingering = 0

    def meet(self, connection: socket.socket) -> Refused | None:
        """The protocol that will answer; None where the connection has been answered and is to be closed."""
        if self.lingering < LINGERING:
            self.lingering += 1
            return Refused(self)
        self.dismiss(connection)
        return None

    def dismiss(self, connection: socket.socket) -> None:
        """Answer with what can be sent without waiting; the connection is to be closed."""
        with contextlib.suppress(OSError):  # it may have gone already
            connection.send(self._curt or next(self._answers), socket.MSG_DONTWAIT)

    def answer(self, transport: asyncio.Transport) -> None:
        """Say it, and leave it to the other side to close."""
        transport.write(next(self._answers))
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self._loop.call_later(LINGER_S, transport.abort)

    def parted(self) -> None:
        """One that was answered is gone; its place is free a moment later."""
        self._loop.call_later(LINGER_S, self._vacate)

    def _vacate(self) -> None:
        self.lingering -= 1


class Refused(Accepted):
    """A connection that is answered at once, whatever it asks."""

    __slots__ = ("_made", "_turnaway")

    def __init__(self, turnaway: Turnaway) -> None:
        self._turnaway = turnaway
        self._made = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands (behind TLS where there is any)."""
        self._made = True
        # uvloop's transport behind TLS is one in all but its class.
        self._turnaway.answer(cast("asyncio.Transport", transport))

    def eof_received(self) -> bool:
        """It has read the answer, or will read no more: close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._turnaway.parted()

    def abandon(self) -> None:
        """Its TLS handshake failed."""
        if not self._made:
            self._turnaway.parted()
