"""Where the server under test is, and how its nodes get there: with TLS or without."""

from __future__ import annotations

import ssl
from functools import lru_cache

import msgspec

from ghostwire.agent.io.connection import spki_hash


class Door(msgspec.Struct, frozen=True):
    """One server's address."""

    host: str
    port: int
    tls: bool = False

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """As nodes dial it."""
        return f"http{'s' if self.tls else ''}://{self.authority}"

    @property
    def context(self) -> ssl.SSLContext | None:
        """What TLS takes; None without. Whoever answers is believed: a node's proof names the certificate it saw."""
        return _context() if self.tls else None


def spki_seen(connection: ssl.SSLObject | ssl.SSLSocket | None) -> bytes:
    """SHA-256 of the public key info of the certificate that was shown; empty without TLS."""
    return b"" if connection is None else _spki(connection.getpeercert(binary_form=True) or b"")


@lru_cache(1)
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@lru_cache(8)
def _spki(certificate: bytes) -> bytes:
    return spki_hash(certificate)
