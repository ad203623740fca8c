"""KeyExchange: what the coordinator does with keys, over the agreement that `ghostwire.wire` defines."""

from __future__ import annotations

from ghostwire.errors import ValidationError
from ghostwire.model.keys import MachineKey, NodeKey, NodePrivateKey
from ghostwire.wire import keys


class KeyExchange:
    """X25519 keys as values of their roles (RFC 7748). It holds nothing and draws no randomness."""

    @staticmethod
    def node_key(raw: bytes) -> NodeKey:
        """A usable node key. Raises `ValidationError`: wrong length, zero, low order, not canonical."""
        return NodeKey(keys.validate_public_key(raw))

    @staticmethod
    def machine_key(raw: bytes) -> MachineKey:
        """A usable machine key. Raises `ValidationError` like `node_key`."""
        return MachineKey(keys.validate_public_key(raw))

    @staticmethod
    def pair(random: bytes) -> tuple[NodePrivateKey, NodeKey]:
        """A key pair from 32 random bytes. Raises `ValidationError` for another length or bytes that are all equal."""
        if len(random) == 32 and len(set(random)) == 1:
            raise ValidationError("these bytes are not random")
        private = keys.clamp(random)
        return NodePrivateKey(private), NodeKey(keys.public_key(private))

    @staticmethod
    def check_pair(private: NodePrivateKey, public: NodeKey) -> None:
        """Raise `ValidationError` unless the two belong together."""
        keys.check_pair(private.raw, public.raw)

    @staticmethod
    def shared_secret(private: NodePrivateKey, public: NodeKey) -> bytes:
        """Agreement. Raises `ValidationError` for unusable keys and for a result that is all zero."""
        return keys.shared_secret(private.raw, public.raw)

    @staticmethod
    def equal(a: bytes, b: bytes) -> bool:
        """Compare in time that depends on the lengths only."""
        return keys.equal(a, b)
