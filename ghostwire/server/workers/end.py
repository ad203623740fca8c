"""One end of a link on an event loop: messages of a moment become one batch, whatever stream there is carries it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from ghostwire.errors import WireError
from ghostwire.server.listen.acceptor import Accepted
from ghostwire.server.workers.link import Frames, Greeting, Link
from ghostwire.server.workers.messages import ENCODER, presses
from ghostwire.server.workers.pace import Pace

BATCH: Final = 256
"""Messages of one batch."""
CONFIRM_S: Final = 0.02
"""How long what was received waits for something to say, with which it is confirmed."""


class Stream(Accepted):
    """One connection under a link. The first frame is the greeting, which decides whose it is."""

    def __init__(
        self,
        greeted: Callable[[Stream, Greeting], None],
        broken: Callable[[Stream, str], None],
    ) -> None:
        self._greeted, self._broken = greeted, broken
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self.take: Callable[[bytes | memoryview], None] | None = None
        """What takes frames after the greeting."""

    def itself(self) -> Stream:
        """The stream, for event loops that want a maker of protocols."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the other end."""
        try:
            for body in self._frames.feed(data):
                if self._transport is None or self._transport.is_closing():
                    return
                if self.take is None:
                    self._greeted(self, msgspec.msgpack.decode(body, type=Greeting))
                else:
                    self.take(body)
        except (WireError, msgspec.MsgspecError) as error:
            self.cut(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._transport is not None:
            self._transport = None
            self._broken(self, str(exc) if exc is not None else "the other end has closed")

    def write(self, data: bytes) -> None:
        """Send bytes, as long as it stands."""
        if self._transport is not None:
            self._transport.write(data)

    def listen(self, now: bool) -> None:
        """Take what comes, or leave it where it is for a while."""
        if self._transport is not None:
            if now:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def cut(self, reason: str) -> None:
        """End it: what was under way comes again on the next one."""
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()
            self._broken(self, reason)


class End:
    """A link and the stream that carries it now, if one does. `take` gets each batch that arrives, once and in order.

    `last` may add a message to each batch just before it goes.
    """

    def __init__(
        self,
        own: bytes,
        take: Callable[[bytes | memoryview], None],
        last: Callable[[], msgspec.Struct | None] | None = None,
    ) -> None:
        self.link = Link(own)
        self._take, self._last = take, last
        self._loop = asyncio.get_running_loop()
        self._messages: list[Any] = []
        self._pace = Pace()
        self._sending: asyncio.Handle | None = None
        self._hurries = False
        self._confirming = False
        self._stream: Stream | None = None

    @property
    def stands(self) -> bool:
        """Whether a stream carries it."""
        return self._stream is not None

    def say(self, message: Any) -> None:
        """Send a message, with others that come by the time that a batch is due."""
        self._messages.append(message)
        if len(self._messages) >= BATCH:
            self.flush()
        elif self._sending is None:
            self._arm(hurries=presses(message))
        elif not self._hurries and presses(message):
            self._sending.cancel()
            self._arm(hurries=True)

    def flush(self) -> None:
        """Send what was said, which confirms what was received."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        if not self._messages:
            return
        messages, self._messages = self._messages, []
        self._pace.sent(self._loop.time(), len(messages))
        if self._last is not None and (last := self._last()) is not None:
            messages.append(last)
        self._write(self.link.send(ENCODER.encode(messages)))

    def carried_by(self, stream: Stream, greeting: Greeting, about: bytes | None = None) -> bool:
        """A stream has been greeted on: it carries the link from now on. Whether the other end knows this one.

        With `about`, this end greets back.
        """
        if self._stream is not None:
            old, self._stream = self._stream, None
            old.cut("another stream has taken its place")
        answer = b"" if about is None else self.link.greeting(about)
        known, again = self.link.greeted(greeting)
        if not known:
            self._messages.clear()
        stream.take = self._frame
        self._stream = stream
        stream.write(b"".join((answer, *again)))
        return known

    def begin_anew(self, reason: str) -> None:
        """Have the other end take this one for a stranger: what it said cannot be followed."""
        self.link.other = b""
        self.cut(reason)

    def listen(self, now: bool) -> None:
        """Take batches, or leave them to the other end for a while, which sees that they are not confirmed."""
        if self._stream is not None:
            self._stream.listen(now)

    def lost(self, stream: Stream) -> bool:
        """A stream is gone; whether it was the one that carried the link."""
        if self._stream is not stream:
            return False
        self._stream = None
        return True

    def cut(self, reason: str) -> None:
        """End the stream that carries it."""
        if self._stream is not None:
            self._stream.cut(reason)

    def _frame(self, body: bytes | memoryview) -> None:
        payload = self.link.take(body)
        if payload is not None:
            self._take(payload)
            if not self._confirming:
                self._confirming = True
                self._loop.call_later(CONFIRM_S, self._confirm)

    def _confirm(self) -> None:
        self._confirming = False
        if self._messages:
            self.flush()
        else:
            self._write(self.link.confirm())

    def _write(self, data: bytes) -> None:
        if data and self._stream is not None:
            self._stream.write(data)

    def _arm(self, *, hurries: bool) -> None:
        self._hurries = hurries
        wait = self._pace.due(presses=hurries) - self._loop.time()
        self._sending = self._loop.call_later(wait, self.flush) if wait > 0 else self._loop.call_soon(self.flush)
