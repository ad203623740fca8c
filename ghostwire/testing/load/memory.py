"""Which of a server's memory is its nodes' and which its sessions', by the growth of what its processes hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ghostwire.testing.load.report import Memory
from ghostwire.testing.load.stage import MIB, Stage
from ghostwire.testing.load.subject import Resident


@dataclass(frozen=True, slots=True)
class Known:
    """What a server holds that knows every node and has few sessions or none, as after a restart."""

    resident: Resident
    bytes_per_node: float
    sessions: int

    @classmethod
    def measure(cls, stage: Stage, bare: Resident) -> Self:
        """Now; `bare` is what it held before it knew a node."""
        found = stage.subject.resident
        per_node = (found.leader - bare.leader) / stage.topology.nodes
        return cls(found, per_node, stage.fleet.progress.sessions)


def memory(stage: Stage, bare: Resident, known: Known | None) -> Memory:
    """What a node and a session take, now that all of them stand."""
    held, apart = stage.subject.resident, stage.subject.workers > 0
    if known is None:
        grown = held.workers - bare.workers if apart else held.total - bare.total
        sessions = stage.topology.nodes
        per_node = (held.leader - bare.leader) / stage.topology.nodes if apart else None
    else:
        before = known.resident
        grown = held.workers - before.workers if apart else held.total - before.total
        sessions = stage.topology.nodes - known.sessions
        per_node = known.bytes_per_node
    return Memory(
        worker_bytes_per_session=grown / max(sessions, 1), leader_bytes_per_node=per_node, total_mib=held.total / MIB
    )
