"""What an agent must know after a restart."""

from __future__ import annotations

import msgspec


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """A node's identity and standing. Times are UTC nanoseconds, 0 for never.

    `origin` is the coordinator as dialled; `pin` SHA-256 of its public key info, empty where the system's certificate
    authorities vouch for it. `next_private` is a node key that a rotation may have put in force: it is kept before the
    coordinator is asked, since a lost answer would otherwise lose the node. `node` is 0 until a first session stood.
    `contact` is when the coordinator was last heard, `highest` the highest time seen, `name` the name last held.
    """

    origin: str
    node_private: bytes
    machine_private: bytes
    pin: bytes = b""
    next_private: bytes = b""
    token: str | None = None
    node: int = 0
    name: str = ""
    key_born: int = 0
    contact: int = 0
    highest: int = 0

    def __repr__(self) -> str:
        return f"<Memory of node {self.node} at {self.origin}>"
