"""Asking a coordinator: its REST interface over the admin socket, or over TLS with a token."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import socket
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import click

from ghostwire import __version__, errors
from ghostwire.errors import AuthenticationError, GhostwireError, InternalError, UnavailableError, WireError

TIMEOUT_S = 30.0


class Admin:
    """A connection to a coordinator's REST interface. Use it as a context manager."""

    def __init__(self, connection: http.client.HTTPConnection, where: str, token: str | None) -> None:
        self.where = where
        self._connection = connection
        self._headers = {"accept": "application/json", "user-agent": f"ghostwire/{__version__}"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"

    @classmethod
    def local(cls, data: Path, timeout_s: float = TIMEOUT_S) -> Self:
        """Talk to the coordinator whose folder is `data`, by right of the socket."""
        return cls(_UnixConnection(data / "admin.sock", timeout_s), str(data), None)

    @classmethod
    def remote(cls, url: str, token: str, pin: str | None = None) -> Self:
        """Talk to the coordinator at `url` with an API token.

        Raises click.UsageError for what is no such URL, and for a token that would travel in the clear.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise click.UsageError(f"--server {url} is no https:// URL.")
        if parts.scheme == "https":
            return cls(_PinnedConnection(parts.hostname, parts.port or 443, pin), url, token)
        if not is_loopback(parts.hostname):
            raise click.UsageError(f"--server {url} would send the token in the clear: use https://.")
        return cls(http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT_S), url, token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, path: str, **query: str | int | None) -> Any:
        """Read a resource; None values are left out of the query."""
        given = {name: value for name, value in query.items() if value is not None}
        return self.ask("GET", f"{path}?{urlencode(given)}" if given else path)

    def post(self, path: str, body: Any = None) -> Any:
        """Make something, or order an act."""
        return self.ask("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """Change parts of a resource."""
        return self.ask("PATCH", path, body)

    def put(self, path: str, body: Any) -> Any:
        """Replace a resource."""
        return self.ask("PUT", path, body)

    def delete(self, path: str) -> Any:
        """Remove a resource."""
        return self.ask("DELETE", path)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return the decoded answer, None for an empty one.

        Raises the error of the tree that the coordinator names, UnavailableError where nobody answers.
        """
        text = self._exchange(method, path, body)
        return json.loads(text) if text.strip() else None

    def text(self, path: str) -> str:
        """Read a resource that is text. Raises like `ask`."""
        return self._exchange("GET", path, None).decode()

    def _exchange(self, method: str, path: str, body: Any) -> bytes:
        headers = dict(self._headers)
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        try:
            self._connection.request(method, path, payload, headers)
            response = self._connection.getresponse()
            text = response.read()
        except ssl.SSLCertVerificationError as error:
            raise AuthenticationError(
                f"{self.where} shows a certificate that this machine does not trust ({error.verify_message}): "
                "give its --pin sha256:HEX, which `ghostwire server status` prints on the server."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            # Whatever was half-way is of no use to the next request.
            self._connection.close()
            raise self._unreachable(error) from error
        if response.status >= 400:
            raise _refusal(response.status, text)
        return text

    def _unreachable(self, error: Exception) -> GhostwireError:
        if isinstance(error, PermissionError):
            return errors.PermissionDeniedError(
                f"the coordinator in {self.where} admits only root, its own user and those in `server.admin_uids`: "
                "try again as one of them."
            )
        if isinstance(error, FileNotFoundError | ConnectionRefusedError) and not self.where.startswith("http"):
            return UnavailableError(
                f"no coordinator runs in {self.where}: start one with `ghostwire serve --data {self.where}`, "
                "or name a remote one with --server URL --token T."
            )
        return UnavailableError(f"the coordinator at {self.where} does not answer: {error or type(error).__name__}.")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        # A socket's address holds 107 bytes; through its folder's descriptor any path fits.
        try:
            folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{folder}/{self._path.name}")
            finally:
                os.close(folder)
        except BaseException:
            connection.close()
            raise
        self.sock = connection


class _PinnedConnection(http.client.HTTPSConnection):
    """TLS that trusts a pin (SHA-256 of the server's SPKI) instead of names, or without one the system's roots."""

    def __init__(self, host: str, port: int, pin: str | None) -> None:
        context = ssl.create_default_context()
        self._pin = parse_pin(pin) if pin is not None else None
        if self._pin is not None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        super().__init__(host, port, timeout=TIMEOUT_S, context=context)

    def connect(self) -> None:
        super().connect()
        if self._pin is None:
            return
        seen = spki_pin(self.sock.getpeercert(binary_form=True) or b"")
        if not hmac.compare_digest(seen, self._pin):
            self.close()
            raise AuthenticationError(
                f"{self.host}:{self.port} is not the coordinator of this pin: it shows sha256:{seen.hex()}. "
                "Compare with `ghostwire server status` on the server."
            )


def parse_pin(text: str) -> bytes:
    """Read `sha256:` and 64 hexadecimal digits."""
    head, _, digits = text.partition(":")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if head != "sha256" or len(raw) != 32:
        raise click.UsageError("--pin wants sha256: and 64 hexadecimal digits.")
    return raw


def spki_pin(certificate: bytes) -> bytes:
    """SHA-256 of the public key info of a DER certificate (RFC 7469, section 2.4)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def is_loopback(host: str) -> bool:
    """Whether a host names this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(status: int, text: bytes) -> GhostwireError:
    """The error that a problem document (RFC 9457) names, by its `code` or else by the status."""
    try:
        problem = json.loads(text)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return WireError(f"the coordinator answered with status {status} and no explanation.")
    classes = {kind.code: kind for kind in GhostwireError.__subclasses__()}
    kind = classes.get(problem.get("code", ""), _BY_STATUS.get(status, InternalError))
    message = str(problem.get("detail") or problem.get("title") or f"status {status}")
    return kind(message, retry_after=problem.get("retry_after"))


_BY_STATUS: dict[int, type[GhostwireError]] = {
    400: errors.ValidationError,
    401: AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.ValidationError,
    429: errors.ResourceExhaustedError,
    503: UnavailableError,
}
