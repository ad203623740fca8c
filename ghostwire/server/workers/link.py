"""Link: numbered batches over whatever stream there is just now; each arrives once and in order, or the end is told.

Both ends keep what the other has not confirmed. When the stream breaks and another one comes, each says what it had
received, and the rest follows again. An end that was started anew knows nothing of before: the other end hears that it
is a stranger, and both begin at one. Nothing here assumes that both ends are on one machine.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

import msgspec

from ghostwire.errors import WireError

MAX_FRAME: Final = 64 * 1024 * 1024
"""Bytes of the largest batch."""
_HEAD: Final = struct.Struct(">IQQ")
"""Length of what follows the length, number of the batch (0: none), number of the last batch received."""
_LENGTH: Final = 4


class Greeting(msgspec.Struct, frozen=True, array_like=True):
    """The first thing that either end says on a stream.

    `own` are 16 random bytes of this end's life, `other` those of the end that it last spoke with (empty: nobody),
    `received` the last batch that it had from there. `about` is for those who use the link.
    """

    own: bytes
    other: bytes
    received: int
    about: bytes = b""


class Link:
    """One end. `send`, `confirm` and `greet` give bytes for the stream; `take` reads what comes from it."""

    __slots__ = ("_kept", "_received", "_said", "_sent", "kept_bytes", "other", "own")

    def __init__(self, own: bytes) -> None:
        self.own = own
        self.other = b""
        self.kept_bytes = 0
        """Bytes that the other end has not confirmed."""
        self._kept: deque[tuple[int, bytes]] = deque()
        self._sent = 0
        self._received = 0
        self._said = 0

    @property
    def sent(self) -> int:
        """The number of the last batch that was sent."""
        return self._sent

    @property
    def lag(self) -> int:
        """Batches that the other end has not confirmed."""
        return len(self._kept)

    def greeting(self, about: bytes = b"") -> bytes:
        """What to say first on a new stream."""
        body = msgspec.msgpack.encode(Greeting(self.own, self.other, self._received, about))
        return len(body).to_bytes(_LENGTH, "big") + body

    def greeted(self, greeting: Greeting) -> tuple[bool, list[bytes]]:
        """The other end greets: whether it knows this one from before, and what is to be sent again.

        Raises `WireError` where it claims to have had what was never sent.
        """
        known = greeting.own == self.other and greeting.other == self.own
        if not known:
            self.other = greeting.own
            self._kept.clear()
            self._sent = self._received = self._said = self.kept_bytes = 0
            return False, []
        self._confirmed(greeting.received)
        return True, [self._framed(number, payload) for number, payload in self._kept]

    def send(self, payload: bytes) -> bytes:
        """The next batch, as bytes for the stream. It is kept until the other end has confirmed it."""
        self._sent += 1
        self._kept.append((self._sent, payload))
        self.kept_bytes += len(payload)
        return self._framed(self._sent, payload)

    def confirm(self) -> bytes:
        """Say what was received, if that is not said yet."""
        return b"" if self._said == self._received else self._framed(0, b"")

    def take(self, body: bytes | memoryview) -> bytes | memoryview | None:
        """One frame, without its length: the batch in it, None where it holds none or one that came before.

        Raises `WireError` for a frame that is none, and where batches are missing.
        """
        if len(body) < _HEAD.size - _LENGTH:
            raise WireError("a frame of the link is cut short")
        number, confirmed = struct.unpack_from(">QQ", body)
        self._confirmed(confirmed)
        if number == 0 or number <= self._received:
            return None
        if number != self._received + 1:
            raise WireError(f"batch {number} came after batch {self._received}")
        self._received = number
        return body[_HEAD.size - _LENGTH :]

    def _framed(self, number: int, payload: bytes) -> bytes:
        self._said = self._received
        return _HEAD.pack(_HEAD.size - _LENGTH + len(payload), number, self._received) + payload

    def _confirmed(self, number: int) -> None:
        if number > self._sent:
            raise WireError(f"batch {number} was confirmed and never sent")
        while self._kept and self._kept[0][0] <= number:
            self.kept_bytes -= len(self._kept.popleft()[1])


class Frames:
    """Bytes of a stream in, frames without their lengths out: where they lie, as most arrive whole."""

    __slots__ = ("_begun", "_limit", "_wanted")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._begun = bytearray()
        self._wanted = 0
        self._limit = limit

    def feed(self, data: bytes) -> list[memoryview]:
        """Take bytes; every frame that is complete. Raises `WireError` for one that is too long."""
        if self._begun:
            self._begun += data
            if len(self._begun) < self._wanted:
                return []
            data, self._begun = bytes(self._begun), bytearray()
        view, found, at = memoryview(data), [], 0
        while at < len(data):
            self._wanted = self._framed(view[at : at + _LENGTH])
            if len(data) - at < self._wanted:
                self._begun += view[at:]
                break
            found.append(view[at + _LENGTH : at + self._wanted])
            at += self._wanted
        return found

    def _framed(self, length: memoryview) -> int:
        """How many bytes a frame has together with its length; as many as that has, while it is not all there."""
        if len(length) < _LENGTH:
            return _LENGTH
        size = int.from_bytes(length, "big")
        if size > self._limit:
            raise WireError(f"a frame of {size} bytes on the link: at most {self._limit} are taken")
        return _LENGTH + size
