"""What a coordinator starts from: the committed tables, and the volatile facts that reached the disk."""

from __future__ import annotations

from typing import Any

import msgspec

from ghostwire.model.flow import Flow
from ghostwire.model.node import NodeMetrics


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What may be lost of one node, as it is flushed to the history store; the newest one of a node counts.

    `class_id` is the number under which its class is known in maps. `last_seen` and `token_expires` are UTC
    nanoseconds, 0 for never.
    """

    node_id: int
    online: bool = False
    last_seen: int = 0
    endpoints: tuple[str, ...] = ()
    token_expires: int = 0
    metrics: NodeMetrics | None = None
    class_id: int = 0


class RuleHits(msgspec.Struct, frozen=True, kw_only=True):
    """How often a rule of the policy let something in or refused it, by its id; 0 stands for what no rule accepted.

    `last` is when that was last told, UTC nanoseconds; `nodes` the ids of those who told, as a serialised bitmap.
    """

    rule: int
    hits: int
    last: int
    nodes: bytes


class NodeFlows(msgspec.Struct, frozen=True, kw_only=True):
    """What a node exchanged with its peers since the last flush, by their ids, as it told it."""

    node_id: int
    flows: dict[int, Flow]


class MapChange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One change of maps, kept so that nodes can resume across a restart. Its key is `number`, which only grows.

    `boot`, `seq` and `vseq` are the position after it; `touched` the nodes that changed, `owners` the owners whose
    nodes they are or were, `affected` the slots of the nodes whose maps changed, as a serialised bitmap.
    """

    number: int
    boot: bytes
    seq: int
    vseq: int
    touched: tuple[int, ...]
    owners: tuple[int, ...]
    affected: bytes


class RunEnd(msgspec.Struct, frozen=True):
    """How far an earlier run's changes are known: it stood at `seq` and `vseq`, `upcoming` is the next change's number.

    Whoever holds a later position of that run has seen what no flush kept; changes up to the sum `floor` of both
    counters are forgotten.
    """

    boot: bytes
    seq: int
    vseq: int
    upcoming: int
    floor: int


class FlushMark(msgspec.Struct, frozen=True, kw_only=True):
    """The last fact of every flush: all facts up to here are in. One row, replaced each time.

    `boot` is the run of the coordinator, `vseq` its volatile position and `seq` its durable one at the flush, `utc`
    the highest time seen. `next_class` is the first class number never given. `MapChange` facts numbered below
    `oldest` are no longer wanted. `ends` are those of the runs before that positions can still be resumed from.
    """

    boot: bytes
    vseq: int
    seq: int
    utc: int
    next_class: int = 1
    oldest: int = 0
    ends: tuple[RunEnd, ...] = ()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The committed state at change `seq` of the log `log_id`, and the volatile facts as flushed.

    `boot` is 16 random bytes of this run, `mac_key` the 32 bytes under which secrets are kept as MACs. `tables` holds
    every record of each table of `ghostwire.coordinator.state.TABLES` (an absent table is empty). `volatile`,
    `changes` (by number), `hits` and `mark` are what flushes have left; `mark` is None when nothing was ever flushed.
    `since` are the kinds of the changes in the log that came after it.
    """

    log_id: bytes
    seq: int
    boot: bytes
    mac_key: bytes
    tables: dict[str, tuple[Any, ...]] = {}
    volatile: tuple[NodeSeen, ...] = ()
    changes: tuple[MapChange, ...] = ()
    hits: tuple[RuleHits, ...] = ()
    mark: FlushMark | None = None
    since: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<Snapshot at {self.seq}>"
