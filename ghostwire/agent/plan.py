"""Desired against actual: the steps that bring the tunnel from what it was told to what the map says now.

Work is proportional to what changed: parts that are the same bytes are not read again.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ghostwire.errors import WireError
from ghostwire.model.filter import FilterRule, SightEnd
from ghostwire.wire.netmap import Filter, NetMap, Peer, SelfNode


class SetSelf(msgspec.Struct, frozen=True):
    """Take this name, these addresses, class and owner as the node's own."""

    node: SelfNode


class SetKey(msgspec.Struct, frozen=True):
    """Take this private key; running sessions are made anew under it."""

    private: bytes

    def __repr__(self) -> str:
        return "<SetKey redacted>"


class SetFilter(msgspec.Struct, frozen=True):
    """Judge inbound packets by these rules; running flows are judged again."""

    rules: tuple[FilterRule, ...]


class SetPeer(msgspec.Struct, frozen=True):
    """Add a peer or change what is known of it (also its key, after a rotation). `domain` completes its name.

    It ends by itself at `until` (UTC nanoseconds, 0 for never).
    """

    peer: Peer
    domain: str
    until: int = 0

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


class Ends:
    """Until when peers are shown, as the filter's part of a map says."""

    __slots__ = ("_classes", "_nodes")

    def __init__(self, told: tuple[SightEnd, ...] = ()) -> None:
        self._classes = {class_id: end.until for end in told for class_id in end.classes}
        self._nodes = {node: end.until for end in told for node in end.nodes}

    def of(self, node: int, class_id: int) -> int:
        """The UTC nanosecond at which a peer ends, 0 for never."""
        return self._nodes.get(node, self._classes.get(class_id, 0))


class _Told(NamedTuple):
    """A peer that the tunnel was told of: its part of the map, and its class."""

    part: bytes
    class_id: int


class Plan:
    """What the tunnel was told, and what to tell it next."""

    __slots__ = ("_domain", "_ends", "_filter", "_key", "_peers", "_rule_ends", "_self", "_sight", "_utc", "unreadable")

    def __init__(self) -> None:
        self._key = b""
        self._self = b""
        self._filter = b""
        self._domain = ""
        self._peers: dict[int, _Told] = {}
        self._sight = Ends()
        self._utc = 0
        self._ends: dict[int, int] = {}
        self._rule_ends: tuple[int, ...] = ()
        self.unreadable = 0

    def next_end(self, utc: int) -> int:
        """The UTC nanosecond at which the next peer or rule ends by itself, 0 for none."""
        return min((end for end in (*self._ends.values(), *self._rule_ends) if end > utc), default=0)

    def has_ended(self, peer: Peer) -> bool:
        """Whether a peer of the map had ended by itself when the tunnel was last told anything."""
        return 0 < self._sight.of(peer.id, peer.class_id) <= self._utc

    def cuts(self, netmap: NetMap) -> bool:
        """Whether the map takes something away that the tunnel grants now, so that it must be told at once."""
        return netmap.parts.get("filter", b"") != self._filter or not self._peers.keys() <= netmap.peers.keys()

    def steps(self, netmap: NetMap, private: bytes, utc: int, halted: bool) -> tuple[Step, ...]:
        """What to do now. `halted`: no peer may be reached, whatever the map says, and the map is not read.

        Raises `WireError` for a map that can't be read; nothing has changed then. Single peers that can't be read are
        left out and counted in `unreadable`.
        """
        fresh = None if halted or not netmap.parts else self._read(netmap)
        self._utc = utc
        steps: list[Step] = []
        if private != self._key:
            steps.append(SetKey(private))
            self._key = private
        # Cuts come first: an address may have moved from one peer to another.
        for node in [node for node in self._peers if halted or node not in netmap.peers]:
            steps.append(self._drop(node))
        if fresh is None:
            return tuple(steps)
        own, rules, domain = fresh
        if own is not None:
            steps.append(SetSelf(own))
            self._self = netmap.parts["self"]
        if rules is not None:
            self._filter = netmap.parts["filter"]
            self._sight = Ends(rules.ends)
            self._rule_ends = tuple(rule.until for rule in rules.rules if rule.until)
            steps.append(SetFilter(rules.rules))
        return (*steps, *self._set_peers(netmap, domain, utc))

    def _read(self, netmap: NetMap) -> tuple[SelfNode | None, Filter | None, str]:
        """The own part and the filter where they have changed, and the domain."""
        own = netmap.own() if netmap.parts["self"] != self._self else None
        rules = netmap.filter() if netmap.parts["filter"] != self._filter else None
        return own, rules, netmap.network().domain

    def _set_peers(self, netmap: NetMap, domain: str, utc: int) -> list[Step]:
        cuts: list[Step] = []
        sets: list[Step] = []
        renamed, self._domain = domain != self._domain, domain
        for node in [node for node, end in self._ends.items() if end <= utc]:
            cuts.append(self._drop(node))
        self.unreadable = 0
        for node, part in netmap.peers.items():
            if not renamed and self._knows(node, part):
                continue
            peer = self._read_peer(netmap, node)
            until = 0 if peer is None else self._sight.of(node, peer.class_id)
            if peer is None or 0 < until <= utc:
                if node in self._peers:
                    cuts.append(self._drop(node))
                continue
            sets.append(SetPeer(peer, domain, until))
            self._peers[node] = _Told(part, peer.class_id)
            self._ends.pop(node, None)
            if until:
                self._ends[node] = until
        return cuts + sets

    def _knows(self, node: int, part: bytes) -> bool:
        """Whether the tunnel was told this of a peer, and when it ends."""
        told = self._peers.get(node)
        if told is None or told.part != part:
            return False
        return self._sight.of(node, told.class_id) == self._ends.get(node, 0)

    def _read_peer(self, netmap: NetMap, node: int) -> Peer | None:
        try:
            return netmap.peer(node)
        except WireError:
            self.unreadable += 1
            return None

    def _drop(self, node: int) -> DropPeer:
        del self._peers[node]
        self._ends.pop(node, None)
        return DropPeer(node)
