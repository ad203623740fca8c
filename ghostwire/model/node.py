"""Nodes: machines in the mesh."""

from __future__ import annotations

import sys
from typing import Final, Literal

import msgspec

NodeType = Literal["node", "coordinator", "relay", "exit"]
NodeStatus = Literal["active", "maintenance", "offline"]


_ALIKE: Final = ("node_type", "region", "country", "os", "agent_version", "home_relay", "status")


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The durable part of a node. Times are UTC nanoseconds, 0 for never.

    `id` is stable and never given again; `slot` (below 2**22) indexes sets and arrays and is used again after
    removal. A node has an owner (`user_id`) or `tags`, never both. `key_expiry` is when the node key must be
    renewed; `expired` is set when that has come or an operator ended it. `rotation_ordered`: an operator has asked for
    a new key, which has not come yet. `metadata` is ciphertext of the owner's.
    """

    id: int
    slot: int
    name: str
    node_key: bytes
    machine_key: bytes
    ipv4: str
    ipv6: str
    user_id: int | None = None
    tags: tuple[str, ...] = ()
    ephemeral: bool = False
    node_type: NodeType = "node"
    region: str = ""
    country: str = ""
    os: str = ""
    agent_version: str = ""
    routable_routes: tuple[str, ...] = ()
    approved_routes: tuple[str, ...] = ()
    home_relay: str = ""
    metadata: bytes = b""
    status: NodeStatus = "active"
    created_at: int = 0
    key_expiry: int = 0
    expired: bool = False
    rotation_ordered: bool = False
    preauth_id: int | None = None
    version: int = 1

    def __post_init__(self) -> None:
        """Have nodes that say the same of themselves, or bear the same tags, share the strings that say so."""
        for name in _ALIKE:
            said = getattr(self, name)
            if (shared := sys.intern(said)) is not said:
                msgspec.structs.force_setattr(self, name, shared)
        if self.tags:
            msgspec.structs.force_setattr(self, "tags", tuple(map(sys.intern, self.tags)))


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a machine says of itself when it registers; every string is capped and cleaned at the door."""

    hostname: str = ""
    requested_name: str = ""
    node_type: NodeType = "node"
    region: str = ""
    country: str = ""
    os: str = ""
    agent_version: str = ""
    routable_routes: tuple[str, ...] = ()
    metadata: bytes = b""


class NodeHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A node's liveness. Times in seconds; `last_seen` in UTC nanoseconds, 0 for never."""

    node_id: int
    is_online: bool
    last_seen: int
    time_since_last_heartbeat: float | None
    consecutive_misses: int
    in_grace_period: bool


class NodeMetrics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a heartbeat carries beside being one."""

    load_factor: float = 0.0
    latency_ms: float = 0.0
    uptime_seconds: int = 0
    bandwidth_mbps: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
