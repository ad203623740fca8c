"""The server's certificate: one given in files, or a self-signed one whose key outlives its renewals."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ghostwire.errors import ValidationError

LIFE: Final = timedelta(days=397)
RENEW_BEFORE: Final = timedelta(days=30)
SKEW: Final = timedelta(hours=1)
"""How far a client's clock may be behind the server's."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What clients see: `context` ends their TLS, `spki` is SHA-256 of the public key info that they pin."""

    context: ssl.SSLContext
    spki: bytes
    certificate: Path
    key: Path
    self_signed: bool

    @property
    def pin(self) -> str:
        """The pin as `--pin` takes it."""
        return f"sha256:{self.spki.hex()}"


def from_files(certificate: Path, key: Path) -> Identity:
    """The identity in PEM files. Raises `ValidationError` where they are missing or do not belong together."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        context = _context(certificate, key)
    except (OSError, ValueError, IndexError, ssl.SSLError) as error:
        raise ValidationError(f"{certificate} and {key} are no certificate and its key: {error}") from error
    return Identity(context, _spki(leaf.public_key()), certificate, key, self_signed=False)


def self_signed(directory: Path, names: Sequence[str], now: datetime) -> Identity:
    """The self-signed identity in `directory`, made at first use and renewed there 30 days before its end.

    `names` (hosts and addresses) go into the certificate; when they change it is issued anew. The key stays, and with
    it the pin.
    """
    key_file, certificate_file = directory / "tls.key", directory / "tls.crt"
    key = _load_or_make_key(key_file)
    if not _still_good(certificate_file, key, names, now):
        certificate = _issue(key, names, now)
        _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return Identity(
        _context(certificate_file, key_file), _spki(key.public_key()), certificate_file, key_file, self_signed=True
    )


def renew(identity: Identity, names: Sequence[str], now: datetime) -> bool:
    """Reissue a self-signed certificate that is near its end, for connections from now on. True if it was."""
    key = _load_or_make_key(identity.key)
    if not identity.self_signed or _still_good(identity.certificate, key, names, now):
        return False
    _write(identity.certificate, _issue(key, names, now).public_bytes(serialization.Encoding.PEM), 0o644)
    identity.context.load_cert_chain(identity.certificate, identity.key)
    return True


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0
    context.load_cert_chain(certificate, key)
    return context


def _load_or_make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if path.exists():
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise ValidationError(f"{path} is no private key: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValidationError(f"{path} is not the key that this server made: move it away, or use --tls-key")
        return key
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(path, pem, 0o600)
    return key


def _still_good(path: Path, key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime) -> bool:
    if not path.exists():
        return False
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    return (
        certificate.public_key() == key.public_key()
        and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE
        and set(found) == set(_alternative(names))
    )


def _issue(key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ghostwire coordinator")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName(_alternative(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _alternative(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _spki(key: object) -> bytes:
    der = key.public_bytes(  # type: ignore[attr-defined]  # each kind of public key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).digest()


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write the file whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)
    draft.replace(path)


def valid_until(identity: Identity) -> datetime:
    """When the certificate that new connections see ends."""
    return x509.load_pem_x509_certificate(identity.certificate.read_bytes()).not_valid_after_utc
