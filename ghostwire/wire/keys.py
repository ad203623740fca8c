"""X25519: keys from bytes handed in, their validation, and agreement (RFC 7748)."""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ghostwire.errors import ValidationError

_P: Final = 2**255 - 19
_LOW_ORDER: Final = frozenset(
    {
        0,
        1,
        # The two points of order eight.
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P - 1,
    }
)


def validate_public_key(raw: bytes) -> bytes:
    """Return `raw` if it is a usable X25519 public key.

    Raises `ValidationError` for a wrong length, zero, a point of low order, or an encoding that is not canonical
    (RFC 7748 section 5 lets others read such; a coordinator that took them would give one point two identities).
    """
    if len(raw) != 32:
        raise ValidationError(f"an X25519 public key has 32 bytes, not {len(raw)}")
    u = int.from_bytes(raw, "little")
    if u >= _P:
        raise ValidationError("the public key is not in canonical form")
    if u in _LOW_ORDER:
        raise ValidationError("the public key is of low order: make a new key pair")
    return raw


def clamp(raw: bytes) -> bytes:
    """A private key from 32 random bytes, in the form that WireGuard's tools print."""
    if len(raw) != 32:
        raise ValidationError(f"an X25519 private key has 32 bytes, not {len(raw)}")
    key = bytearray(raw)
    key[0] &= 248
    key[31] = (key[31] & 127) | 64
    return bytes(key)


def public_key(private: bytes) -> bytes:
    """The public half of a private key."""
    if len(private) != 32:
        raise ValidationError(f"an X25519 private key has 32 bytes, not {len(private)}")
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def check_pair(private: bytes, public: bytes) -> None:
    """Raise `ValidationError` unless `public` is the public half of `private`."""
    if not equal(public_key(private), public):
        raise ValidationError("the private and the public key do not belong together")


class Agreement:
    """X25519 agreement of one private key with many public ones: loading a key costs as much as agreeing does."""

    __slots__ = ("_private",)

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)

    def __repr__(self) -> str:
        return "<Agreement>"

    def secret(self, public: bytes) -> bytes:
        """The shared secret. Raises `ValidationError` for all zeros and for keys that `validate_public_key` refuses."""
        validate_public_key(public)
        try:
            secret = self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise ValidationError("the agreement gave no secret: the public key is of low order") from error
        if equal(secret, bytes(32)):
            raise ValidationError("the agreement gave no secret: the public key is of low order")
        return secret


def shared_secret(private: bytes, public: bytes) -> bytes:
    """X25519 agreement, once. Raises what `Agreement.secret` does."""
    return Agreement(private).secret(public)


def equal(a: bytes, b: bytes) -> bool:
    """Compare in time that depends on the lengths only."""
    return hmac.compare_digest(a, b)
