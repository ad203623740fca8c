"""What `ghostwire status` shows of a node. The shape is an interface: scripts read it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ghostwire.agent.machine import Machine
from ghostwire.errors import UnavailableError, WireError
from ghostwire.model.keys import NodeKey
from ghostwire.model.position import Position
from ghostwire.wire.keys import public_key
from ghostwire.wire.netmap import NetMap, Peer

SESSION_S: Final = 180.0
"""A WireGuard session without a new handshake is dead after this (REJECT_AFTER_TIME, section 6.1 of its paper)."""


class PeerCounters(msgspec.Struct, frozen=True):
    """What the tunnel knows of one peer, since the tunnel or the peer is there."""

    id: int
    endpoint: str | None = None
    last_handshake_s: float | None = None
    handshakes: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rtt_ms: float | None = None

    @property
    def alive(self) -> bool:
        """Whether packets go through now."""
        return self.last_handshake_s is not None and self.last_handshake_s < SESSION_S


def document(machine: Machine, mode: str, counters: Mapping[int, PeerCounters]) -> dict[str, Any]:
    """The whole document, of values that JSON has."""
    netmap = machine.netmap
    key = str(NodeKey(public_key(machine.memory.node_private)))
    own = {"name": machine.memory.name, "ipv4": "", "ipv6": "", "key": key}
    with contextlib.suppress(WireError, KeyError):
        node = netmap.own()
        own |= {"name": node.name, "ipv4": node.ipv4, "ipv6": node.ipv6}
    return {
        "mode": mode,
        "self": own,
        "coordinator": {
            "url": machine.memory.origin,
            "connected": machine.phase == "live",
            "position": None if netmap.position is None else spell(netmap.position),
            "digest": netmap.digest.hex(),
            "from_cache": machine.from_cache,
        },
        "peers": [
            _peer(peer, counters.get(peer.id), machine.halted)
            for peer in peers(netmap)
            if not machine.plan.has_ended(peer)
        ],
    }


def peers(netmap: NetMap) -> list[Peer]:
    """The peers that can be read, by name."""
    found = []
    for node in netmap.peers:
        with contextlib.suppress(WireError):
            found.append(netmap.peer(node))
    return sorted(found, key=lambda peer: (peer.name, peer.id))


def spell(position: Position) -> str:
    """A position as one word: what lasts, then what is volatile."""
    return f"{position.log.hex()[:8]}:{position.seq}+{position.boot.hex()[:8]}:{position.vseq}"


def find_peer(machine: Machine, wanted: str) -> Peer | None:
    """The peer with this name (alone or within the domain) or address, None for nobody.

    Raises `UnavailableError` while there is no map, `WireError` for one that can't be read.
    """
    if not machine.netmap.parts:
        raise UnavailableError("this node has no map yet: it waits for the coordinator")
    domain = machine.netmap.network().domain
    name = wanted.lower().rstrip(".").removesuffix(f".{domain}")
    known = peers(machine.netmap)
    return next((peer for peer in known if wanted in (peer.ipv4, peer.ipv6) or peer.name == name), None)


def _peer(peer: Peer, known: PeerCounters | None, halted: bool) -> dict[str, Any]:
    known = known or PeerCounters(peer.id)
    return {
        "name": peer.name,
        "ipv4": peer.ipv4,
        "ipv6": peer.ipv6,
        "online": peer.online,
        "path": "direct" if known.alive else "none",
        "reason": "" if known.alive else reason(peer, known, halted),
        "endpoint": known.endpoint,
        "last_handshake_s": None if known.last_handshake_s is None else round(known.last_handshake_s, 3),
        "rtt_ms": None if known.rtt_ms is None else round(known.rtt_ms, 3),
        "rx_bytes": known.rx_bytes,
        "tx_bytes": known.tx_bytes,
    }


def reason(peer: Peer, known: PeerCounters, halted: bool) -> str:
    """Why no packets go to a peer now."""
    if halted:
        return "all peers are cut: the coordinator has been away too long, or refuses this node"
    if not peer.online and not peer.endpoints:
        return "it is offline"
    if not peer.endpoints and known.endpoint is None:
        return "it has no endpoint that this node could reach"
    if known.last_handshake_s is not None:
        return "idle: nothing was exchanged for a while"
    if known.tx_bytes:
        return "it does not answer at any of its endpoints"
    return "idle: nothing was sent lately"
