"""A blocking connection that asks and is answered, for clients that have no event loop and no time to lose."""

from __future__ import annotations

import socket

from ghostwire._native import inbox
from ghostwire.errors import UnavailableError
from ghostwire.testing.load.door import Door, spki_seen
from ghostwire.testing.load.link import masked, upgrade_request
from ghostwire.wire.messages import MAX_SERVER_FRAME

CHUNK = 1 << 18
TIMEOUT_S = 10.0


class Caller:
    """One WebSocket connection to a local server; `spki` is the hash of its certificate's public key, if any."""

    def __init__(self, door: Door) -> None:
        self._frames = inbox.Frames(MAX_SERVER_FRAME)
        plain = socket.create_connection((door.host, door.port), timeout=TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = door.context
        self._tls = None if context is None else context.wrap_socket(plain, server_hostname=door.host)
        self.socket = plain if self._tls is None else self._tls
        self.spki = spki_seen(self._tls)
        self.socket.sendall(upgrade_request(door.authority))
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
            while self._tls is not None and self._tls.pending():
                data += self._tls.recv(CHUNK)  # no longer the socket's, so nothing would say that it is there
        except OSError as error:
            raise UnavailableError(f"the server does not answer: {error}") from error
        if not data:
            raise UnavailableError("the server has left")
        return data
