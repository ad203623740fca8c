"""Desired against actual: the steps that bring the tunnel from what it was told to what the map says now.

Work is proportional to what changed: parts that are the same bytes are not read again.
"""

from __future__ import annotations

import msgspec

from ghostwire.wire.netmap import NetMap, Peer, SelfNode


class SetSelf(msgspec.Struct, frozen=True):
    """Take this name, these addresses, class and owner as the node's own."""

    node: SelfNode


class SetKey(msgspec.Struct, frozen=True):
    """Take this private key; running sessions are made anew under it."""

    private: bytes

    def __repr__(self) -> str:
        return "<SetKey redacted>"


class SetFilter(msgspec.Struct, frozen=True):
    """Judge inbound packets by these rules (MessagePack, as in the map); running flows are judged again."""

    rules: bytes


class SetPeer(msgspec.Struct, frozen=True):
    """Add a peer or change what is known of it (also its key, after a rotation). `domain` completes its name."""

    peer: Peer
    domain: str

    @property
    def allowed_ips(self) -> tuple[str, ...]:
        """The addresses that packets from and to this peer may carry."""
        own = tuple(f"{address}/{bits}" for address, bits in ((self.peer.ipv4, 32), (self.peer.ipv6, 128)) if address)
        return own + self.peer.routes

    @property
    def names(self) -> tuple[str, ...]:
        """What the peer is called: its name, and its name within the domain."""
        return (self.peer.name, f"{self.peer.name}.{self.domain}") if self.domain else (self.peer.name,)


class DropPeer(msgspec.Struct, frozen=True):
    """Cut a peer at once: handshakes, session keys, flows."""

    id: int


Step = SetSelf | SetKey | SetFilter | SetPeer | DropPeer


class Plan:
    """What the tunnel was told, and what to tell it next."""

    __slots__ = ("_domain", "_ends", "_filter", "_key", "_peers", "_rule_ends", "_self")

    def __init__(self) -> None:
        self._key = b""
        self._self = b""
        self._filter = b""
        self._domain = ""
        self._peers: dict[int, bytes] = {}
        self._ends: dict[int, int] = {}
        self._rule_ends: tuple[int, ...] = ()

    def next_end(self, utc: int) -> int:
        """The UTC nanosecond at which the next peer or rule ends by itself, 0 for none."""
        return min((end for end in (*self._ends.values(), *self._rule_ends) if end > utc), default=0)

    def cuts(self, netmap: NetMap) -> bool:
        """Whether the map takes something away that the tunnel grants now, so that it must be told at once."""
        return netmap.parts.get("filter", b"") != self._filter or not self._peers.keys() <= netmap.peers.keys()

    def steps(self, netmap: NetMap, private: bytes, utc: int, halted: bool) -> tuple[Step, ...]:
        """What to do now. `halted`: no peer may be reached, whatever the map says. Raises `WireError`."""
        steps: list[Step] = []
        if private != self._key:
            steps.append(SetKey(private))
            self._key = private
        if not netmap.parts:
            return tuple(steps)
        # Cuts come first: an address may have moved from one peer to another.
        for node in [node for node in self._peers if halted or node not in netmap.peers]:
            steps.append(self._drop(node))
        if netmap.parts["self"] != self._self:
            steps.append(SetSelf(netmap.own()))
            self._self = netmap.parts["self"]
        if netmap.parts["filter"] != self._filter:
            self._filter = netmap.parts["filter"]
            self._rule_ends = tuple(rule.until for rule in netmap.rules() if rule.until)
            steps.append(SetFilter(self._filter))
        if not halted:
            steps += self._set_peers(netmap, utc)
        return tuple(steps)

    def _set_peers(self, netmap: NetMap, utc: int) -> list[Step]:
        cuts: list[Step] = []
        sets: list[Step] = []
        domain = netmap.network().domain
        renamed, self._domain = domain != self._domain, domain
        for node, end in list(self._ends.items()):
            if end <= utc and self._peers.get(node) is not None:
                cuts.append(self._drop(node))
        for node, part in netmap.peers.items():
            if self._peers.get(node) == part and not renamed:
                continue
            peer = netmap.peer(node)
            if 0 < peer.until <= utc:
                if node in self._peers:
                    cuts.append(self._drop(node))
                continue
            sets.append(SetPeer(peer, domain))
            self._peers[node] = part
            if peer.until:
                self._ends[node] = peer.until
            else:
                self._ends.pop(node, None)
        return cuts + sets

    def _drop(self, node: int) -> DropPeer:
        del self._peers[node]
        self._ends.pop(node, None)
        return DropPeer(node)
