"""Keys, one type per role, so that one can't be used for another. Private ones redact themselves.

Validation and agreement live in `ghostwire.wire.keys`; these types only carry 32 bytes.
"""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec

from ghostwire.errors import ValidationError


class _PublicKey(msgspec.Struct, frozen=True, order=True):
    raw: bytes
    prefix: ClassVar[str] = "key"

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise ValidationError(f"a {type(self).__name__} has 32 bytes, not {len(self.raw)}")

    def __hash__(self) -> int:
        return hash(self.raw)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `prefix:` and 64 hexadecimal digits, as `str` writes it."""
        head, _, digits = text.partition(":")
        try:
            raw = bytes.fromhex(digits)
        except ValueError:
            raw = b""
        if head != cls.prefix or len(raw) != 32:
            raise ValidationError(f"expected {cls.prefix}: and 64 hexadecimal digits")
        return cls(raw)

    def __str__(self) -> str:
        return f"{self.prefix}:{self.raw.hex()}"

    def __repr__(self) -> str:
        return f"<{self.prefix} {self.raw[:4].hex()}…>"


class NodeKey(_PublicKey, frozen=True):
    """A node's WireGuard public key (X25519): its identity in the mesh until rotated."""

    prefix = "nodekey"
    __hash__ = _PublicKey.__hash__


class MachineKey(_PublicKey, frozen=True):
    """The public key of a machine: stays when the node key is rotated."""

    prefix = "mkey"
    __hash__ = _PublicKey.__hash__


class ChallengeKey(_PublicKey, frozen=True):
    """The X25519 key that a coordinator process makes at its start and never stores."""

    prefix = "challenge"
    __hash__ = _PublicKey.__hash__


class _PrivateKey(msgspec.Struct, frozen=True):
    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise ValidationError(f"a {type(self).__name__} has 32 bytes, not {len(self.raw)}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} redacted>"

    __str__ = __repr__


class NodePrivateKey(_PrivateKey, frozen=True):
    """The private half of a node key."""


class MachinePrivateKey(_PrivateKey, frozen=True):
    """The private half of a machine key."""


class ChallengePrivateKey(_PrivateKey, frozen=True):
    """The private half of a challenge key."""
