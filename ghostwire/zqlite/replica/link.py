"""The link between a primary and its replicas: TLS 1.3 on which both ends show a certificate that the other knows.

Certificates are self-signed and are compared as a whole: no authority, no name and no renewal is needed. What one end
keeps secret is in one file (key and certificate); the certificate alone is what the other end is given.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ghostwire._native import token
from ghostwire.errors import ConflictError, NotFoundError, PermissionDeniedError, ValidationError

SCHEME: Final = "tls"
_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True)
class Link:
    """One end: the file with its own key and certificate, and the files with the certificates of those it talks to."""

    identity: Path
    peers: tuple[Path, ...]

    def context(self, *, server: bool) -> ssl.SSLContext:
        """What both ends prove themselves by.

        Raises NotFoundError or ValidationError for files that are missing or no such thing, PermissionDeniedError when
        others may read the private one.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        if not self.peers:
            raise ValidationError("a link needs the certificate of the other end: give its .pub file")
        try:
            if self.identity.stat().st_mode & 0o077:
                raise PermissionDeniedError(
                    f"others may read the private key {self.identity}: run `chmod 600 {self.identity}`"
                )
            context.load_cert_chain(self.identity)
            for peer in self.peers:
                context.load_verify_locations(cadata=peer.read_text("ascii"))
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no {error.filename or self.identity}: `ghostwire db keygen link`") from error
        except (ssl.SSLError, ValueError) as error:
            raise ValidationError(
                f"{self.identity} or a certificate of a peer is not one: `ghostwire db keygen link` makes both"
            ) from error
        return context


def generate(name: str) -> tuple[bytes, bytes]:
    """A fresh key: the secret file's content, and the certificate's (PEM both)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
        .public_bytes(Encoding.PEM)
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate, certificate


def write(path: Path, name: str) -> bytes:
    """Make `path`.key (0600) and `path`.pub; BLAKE3 of the certificate.

    Raises ConflictError when one exists, PermissionDeniedError when they cannot be made.
    """
    private, public = Path(f"{path}.key"), Path(f"{path}.pub")
    secret, certificate = generate(name)
    for file, data, mode in ((private, secret, 0o600), (public, certificate, 0o644)):
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            raise ConflictError(f"{file} exists: a key is never written over, name another file") from None
        except OSError as error:
            raise PermissionDeniedError(f"cannot make {file}: {error.strerror}") from error
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
    return token.blake3(certificate)


def address(url: str) -> tuple[str, int]:
    """Host and port of `tls://HOST:PORT`. Raises ValidationError for anything else."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != SCHEME or not parts.hostname or port is None or parts.path not in ("", "/"):
        raise ValidationError(f"{url!r} names no primary: write {SCHEME}://HOST:PORT")
    return parts.hostname, port
