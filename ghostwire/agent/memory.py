"""What an agent must know after a restart."""

from __future__ import annotations

import msgspec

from ghostwire.model.position import Position
from ghostwire.wire.netmap import NetMap


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """A node's identity and standing. Times are UTC nanoseconds, 0 for never.

    `origin` is the coordinator as dialled; `pin` SHA-256 of its public key info, empty where the system's certificate
    authorities vouch for it. `next_private` is a node key that a rotation may have put in force: it is kept before the
    coordinator is asked, since a lost answer would otherwise lose the node. `node` is 0 until a first session stood.
    `contact` is when the coordinator was last heard, `highest` the highest time seen, `name` the name last held,
    `facts` what the coordinator was told of the machine (MessagePack), `heads` the signed heads of its log that are
    held (`ghostwire.agent.heads`).
    """

    origin: str
    node_private: bytes
    machine_private: bytes
    pin: bytes = b""
    next_private: bytes = b""
    token: str | None = None
    node: int = 0
    name: str = ""
    facts: bytes = b""
    key_born: int = 0
    contact: int = 0
    highest: int = 0
    heads: bytes = b""

    def __repr__(self) -> str:
        return f"<Memory of node {self.node} at {self.origin}>"


class KeptMap(msgspec.Struct, frozen=True, array_like=True):
    """A map as it is kept: its parts by name, id of peer and id of owner, each the bytes that the digest covers."""

    position: Position | None
    parts: dict[str, bytes]
    peers: dict[int, bytes]
    profiles: dict[int, bytes]

    @classmethod
    def of(cls, netmap: NetMap) -> KeptMap:
        """What `netmap` holds now; it may go on changing."""
        return cls(netmap.position, dict(netmap.parts), dict(netmap.peers), dict(netmap.profiles))

    def restore(self) -> NetMap:
        """The map again. Raises `WireError`."""
        return NetMap.load(msgspec.msgpack.encode(self))
