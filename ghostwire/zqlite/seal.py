"""Sealing a file key to recipients: HPKE base mode (RFC 9180) with X-Wing, HKDF-SHA256 and AES-256-GCM.

X-Wing joins ML-KEM-768 and X25519: what is sealed stays closed while either holds. A recipient's private key is the
32-byte seed of X-Wing, which SHAKE-256 stretches to both halves; the public key is ML-KEM's, then X25519's (1,216
bytes in all).
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ghostwire._native import token
from ghostwire.errors import PermissionDeniedError, ValidationError

SEED_BYTES: Final = 32
PUBLIC_BYTES: Final = 1184 + 32
FILE_KEY_BYTES: Final = 32

_LATTICE_PUBLIC: Final = 1184
_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_LABEL: Final = b"ghostwire zqlite 2026 file key"
_scope = struct.Struct(">QQQ").pack


@dataclass(frozen=True, slots=True)
class Scope:
    """What a file key is for; it opens under no other: the network's id, the epoch, and rows `first` to `last`."""

    network: bytes
    epoch: int
    first: int
    last: int

    @property
    def info(self) -> bytes:
        """The `info` of HPKE: label and network id with their lengths, then the numbers, 8 bytes each."""
        return b"".join(
            (
                bytes((len(_LABEL),)),
                _LABEL,
                bytes((len(self.network),)),
                self.network,
                _scope(self.epoch, self.first, self.last),
            )
        )


class Recipient:
    """A public key that file keys are sealed to."""

    def __init__(self, data: bytes) -> None:
        if len(data) != PUBLIC_BYTES:
            raise ValidationError(f"a recipient's public key has {PUBLIC_BYTES} bytes, not {len(data)}")
        try:
            lattice = MLKEM768PublicKey.from_public_bytes(data[:_LATTICE_PUBLIC])
        except ValueError as error:
            raise ValidationError("these bytes are no recipient's public key") from error
        self.data = data
        self._key = hpke.MLKEM768X25519PublicKey(lattice, X25519PublicKey.from_public_bytes(data[_LATTICE_PUBLIC:]))

    @property
    def fingerprint(self) -> bytes:
        """BLAKE3 of the key: what names the recipient."""
        return token.blake3(self.data)

    def seal(self, file_key: bytes, scope: Scope) -> bytes:
        """The file key, closed to all but this recipient: 1,168 bytes, fresh each time."""
        return _SUITE.encrypt(file_key, self._key, info=scope.info)


class Identity:
    """A recipient's private key."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValidationError(f"a recipient's private key has {SEED_BYTES} bytes, not {len(seed)}")
        stretched = hashlib.shake_256(seed).digest(96)
        lattice = MLKEM768PrivateKey.from_seed_bytes(stretched[:64])
        curve = X25519PrivateKey.from_private_bytes(stretched[64:])
        self._key = hpke.MLKEM768X25519PrivateKey(lattice, curve)
        self.public = Recipient(lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> tuple[Self, bytes]:
        """A fresh key and the seed to keep it by."""
        seed = secrets.token_bytes(SEED_BYTES)
        return cls(seed), seed

    def open(self, sealed: bytes, scope: Scope) -> bytes:
        """The file key. Raises PermissionDeniedError when it was sealed to another key, or for another scope."""
        try:
            return _SUITE.decrypt(sealed, self._key, info=scope.info)
        except (InvalidTag, ValueError):
            raise PermissionDeniedError(
                "the sealed key does not open: it is for another recipient or another part of the log, or was changed"
            ) from None
