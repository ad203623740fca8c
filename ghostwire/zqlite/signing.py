"""The store's signing keys: one random secret, kept in the file wrapped, from which each use has a key of its own.

They go with the store into its backups and replicas, so that what it has signed still verifies after a restore, a
promotion and a change of the root key. Backups are the exception: their signer follows from the root key, which is
there when the store is not.

What is committed together ends with an Ed25519 signature (`zq_group`) over the newest row's epoch, number and hash: by
the chain it vouches for every row before it.
"""

from __future__ import annotations

import contextlib
import secrets
import struct
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ghostwire._native import token
from ghostwire.errors import DatabaseError
from ghostwire.zqlite import changelog, keyring
from ghostwire.zqlite.composite import SigningKey, VerifyingKey

if TYPE_CHECKING:
    from ghostwire.zqlite.applier import Applier

META: Final = "signing"
"""Where the store's own table keeps the wrapped secret."""
FORMER: Final = "signers"
"""Where it keeps the public keys that were rotated away: pairs of one for heads and one for commits."""
HEADS: Final = "heads"
"""The use of the key that signs heads."""
KIND: Final = "zqlite.signer"

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


class Signer:
    """A store's signing keys. `store` is its id, `former` what it keeps of the keys that were rotated away."""

    __slots__ = ("_former", "_group", "_secret", "_store")

    def __init__(self, store: bytes, secret: bytes, former: bytes | None = None) -> None:
        self._store = store
        self._secret = secret
        self._group = Ed25519PrivateKey.from_private_bytes(token.derive_key(_GROUP_KEY, secret))
        self._former = msgspec.msgpack.decode(former, type=list[tuple[bytes, bytes]]) if former else []

    def key(self, use: str) -> SigningKey:
        """The composite key for one use."""
        return SigningKey(keyring.signing_seed(self._secret, use))

    @property
    def head_keys(self) -> tuple[VerifyingKey, ...]:
        """The public keys under which heads were signed, the one in use first."""
        return self.key(HEADS).public, *(VerifyingKey.from_bytes(head) for head, _ in reversed(self._former))

    def rotated(self) -> tuple[Signer, dict[str, bytes]]:
        """A signer under a fresh secret that still knows these keys, and the settings that keep it, in the clear."""
        secret = new_secret()
        mine = (self.key(HEADS).public.data, self._group.public_key().public_bytes_raw())
        former = msgspec.msgpack.encode([*self._former, mine])
        return Signer(self._store, secret, former), {META: secret, FORMER: former}

    def sign(self, epoch: int, seq: int, digest: bytes) -> bytes:
        """64 bytes for the commit that ends with this row."""
        return self._group.sign(self._message(epoch, seq, digest))

    def check(self, signature: bytes, epoch: int, seq: int, digest: bytes) -> None:
        """Raise DatabaseError that names the row unless one of the store's keys made the signature."""
        message = self._message(epoch, seq, digest)
        keys = [self._group.public_key()]
        keys += [Ed25519PublicKey.from_public_bytes(group) for _, group in reversed(self._former)]
        for key in keys:
            with contextlib.suppress(InvalidSignature):
                key.verify(signature, message)
                return
        raise DatabaseError(f"the signature of the commit that ends with row {seq} does not hold: the log was changed")

    def _message(self, epoch: int, seq: int, digest: bytes) -> bytes:
        return b"".join((_GROUP, self._store, _numbers(epoch, seq), digest))


def rotate(applier: Applier, wrapping_key: bytes) -> None:
    """Sign under a fresh secret from now on; the log says so. Called by the writer between commits."""
    mark, before = applier.mark(), applier.signer
    signer, settings = before.rotated()
    applier.own("BEGIN IMMEDIATE")
    try:
        kept = {**settings, META: wrap(settings[META], wrapping_key)}
        for name, value in kept.items():
            applier.own("INSERT OR REPLACE INTO main.zq_meta VALUES (?, ?)", (name, value))
        told = {"heads": signer.key(HEADS).public.fingerprint}
        applier.append(KIND, "", changelog.event_body("", told))
        applier.signer = signer
        applier.commit()
    except BaseException:
        if applier.connection.in_transaction:
            applier.own("ROLLBACK")
        applier.signer = before
        applier.restore(mark)
        raise
