"""Twin of `core_ext.frames`: slices and one big exclusive or."""

from __future__ import annotations

from ghostwire.errors import ResourceExhaustedError, WireError
from ghostwire.server.session.frames import MAX_CONTROL, Opcode


def frame(payload: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    """One unmasked, final frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Undo the client's masking (section 5.3)."""
    size = len(payload)
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")


class Reader:
    """Bytes in, messages and control frames out. It holds at most one message of `limit` bytes and one frame head."""

    __slots__ = ("_at", "_buffer", "_limit", "_message")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""
        self._at = 0
        self._message: bytearray | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes from the connection; `poll` reads them."""
        self._buffer = self._buffer[self._at :] + data if self._buffer else data
        self._at = 0

    def whole(self, data: bytes) -> bytes | None:
        """The binary message that these bytes are, where nothing came before that waits; else None."""
        if self._buffer or self._message is not None:
            return None
        alone = Reader(self._limit)
        alone.feed(data)
        try:
            found = alone._frame()
        except (WireError, ResourceExhaustedError):
            return None
        if found is None or found[:2] != (True, Opcode.BINARY) or alone._buffer or data[1] & 0x7F == 127:
            return None
        return found[2]

    def poll(self) -> tuple[Opcode, bytes] | None:
        """The next whole message (`BINARY`) or control frame; None until more bytes have come.

        Raises `WireError` for what the protocol forbids and `ResourceExhaustedError` for what is too long.
        """
        while (found := self._frame()) is not None:
            final, opcode, payload = found
            if opcode >= Opcode.CLOSE:
                return opcode, payload
            if opcode == Opcode.CONTINUATION:
                if self._message is None:
                    raise WireError("a continuation came without a message to continue")
                if not payload and not final:
                    raise WireError("a fragment carries nothing, and more are to come")
                self._message += payload
                if len(self._message) > self._limit:
                    raise ResourceExhaustedError(f"a message of more than {self._limit} bytes")
                if final:
                    whole, self._message = bytes(self._message), None
                    return Opcode.BINARY, whole
            elif self._message is not None:
                raise WireError("a new message began inside another")
            elif final:
                return Opcode.BINARY, payload
            else:
                self._message = bytearray(payload)
        return None

    def _frame(self) -> tuple[bool, Opcode, bytes] | None:
        buffer, at = self._buffer, self._at
        have = len(buffer)
        if have - at < 2:
            return None
        final, opcode = self._head(buffer[at], buffer[at + 1])
        size, start = buffer[at + 1] & 0x7F, at + 2
        if size == 126:
            size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
        if have < start:
            return None
        if size > self._limit:
            raise ResourceExhaustedError(f"a frame of {size} bytes: at most {self._limit} are taken")
        end = start + 4 + size
        if have < end:
            return None
        payload = unmask(buffer[start + 4 : end], buffer[start : start + 4])
        if have > end:
            self._at = end
        else:
            self._buffer, self._at = b"", 0
        return final, opcode, payload

    @staticmethod
    def _head(first: int, second: int) -> tuple[bool, Opcode]:
        if first & 0x70:
            raise WireError("reserved bits are set, and no extension was agreed on")
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise WireError(f"opcode {first & 0x0F} is reserved") from None
        if opcode == Opcode.TEXT:
            raise WireError("messages are binary here")
        if not second & 0x80:
            raise WireError("a client masks its frames")
        final = bool(first & 0x80)
        if opcode >= Opcode.CLOSE and (not final or second & 0x7F > MAX_CONTROL):
            raise WireError("a control frame is short and in one piece")
        return final, opcode
