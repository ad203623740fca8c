"""A blocking connection that asks and is answered, for clients that have no event loop and no time to lose."""

from __future__ import annotations

import socket

from ghostwire._native import inbox
from ghostwire.errors import UnavailableError
from ghostwire.testing.load.link import masked, upgrade_request
from ghostwire.wire.messages import MAX_SERVER_FRAME

CHUNK = 1 << 18
TIMEOUT_S = 10.0


class Caller:
    """One WebSocket connection to a local server."""

    def __init__(self, host: str, port: int) -> None:
        self._frames = inbox.Frames(MAX_SERVER_FRAME)
        self.socket = socket.create_connection((host, port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(upgrade_request(f"{host}:{port}"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._receive()
        if b" 101 " not in head.partition(b"\r\n")[0]:
            self.socket.close()
            raise UnavailableError("the server refused the connection")
        self._early = [payload for _, payload in self._frames.feed(head.partition(b"\r\n\r\n")[2])]

    def read(self) -> list[bytes]:
        """What has come, at least some bytes of it. Raises UnavailableError where the server has left."""
        early, self._early = self._early, []
        return early or [payload for _, payload in self._frames.feed(self._receive())]

    def send(self, payload: bytes) -> None:
        """Send one message."""
        self.socket.sendall(masked(payload))

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def _receive(self) -> bytes:
        try:
            data = self.socket.recv(CHUNK)
        except OSError as error:
            raise UnavailableError(f"the server does not answer: {error}") from error
        if not data:
            raise UnavailableError("the server has left")
        return data
