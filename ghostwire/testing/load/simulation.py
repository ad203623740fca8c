"""A simulation from its first process to its report."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from ghostwire.testing.load import scenarios
from ghostwire.testing.load.attack import attack
from ghostwire.testing.load.hostile import PARTS
from ghostwire.testing.load.memory import memory
from ghostwire.testing.load.questions import Questions
from ghostwire.testing.load.report import Report, Trace
from ghostwire.testing.load.stage import Stage, Tell
from ghostwire.testing.load.subject import Dial, Subject
from ghostwire.testing.load.topology import Topology

SCENARIOS: Final = ("join", "steady", "churn", "policy", "storm")
"""In the order in which they are played. Nodes always join."""
BEATS_PER_S: Final = 5000.0
"""Signs of life a second when every map is compared."""
REPORTED_S: Final = 6.0
"""Workers tell the leader every five seconds what they have counted."""
SESSIONS_A_WORKER: Final = 12_500
"""So many that the others can take over what one leaves."""
STEADY_S: Final = 0.012
"""How long steady lasts for each node: 10 minutes for 50,000."""
SHORTEST_STEADY_S: Final = 30.0
MIN_HOSTILE: Final = len(PARTS)
"""One for each part."""


def enough_workers(nodes: int) -> int:
    """Workers for so many nodes: none where one process is enough."""
    return 0 if nodes <= SESSIONS_A_WORKER else math.ceil(nodes / SESSIONS_A_WORKER)


def steady_seconds(nodes: int) -> float:
    """How long to look at so many nodes while nothing happens."""
    return max(SHORTEST_STEADY_S, nodes * STEADY_S)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be simulated. `workers` and `seconds`, how long steady lasts, follow the nodes where they are None.

    `hostile` is a share of the nodes: so many connections more mean harm for a while.
    """

    nodes: int
    visible: int = 200
    workers: int | None = None
    tls: bool = False
    scenarios: frozenset[str] = frozenset(SCENARIOS)
    seconds: float | None = None
    hostile: float = 0.0


def simulate(plan: Plan, dial: Dial, tell: Tell) -> tuple[Report, Trace]:
    """Play the scenarios against a server of its own, in a folder that is gone afterwards."""
    topology = Topology(plan.nodes, min(plan.visible, plan.nodes - 2))
    workers = enough_workers(plan.nodes) if plan.workers is None else plan.workers
    with (
        tempfile.TemporaryDirectory(prefix="ghostwire-simulate-") as folder,
        Subject(Path(folder), dial, workers, tls=plan.tls) as subject,
        Questions() as questions,
    ):
        stage = Stage(topology, subject, questions, tell)
        with stage.fleet:
            return _play(plan, stage), stage.trace()


def _play(plan: Plan, stage: Stage) -> Report:
    subject = stage.subject
    bare = stage.prepare()
    seconds = steady_seconds(plan.nodes) if plan.seconds is None else plan.seconds
    joined = scenarios.join(stage)
    steady, query = scenarios.steady(stage, seconds) if "steady" in plan.scenarios else (None, None)
    hostile = attack(stage, max(MIN_HOSTILE, round(plan.nodes * plan.hostile))) if plan.hostile else None
    change, churn = (scenarios.change(stage), scenarios.churn(stage)) if "churn" in plan.scenarios else (None, None)
    policy = scenarios.policy(stage) if "policy" in plan.scenarios else None
    mismatches = _compare(stage)
    storm = scenarios.storm(stage) if "storm" in plan.scenarios else None
    if storm is not None:
        mismatches += _compare(stage)
    return Report(
        nodes=plan.nodes,
        workers=subject.workers,
        tls=subject.tls,
        join=joined,
        steady=steady,
        change=change,
        churn=churn,
        query=query,
        hostile=hostile,
        policy=policy,
        storm=storm,
        memory=memory(stage, bare),
        digest_mismatches=mismatches,
    )


def _compare(stage: Stage) -> int:
    """Let the server compare every node's map with its own: how many differ, since it started."""
    stage.settle()
    seconds = max(1.0, stage.connected / BEATS_PER_S)
    stage.fleet.beat(seconds)
    stage.fleet.wait(seconds + (REPORTED_S if stage.subject.workers else 1.0))
    mismatches = int(stage.subject.metrics()["ghostwire_netmap_digest_mismatches_total"])
    if mismatches:
        stage.blame_replaced()
    return mismatches
