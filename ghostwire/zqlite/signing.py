"""The store's signing keys: one random secret, kept in the file wrapped, from which each use has a key of its own.

They go with the store into its backups and replicas, so that what it has signed still verifies after a restore, a
promotion and a change of the root key. Backups are the exception: their signer follows from the root key, which is
there when the store is not.

What is committed together ends with an Ed25519 signature (`zq_group`) over the newest row's epoch, number and hash: by
the chain it vouches for every row before it.
"""

from __future__ import annotations

import secrets
import struct
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ghostwire._native import token
from ghostwire.errors import DatabaseError
from ghostwire.zqlite import keyring
from ghostwire.zqlite.composite import SigningKey, VerifyingKey

META: Final = "signing"
"""Where the store's own table keeps the wrapped secret."""
FORMER: Final = "signers"
"""Where it keeps the public keys for heads that were rotated away."""

_WRAP: Final = b"ghostwire zqlite signing secret"
_GROUP: Final = b"ghostwire zqlite group 1\0"
_GROUP_KEY: Final = "ghostwire zqlite 2026 signing groups Ed25519"
_numbers = struct.Struct(">QQ").pack


def new_secret() -> bytes:
    """A fresh secret."""
    return secrets.token_bytes(32)


def wrap(secret: bytes, wrapping_key: bytes) -> bytes:
    """The secret, closed under a key."""
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(wrapping_key).encrypt(nonce, secret, _WRAP)


def unwrap(wrapped: bytes, wrapping_key: bytes) -> bytes:
    """The reverse of `wrap`. Raises DatabaseError when it does not open."""
    try:
        return AESGCM(wrapping_key).decrypt(wrapped[:12], wrapped[12:], _WRAP)
    except InvalidTag as error:
        raise DatabaseError("the store's signing secret does not open: the file was changed") from error


def composite(secret: bytes, use: str) -> SigningKey:
    """The composite key for one use."""
    return SigningKey(keyring.signing_seed(secret, use))


def former(data: bytes | None) -> tuple[VerifyingKey, ...]:
    """The public keys for heads that were rotated away."""
    return tuple(map(VerifyingKey.from_bytes, msgspec.msgpack.decode(data, type=list[bytes]))) if data else ()


def encode_former(keys: tuple[VerifyingKey, ...]) -> bytes:
    """The reverse of `former`."""
    return msgspec.msgpack.encode([key.data for key in keys])


class GroupKey:
    """Signs what is committed together. `store` is the store's id."""

    __slots__ = ("_private", "_store")

    def __init__(self, store: bytes, secret: bytes) -> None:
        self._store = store
        self._private = Ed25519PrivateKey.from_private_bytes(token.derive_key(_GROUP_KEY, secret))

    @property
    def public(self) -> Ed25519PublicKey:
        """What checks its signatures."""
        return self._private.public_key()

    def sign(self, epoch: int, seq: int, digest: bytes) -> bytes:
        """64 bytes for the group that ends with this row."""
        return self._private.sign(self._message(epoch, seq, digest))

    def check(self, signature: bytes, epoch: int, seq: int, digest: bytes) -> None:
        """Raise DatabaseError that names the row unless the signature is this key's."""
        try:
            self.public.verify(signature, self._message(epoch, seq, digest))
        except InvalidSignature:
            raise DatabaseError(
                f"the signature of the commit that ends with row {seq} does not hold: the log was changed"
            ) from None

    def _message(self, epoch: int, seq: int, digest: bytes) -> bytes:
        return b"".join((_GROUP, self._store, _numbers(epoch, seq), digest))
