"""What a coordinator starts from: the committed tables, and the volatile facts that reached the disk."""

from __future__ import annotations

from typing import Any

import msgspec

from ghostwire.model.node import NodeMetrics


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What may be lost of one node, as it is flushed to the history store; the newest one of a node counts.

    `vseq` is the number, within the run of the coordinator that flushed it, of the last change to what peers see of
    it. `map_seq` and `map_vseq` are the position of the last change to the node's own map, and `class_id` the number
    under which its class is known in maps. `last_seen` and `token_expires` are UTC nanoseconds, 0 for never.
    """

    node_id: int
    online: bool = False
    last_seen: int = 0
    endpoints: tuple[str, ...] = ()
    token_expires: int = 0
    metrics: NodeMetrics | None = None
    class_id: int = 0
    map_seq: int = 0
    map_vseq: int = 0
    vseq: int = 0


class FlushMark(msgspec.Struct, frozen=True, kw_only=True):
    """The last fact of every flush: all facts up to here are in. One row, replaced each time.

    `boot` is the run of the coordinator, `vseq` its volatile position and `seq` its durable one at the flush, `utc`
    the highest time seen. `next_class` is the first class number never given.
    """

    boot: bytes
    vseq: int
    seq: int
    utc: int
    next_class: int = 1


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The committed state at change `seq` of the log `log_id`, and the volatile facts as flushed.

    `boot` is 16 random bytes of this run, `mac_key` the 32 bytes under which secrets are kept as MACs. `tables` holds
    every record of each table of `ghostwire.coordinator.state.TABLES` (an absent table is empty). `mark` is None
    when nothing was ever flushed.
    """

    log_id: bytes
    seq: int
    boot: bytes
    mac_key: bytes
    tables: dict[str, tuple[Any, ...]] = {}
    volatile: tuple[NodeSeen, ...] = ()
    mark: FlushMark | None = None

    def __repr__(self) -> str:
        return f"<Snapshot at {self.seq}>"
