"""The WebSocket to the coordinator: TLS that trusts a pin or the system's authorities, frames in and out."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import ssl
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import urlsplit

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    ws_connect,
)

from ghostwire.errors import AuthenticationError, UnavailableError, ValidationError, WireError
from ghostwire.wire.messages import MAX_SERVER_FRAME, PATH, SUBPROTOCOL

HANDSHAKE_S: Final = 10.0
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class Hearer(Protocol):
    """Who is told what happens on a connection."""

    def on_frame(self, connection: Connection, frame: bytes) -> None:
        """A frame came."""

    def on_closed(self, connection: Connection, reason: str) -> None:
        """The connection is gone."""


class Connection(WSListener):
    """One WebSocket connection. `spki` is SHA-256 of its certificate's public key info, empty without TLS."""

    def __init__(self, hearer: Hearer) -> None:
        super().__init__()
        self.spki = b""
        self._hearer = hearer
        self._transport: WSTransport | None = None
        self._early: list[bytes] | None = []
        self._ended: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Hand over what has come so far, and from here on each frame as it comes."""
        early, self._early = self._early, None
        for frame in early or ():
            self._hearer.on_frame(self, frame)

    def send(self, frame: bytes) -> None:
        """Send one binary frame."""
        if self._transport is not None:
            self._transport.send(WSMsgType.BINARY, frame)

    def close(self) -> None:
        """Close after what was sent; nothing more is heard of this connection."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect(graceful=True)

    # What picows calls.

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade was accepted."""
        self._transport = transport
        self._ended = asyncio.get_running_loop().create_task(_wait_ended(transport))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame arrived."""
        if self._transport is None:
            return
        if frame.msg_type == WSMsgType.CLOSE:
            message = bytes(frame.get_close_message() or b"").decode(errors="replace")
            reason = message or f"closed with code {frame.get_close_code()}"
            transport.send_close(frame.get_close_code())
            transport.disconnect()
            self._gone(reason)
        elif frame.payload_size > MAX_SERVER_FRAME:
            # The library hands such a frame over although it has refused it.
            transport.disconnect(graceful=False)
            self._gone(f"the coordinator sent a frame of {frame.payload_size} bytes")
        elif frame.msg_type == WSMsgType.BINARY and frame.fin:
            payload = frame.get_payload_as_bytes()
            if self._early is None:
                self._hearer.on_frame(self, payload)
            else:
                self._early.append(payload)
        elif frame.msg_type not in (WSMsgType.PING, WSMsgType.PONG):
            transport.disconnect()
            self._gone("the coordinator sent a frame that is neither whole nor binary")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The transport is closed."""
        self._gone("the connection was lost")

    def _gone(self, reason: str) -> None:
        if self._transport is not None:
            self._transport = None
            self._hearer.on_closed(self, reason)


async def _wait_ended(transport: WSTransport) -> None:
    """Take the error that a connection ended with: `on_closed` has told of it already."""
    with contextlib.suppress(WSError):
        await transport.wait_disconnected()


def parse_origin(url: str) -> str:
    """The origin of a coordinator's URL in its one spelling: lower case, no default port, no path.

    Raises `ValidationError` for what is no such URL.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ValidationError(f"{url} has no usable port: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValidationError(f"{url} is no https:// or http:// URL")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise ValidationError(f"{url} is more than the coordinator's scheme, host and port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}")


async def connect(origin: str, pin: bytes, hearer: Hearer) -> Connection:
    """Open the session's WebSocket at `origin`.

    Raises `UnavailableError` where nobody answers, `AuthenticationError` where the certificate is not the pinned one
    (or not vouched for), `WireError` where what answers is no coordinator.
    """
    url = origin.replace("http", "ws", 1) + PATH
    try:
        transport, connection = await ws_connect(
            _factory(hearer),
            url,
            ssl_context=_context(pin) if origin.startswith("https:") else None,
            websocket_handshake_timeout=HANDSHAKE_S,
            max_frame_size=MAX_SERVER_FRAME + 64,
            max_redirects=0,
            extra_headers={"Sec-WebSocket-Protocol": SUBPROTOCOL},
            logger_name="agent",
            # The standard transport shows the peer's certificate.
            use_aiofastnet=False,
        )
    except ssl.SSLCertVerificationError as error:
        raise AuthenticationError(
            f"{origin} shows a certificate that this machine does not trust ({error.verify_message}): "
            "give the pin that `ghostwire key create` prints, as --pin sha256:HEX"
        ) from error
    except WSHandshakeError as error:
        raise _refused_upgrade(origin, error) from error
    except (OSError, WSError, TimeoutError) as error:
        raise UnavailableError(f"{origin} does not answer: {error or type(error).__name__}") from error
    if not isinstance(connection, Connection):
        # The library returns without one where the other side closed instead of answering.
        raise UnavailableError(f"{origin} closed the connection without an answer")
    _check(transport, connection, pin, origin)
    return connection


def _factory(hearer: Hearer) -> Callable[[WSUpgradeRequest, WSUpgradeResponse], Connection]:
    def make(_request: WSUpgradeRequest, response: WSUpgradeResponse) -> Connection:
        if response.headers.get("Sec-WebSocket-Protocol") != SUBPROTOCOL:
            raise WSError(f"what answers does not speak {SUBPROTOCOL}")
        return Connection(hearer)

    return make


def _refused_upgrade(origin: str, error: WSHandshakeError) -> UnavailableError | WireError:
    if error.response is None:
        return UnavailableError(f"the coordinator at {origin} is not ready: {error}")
    status = int(error.response.status)
    if status >= 500 or status == 429:
        wait = str(error.response.headers.get("Retry-After", ""))
        return UnavailableError(
            f"the coordinator at {origin} is not ready: it answered {status}",
            retry_after=float(wait) if wait.isdecimal() else None,
        )
    return WireError(f"{origin} is no coordinator, or not at this port: it answered {status} to {PATH}")


def _context(pin: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if pin:
        # The pin is checked once the certificate is seen, before a single frame is sent.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check(transport: WSTransport, connection: Connection, pin: bytes, origin: str) -> None:
    tls = transport.underlying_transport.get_extra_info("ssl_object")
    if tls is None:
        return
    connection.spki = spki_hash(tls.getpeercert(binary_form=True) or b"")
    if pin and not hmac.compare_digest(connection.spki, pin):
        connection.close()
        raise AuthenticationError(
            f"{origin} is not the coordinator of this pin: it shows sha256:{connection.spki.hex()}; "
            "compare with `ghostwire server status` on the coordinator, and don't go on if they differ"
        )


def spki_hash(certificate: bytes) -> bytes:
    """SHA-256 of the public key info of a DER certificate (RFC 7469, section 2.4)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


async def round_trip(origin: str) -> float:
    """Seconds that a TCP connection to the coordinator takes. Raises `UnavailableError`."""
    parts = urlsplit(origin)
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])
    except (OSError, TimeoutError) as error:
        raise UnavailableError(f"{origin} does not answer: {error or type(error).__name__}") from error
    took = loop.time() - start
    writer.close()
    return took


def is_loopback(origin: str) -> bool:
    """Whether a coordinator is on this very machine."""
    host = urlsplit(origin).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
