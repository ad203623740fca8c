"""Composite signatures: ML-DSA-65 and Ed25519 over one message, valid only if both are.

The construction is id-MLDSA65-Ed25519-SHA512 (OID 1.3.6.1.5.5.7.6.48) of draft-ietf-lamps-pq-composite-sigs: both
halves sign `prefix || label || length of ctx || ctx || SHA-512(message)`, the ML-DSA half with the label as its own
context. A forger has to break both algorithms. Private keys are kept as seeds: 32 bytes of ML-DSA, then 32 of Ed25519.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from ghostwire._native import token
from ghostwire.errors import AuthenticationError, ValidationError

SEED_BYTES: Final = 64
PUBLIC_BYTES: Final = 1952 + 32
SIGNATURE_BYTES: Final = 3309 + 64

_PREFIX: Final = b"CompositeAlgorithmSignatures2025"
_LABEL: Final = b"COMPSIG-MLDSA65-Ed25519-SHA512"
_LATTICE_PUBLIC: Final = 1952
_LATTICE_SIGNATURE: Final = 3309


class VerifyingKey:
    """The public half: 1,984 bytes."""

    def __init__(self, lattice: MLDSA65PublicKey, curve: Ed25519PublicKey) -> None:
        self._lattice = lattice
        self._curve = curve

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The key that `data` spells. Raises ValidationError when it spells none."""
        if len(data) != PUBLIC_BYTES:
            raise ValidationError(f"a public signing key has {PUBLIC_BYTES} bytes, not {len(data)}")
        try:
            return cls(
                MLDSA65PublicKey.from_public_bytes(data[:_LATTICE_PUBLIC]),
                Ed25519PublicKey.from_public_bytes(data[_LATTICE_PUBLIC:]),
            )
        except ValueError as error:
            raise ValidationError("these bytes are no public signing key") from error

    @property
    def data(self) -> bytes:
        """ML-DSA's public key, then Ed25519's."""
        return self._lattice.public_bytes_raw() + self._curve.public_bytes_raw()

    @property
    def fingerprint(self) -> bytes:
        """BLAKE3 of the key: what names it."""
        return token.blake3(self.data)

    def verify(self, signature: bytes, message: bytes, ctx: bytes) -> None:
        """Check a signature that was made for the use `ctx`. Raises AuthenticationError unless both halves hold."""
        told = _representative(message, ctx)
        if len(signature) != SIGNATURE_BYTES:
            raise AuthenticationError(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
        try:
            self._lattice.verify(signature[:_LATTICE_SIGNATURE], told, _LABEL)
            self._curve.verify(signature[_LATTICE_SIGNATURE:], told)
        except InvalidSignature:
            raise AuthenticationError(
                "the signature does not hold: other content, another key or another use"
            ) from None


class SigningKey:
    """The private half. One key serves one use, whose name is the `ctx` of its signatures."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValidationError(f"a signing key is {SEED_BYTES} bytes, not {len(seed)}")
        self._lattice = MLDSA65PrivateKey.from_seed_bytes(seed[:32])
        self._curve = Ed25519PrivateKey.from_private_bytes(seed[32:])

    @classmethod
    def generate(cls) -> tuple[Self, bytes]:
        """A fresh key and the seed to keep it by."""
        seed = secrets.token_bytes(SEED_BYTES)
        return cls(seed), seed

    @property
    def public(self) -> VerifyingKey:
        """What checks its signatures."""
        return VerifyingKey(self._lattice.public_key(), self._curve.public_key())

    def sign(self, message: bytes, ctx: bytes) -> bytes:
        """3,373 bytes. `ctx` (255 bytes at most) names the use: a signature for another use does not verify."""
        told = _representative(message, ctx)
        return self._lattice.sign(told, _LABEL) + self._curve.sign(told)


def _representative(message: bytes, ctx: bytes) -> bytes:
    if len(ctx) > 255:
        raise ValidationError(f"the context of a signature has {len(ctx)} bytes: 255 at most")
    return b"".join((_PREFIX, _LABEL, bytes((len(ctx),)), ctx, hashlib.sha512(message).digest()))
