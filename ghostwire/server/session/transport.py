"""One node connection as a WebSocket: frames to messages, messages to frames, and what a slow reader may hold up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, Protocol, cast

from ghostwire._native import fanout
from ghostwire.errors import ResourceExhaustedError, WireError
from ghostwire.server.session.frames import Opcode, Reader, close_frame, frame

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
BROKEN: Final = 1002
TOO_BIG: Final = 1009
TOGETHER: Final = 32 * 1024
"""Bytes of messages after which those that leave together are written."""
CLOSE_WAIT_S: Final = 2.0
"""How long the other side may take to close after it was told to."""
LATE_BYTES: Final = 64 * 1024
"""What may still come from it meanwhile: whoever goes on sending is cut off."""


class Receiver(Protocol):
    """Whose connection it is."""

    def opened(self) -> None:
        """Frames may be sent now."""

    def message(self, data: bytes) -> None:
        """One whole message came."""

    def control(self) -> None:
        """A ping or a pong came, which costs as much as a message."""

    def malformed(self) -> None:
        """What came is no WebSocket's, or too long: the connection is being closed."""

    def drained(self) -> None:
        """Everything that waited has been handed to the kernel."""

    def closed(self) -> None:
        """The connection is gone; nothing follows."""


class SessionTransport(asyncio.Protocol):
    """The WebSocket of one session, from the `answer` to its upgrade on, which leaves with what is said first.

    What is sent goes to the kernel at once while it takes it, by the `outlet`; afterwards it waits here, in order.
    `waiting` bytes is what the session's owner compares with its bound.

    While it is on `hold`, what the node sends stays in the kernel, and in the end with the node; what had been read
    before that, one read's bytes at most, waits here.
    """

    __slots__ = (
        "_answer",
        "_backlog",
        "_closing",
        "_held",
        "_late",
        "_loop",
        "_paused",
        "_reader",
        "_transport",
        "outlet",
        "receiver",
        "waiting",
    )

    def __init__(self, receiver: Receiver, limit: int, loop: asyncio.AbstractEventLoop, answer: bytes) -> None:
        self.receiver = receiver
        self._answer = answer
        self.waiting = 0
        self._loop = loop
        self._reader = Reader(limit)
        self._transport: asyncio.Transport | None = None
        self.outlet: fanout.Outlet | None = None
        self._backlog: deque[bytes | Iterator[bytes]] | None = None
        self._paused = False
        self._closing = False
        self._held: asyncio.TimerHandle | None = None
        self._late = 0

    # The event loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The upgraded connection is handed over."""
        # uvloop's transport behind TLS is one in all but its class.
        self._transport = cast("asyncio.Transport", transport)
        self.outlet = fanout.Outlet(self._transport, _descriptor(transport))
        self.receiver.opened()
        if self._answer:
            self._write(b"")

    def data_received(self, data: bytes) -> None:
        """Bytes from the node. After `close` only its own close frame counts."""
        if self._held is None and not self._closing and (message := self._reader.whole(data)) is not None:
            self.receiver.message(message)
            return
        if self._closing:
            self._late += len(data)
            if self._late > LATE_BYTES:
                self.abort()
                return
        self._reader.feed(data)
        self._read()

    def _read(self) -> None:
        try:
            while self._held is None and (found := self._reader.poll()) is not None:
                if not self._closing:
                    self._take(*found)
                elif found[0] == Opcode.CLOSE:
                    self._finish()
                    return
        except (WireError, ResourceExhaustedError) as error:
            if self._closing:
                self._finish()
            else:
                self.close(TOO_BIG if isinstance(error, ResourceExhaustedError) else BROKEN, error.message)
                self.receiver.malformed()

    def pause_writing(self) -> None:
        """The kernel's buffer and the transport's are full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The node reads again: hand over what waited."""
        self._paused = False
        backlog = self._backlog
        while backlog and not self._paused:
            data = backlog[0]
            if isinstance(data, bytes):
                backlog.popleft()
                self.waiting -= len(data)
                self._write(data)
            elif (message := next(data, None)) is not None:
                self._write(frame(message))
            else:
                backlog.popleft()
        if not backlog:
            self._backlog = None
            if not self._paused:
                self.receiver.drained()

    def eof_received(self) -> bool:
        """The node will send no more: close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._shut()
        if self._held is not None:
            self._held.cancel()
        self._backlog, self.waiting = None, 0
        self._transport = None
        self.receiver.closed()

    # The session's side.

    def send(self, message: bytes) -> None:
        """Send one message."""
        self.send_framed(frame(message))

    def send_all(self, messages: Iterable[bytes]) -> None:
        """Send messages one after another, each of them asked for when the node takes it. Others wait behind them.

        Small ones leave together: a write costs the kernel as much as building a small message.
        """
        rest = iter(messages)
        while not (self._paused or self._closing):
            together = bytearray()
            for message in rest:
                together += frame(message)
                if len(together) >= TOGETHER:
                    break
            if not together:
                return
            self._write(bytes(together))
        if not self._closing:
            self._wait(rest)

    def send_framed(self, data: bytes) -> None:
        """Send bytes that are WebSocket frames already, as one broadcast's are."""
        if self._closing:
            return
        if self._paused:
            self._wait(data)
            self.waiting += len(data)
        elif self._answer or self.outlet is None:
            self._write(data)
        else:
            self.outlet.write(data)

    def hold(self, seconds: float) -> None:
        """Take nothing more from the node for so long: whoever sends too fast is slowed down where it sends."""
        if self._held is None and self._transport is not None and not self._closing:
            self._transport.pause_reading()
            self._held = self._loop.call_later(seconds, self._release)

    @property
    def held(self) -> bool:
        """Whether nothing is taken from the node just now."""
        return self._held is not None

    def _release(self) -> None:
        self._held = None
        self._read()
        if self._held is None and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, code: int, reason: str = "") -> None:
        """Say why and wait, a little, for the node to close: cutting it off at once could lose what was said last."""
        if self._closing:
            return
        self._backlog, self.waiting = None, 0
        self._write(close_frame(code, reason))
        self._shut()
        self._loop.call_later(CLOSE_WAIT_S, self.abort)

    def abort(self) -> None:
        """Cut the connection."""
        self._shut()
        if self._transport is not None:
            self._transport.abort()

    @property
    def closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._closing

    @property
    def paused(self) -> bool:
        """Whether the node does not keep up just now."""
        return self._paused

    def _wait(self, data: bytes | Iterator[bytes]) -> None:
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and self.outlet is not None:
            if self._answer:
                data, self._answer = self._answer + data, b""
            self.outlet.write(data)

    def _shut(self) -> None:
        """Nothing more is sent, and soon the socket's descriptor may be another's."""
        self._closing = True
        if self.outlet is not None:
            self.outlet.close()

    def _finish(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.BINARY:
            self.receiver.message(payload)
        elif opcode == Opcode.CLOSE:
            self.close(NORMAL)
            self._finish()
        else:
            self.receiver.control()
            if opcode == Opcode.PING and not (self._paused or self._closing):
                self._write(frame(payload, Opcode.PONG))


def _descriptor(transport: asyncio.BaseTransport) -> int:
    """The socket that bytes may be sent to as they are; -1 behind TLS."""
    if transport.get_extra_info("sslcontext") is not None:
        return -1
    connection = transport.get_extra_info("socket")
    return -1 if connection is None else int(connection.fileno())
