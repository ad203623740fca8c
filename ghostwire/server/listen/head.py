"""The head of the first request of a connection (RFC 9112), read only as far as routing and the upgrade need it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from ghostwire.errors import ValidationError, WireError
from ghostwire.server.errors import CODES
from ghostwire.wire.messages import PATH, SUBPROTOCOL

END: Final = b"\r\n\r\n"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True, slots=True)
class Head:
    """A request's line and headers; header names in lower case."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    def values(self, name: bytes) -> list[bytes]:
        """Every value of the header, lists split at their commas."""
        listed = b",".join(value for header, value in self.headers if header == name)
        return [part.strip() for part in listed.split(b",") if part.strip()]

    @property
    def opens_session(self) -> bool:
        """Whether it asks for a WebSocket on the node sessions' path."""
        path = self.target.partition(b"?")[0]
        return path == PATH.encode() and b"websocket" in [value.lower() for value in self.values(b"upgrade")]


def parse(data: bytes) -> Head | None:
    """The head in `data` (up to its blank line); None where it is not HTTP/1.x, which another parser may judge."""
    line, _, rest = data.partition(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
        return None
    headers = []
    for raw in rest.split(b"\r\n"):
        name, colon, value = raw.partition(b":")
        if not raw:
            break
        if not colon:
            return None
        headers.append((name.lower(), value.strip()))
    return Head(parts[0], parts[1], tuple(headers))


def upgrade_answer(head: Head) -> bytes:
    """The answer that turns the connection into a WebSocket (RFC 6455 section 4.2).

    Raises `ValidationError` or `WireError` for an upgrade that cannot be.
    """
    if head.method != b"GET":
        raise ValidationError("a session is opened by GET")
    if b"upgrade" not in [value.lower() for value in head.values(b"connection")]:
        raise ValidationError("a session needs the header Connection: Upgrade")
    if head.values(b"sec-websocket-version") != [b"13"]:
        raise WireError("a session needs Sec-WebSocket-Version: 13")
    keys = head.values(b"sec-websocket-key")
    if len(keys) != 1 or not _is_nonce(keys[0]):
        raise ValidationError("a session needs one Sec-WebSocket-Key of 16 bytes")
    if SUBPROTOCOL.encode() not in head.values(b"sec-websocket-protocol"):
        raise ValidationError(f"a session needs Sec-WebSocket-Protocol: {SUBPROTOCOL}")
    accept = base64.b64encode(hashlib.sha1(keys[0] + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\nSec-WebSocket-Protocol: "
        + SUBPROTOCOL.encode()
        + END
    )


def refusal(status: int, detail: str = "", retry_after: int | None = None) -> bytes:
    """A whole answer that refuses, as a problem document (RFC 9457), and ends the connection.

    `retry_after` (seconds) says when to come back.
    """
    phrase = HTTPStatus(status).phrase.encode()
    told = _plain(detail) or phrase
    body = b'{"status":%d,"title":"%s","detail":"%s","code":"%s"}' % (status, phrase, told, CODES[status].encode())
    extra = b"Sec-WebSocket-Version: 13\r\n" if status == 426 else b""
    if retry_after is not None:
        extra += b"Retry-After: %d\r\n" % retry_after
    return (
        b"HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n"
        % (status, phrase, len(body), extra)
    ) + body


def _plain(text: str) -> bytes:
    """Text that needs no escapes inside a JSON string."""
    return text.replace("\\", "/").replace('"', "'").encode("ascii", "replace")


def _is_nonce(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
