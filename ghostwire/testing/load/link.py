"""A node's WebSocket connection as a client that holds thousands of them reads and writes it."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol, cast

from ghostwire._native import inbox
from ghostwire.errors import WireError
from ghostwire.testing.load.door import spki_seen
from ghostwire.wire.messages import PATH, SUBPROTOCOL

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


def retry_after(head: bytes) -> float | None:
    """The seconds of a refusal's `Retry-After`; None where it has none."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"retry-after" and value.strip().isdigit():
            return float(value)
    return None


class Receiver(Protocol):
    """Whose connection it is. What `inbox` keeps to itself is counted there."""

    inbox: inbox.Inbox

    def opened(self, spki: bytes) -> None:
        """The connection stands; `spki` is the hash of the server's certificate's public key, empty without TLS."""

    def received(self, payload: bytes, at: float) -> None:
        """One message came, at this monotonic second."""

    def turned_away(self, seconds: float | None) -> None:
        """The server refused the upgrade and perhaps said when to come back; `ended` follows."""

    def broke(self, error: WireError) -> None:
        """The server did what the protocol forbids; `ended` follows."""

    def ended(self) -> None:
        """The connection is gone, or was refused; nothing follows."""


class Link(asyncio.Protocol):
    """One connection, from its upgrade request on."""

    __slots__ = ("_head", "_receiver", "_request", "_transport")

    def __init__(self, receiver: Receiver, request: bytes) -> None:
        self._receiver, self._request = receiver, request
        self._head: bytes | None = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        self._receiver.opened(spki_seen(transport.get_extra_info("ssl_object")))
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
                self._receiver.turned_away(retry_after(head))
                self.close()
                return
        receiver = self._receiver
        try:
            for first, payload in receiver.inbox.feed(data, at):
                if first == _BINARY:
                    receiver.received(payload, at)
                elif first == _CLOSE:
                    self.close()
        except WireError as error:
            receiver.broke(error)
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
