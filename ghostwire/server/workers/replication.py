"""A worker's replica: the one that answers, and the next one while its snapshot comes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from ghostwire._native import pulse
from ghostwire.coordinator.effects import MapFrom
from ghostwire.coordinator.map_watch import Checked, MapWatch
from ghostwire.coordinator.replica import Replica, decode_batch
from ghostwire.errors import NotFoundError, UnavailableError
from ghostwire.wire.messages import Heartbeat, Query


class Replication:
    """What a worker knows of the network. `sent` counts maps by how they were brought up to date.

    A leader that starts again begins a new replica; until that is whole, the one before answers.
    """

    def __init__(self) -> None:
        self.stands = asyncio.Event()
        """Set once there is a replica."""
        self.mismatches = 0
        self.sent: Counter[str] = Counter()
        self.usual = pulse.Pulse()
        """Answers heartbeats for which a look at tables is enough."""
        self._next: Replica | None = None
        self._take(Replica())

    def begin(self) -> None:
        """A leader that knows nothing of this worker will tell everything."""
        self._next = Replica()

    def follow(self, data: bytes | memoryview) -> None:
        """Take one batch of the feed. Raises `WireError` where one is missing."""
        batch = decode_batch(data)
        coming = self._next
        if coming is None:
            self._replica.apply(batch)
            self._watch.teach(self.usual)
            return
        coming.apply(batch)
        if batch.position is not None:
            self._next = None
            self._take(coming)
            self.stands.set()

    def frames(self, slot: int, left: MapFrom) -> Iterable[bytes]:
        """What brings the map of the node in this slot up to date."""
        if slot not in self._replica.maps.arena:
            return ()
        found = None if left.held is None else self._replica.maps.resume(slot, left.held)
        if found is None:
            self.sent["full"] += 1
            return self._replica.full(slot)
        self.sent[found.how] += 1
        return (found.frame,)

    def check(self, node: int, slot: int, heard: Heartbeat, mono: float) -> Checked:
        """What a node is to be told by what its heartbeat says of its map."""
        if heard.position is None or slot not in self._replica.maps.arena:
            return Checked()
        found = self._watch.check(node, slot, heard.position, heard.digest, mono)
        self._watch.teach(self.usual)  # a digest may have been kept
        return found

    def forget(self, node: int) -> None:
        """A node's session is over."""
        self._watch.forget(node)

    def peers(self, slot: int, query: Query) -> tuple[bytes, ...]:
        """Peers of a node's own view. Raises `NotFoundError` for what it does not see."""
        if not self.stands.is_set():
            raise UnavailableError("this process is starting: ask again", retry_after=1.0)
        if slot not in self._replica.maps.arena:
            raise NotFoundError("there is no such peer")
        return self._replica.peers(slot, node=query.node, name=query.name, address=query.address)

    def _take(self, replica: Replica) -> None:
        self._replica = replica
        self._watch = MapWatch(replica.maps, replica.maps.window.size // 4, self._mismatched)
        self._watch.teach(self.usual)

    def _mismatched(self) -> None:
        self.mismatches += 1
