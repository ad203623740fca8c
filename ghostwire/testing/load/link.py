"""A node's WebSocket connection as a client that holds thousands of them reads and writes it."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol, cast

from ghostwire.errors import WireError
from ghostwire.wire.messages import MAX_SERVER_FRAME, PATH, SUBPROTOCOL

_END: Final = b"\r\n\r\n"
_BINARY: Final = 0x82
_CLOSE: Final = 0x88
_UPGRADE: Final = (
    f"GET {PATH} HTTP/1.1\r\nHost: {{host}}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
)


def masked(payload: bytes) -> bytes:
    """A client's binary frame, masked with zeros: the server unmasks it like any other (RFC 6455, section 5.3)."""
    size = len(payload)
    if size < 126:
        return bytes((_BINARY, 0x80 | size)) + bytes(4) + payload
    return bytes((_BINARY, 0xFE)) + size.to_bytes(2, "big") + bytes(4) + payload


def upgrade_request(host: str) -> bytes:
    """The request that opens a node's session; `host` with its port."""
    return _UPGRADE.format(host=host).encode("ascii")


class Frames:
    """Bytes of a server in, whole frames out: a server's frames are final and not masked."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """First byte and payload of each frame that is whole now. Raises `WireError` for what no node would take."""
        buffer = self._rest + data if self._rest else data
        found: list[tuple[int, bytes]] = []
        at, have = 0, len(buffer)
        while have - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if size > MAX_SERVER_FRAME:
                raise WireError(f"a frame of {size} bytes came: no node takes that")
            if have < start + size:
                break
            found.append((buffer[at], buffer[start : start + size]))
            at = start + size
        self._rest = buffer[at:]
        return found


class Receiver(Protocol):
    """Whose connection it is."""

    def received(self, payload: bytes, at: float) -> None:
        """One message came, at this monotonic second."""

    def broke(self, error: WireError) -> None:
        """The server did what the protocol forbids; `ended` follows."""

    def ended(self) -> None:
        """The connection is gone, or was refused; nothing follows."""


class Link(asyncio.Protocol):
    """One connection, from its upgrade request on."""

    __slots__ = ("_frames", "_head", "_receiver", "_request", "_transport")

    def __init__(self, receiver: Receiver, request: bytes) -> None:
        self._receiver, self._request = receiver, request
        self._head: bytes | None = b""
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Bytes of the upgrade's answer, then frames. A server that breaks the protocol is told of and left."""
        at = time.monotonic()
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(_END)
            if not end:
                return
            self._head = None
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self.close()
                return
        try:
            for first, payload in self._frames.feed(data):
                if first == _BINARY:
                    self._receiver.received(payload, at)
                elif first == _CLOSE:
                    self.close()
        except WireError as error:
            self._receiver.broke(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        self._receiver.ended()

    def send(self, payload: bytes) -> None:
        """Send one message; nothing where the connection is gone."""
        if self._transport is not None:
            self._transport.write(masked(payload))

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.close()
