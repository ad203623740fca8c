"""What a node and its session take of a server's memory: by the growth of its processes, each thing apart."""

from __future__ import annotations

import time
from typing import Final

from ghostwire.testing.load.report import Memory
from ghostwire.testing.load.stage import MIB, Stage
from ghostwire.testing.load.subject import Shares

RETURNS_PER_S: Final = 1000.0
PATIENCE_S: Final = 120.0


def memory(stage: Stage, bare: Shares) -> Memory:
    """Everyone leaves, the server is started again and knows its nodes without a session; then they come back.

    `bare` is what it held that knew no node. A node's memory is the leader's, a session's that of the workers, or of
    the one process that is both.
    """
    stage.scene("memory")
    stage.fleet.leave()
    stage.fleet.wait(PATIENCE_S, lambda progress: progress.sessions == 0)
    stage.subject.stop()
    stage.subject.start()
    known = stage.subject.settled()
    stage.fleet.come_back(time.monotonic(), RETURNS_PER_S)
    stage.questions.again(PATIENCE_S)
    stage.fleet.wait(PATIENCE_S, lambda progress: progress.sessions >= stage.connected)
    stage.settle()
    held = stage.subject.settled()
    grown = held.workers - known.workers if stage.subject.workers else held.total - known.total
    return Memory(
        worker_bytes_per_session=grown / stage.topology.nodes,
        leader_bytes_per_node=(known.leader - bare.leader) / stage.topology.nodes,
        total_mib=held.total / MIB,
    )
