"""A simulation from its first process to its report."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import msgspec

from ghostwire.testing.load import scenarios
from ghostwire.testing.load.questions import Questions
from ghostwire.testing.load.report import Memory, Report, Trace
from ghostwire.testing.load.stage import Stage, Tell
from ghostwire.testing.load.subject import Dial, Subject
from ghostwire.testing.load.topology import Topology

SCENARIOS: Final = ("join", "steady", "churn", "policy", "storm")
"""In the order in which they are played. Nodes always join."""
BEAT_S: Final = 2.0
MIB: Final = 1024 * 1024


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be simulated. `seconds` is how long the steady scenario lasts."""

    nodes: int
    visible: int = 200
    scenarios: frozenset[str] = frozenset(SCENARIOS)
    seconds: float = 30.0


def simulate(plan: Plan, dial: Dial, tell: Tell) -> tuple[Report, Trace]:
    """Play the scenarios against a server of its own, in a folder that is gone afterwards."""
    topology = Topology(plan.nodes, min(plan.visible, plan.nodes - 2))
    with (
        tempfile.TemporaryDirectory(prefix="ghostwire-simulate-") as folder,
        Subject(Path(folder), dial) as subject,
        Questions() as questions,
    ):
        stage = Stage(topology, subject, questions, tell)
        with stage.fleet:
            return _play(plan, stage), stage.trace()


def _play(plan: Plan, stage: Stage) -> Report:
    subject = stage.subject
    stage.prepare()
    bare_bytes = subject.resident
    joined = scenarios.join(stage)
    steady, query = scenarios.steady(stage, plan.seconds) if "steady" in plan.scenarios else (None, None)
    change, churn = (scenarios.change(stage), scenarios.churn(stage)) if "churn" in plan.scenarios else (None, None)
    policy = scenarios.policy(stage) if "policy" in plan.scenarios else None
    mismatches = _compare(stage)
    storm, known = scenarios.storm(stage, bare_bytes) if "storm" in plan.scenarios else (None, None)
    if storm is not None:
        mismatches += _compare(stage)
    held = subject.resident
    grown = (held - bare_bytes) / plan.nodes - (known or 0.0)
    return Report(
        nodes=plan.nodes,
        workers=0,
        join=joined,
        steady=steady,
        change=change,
        churn=churn,
        query=query,
        policy=policy,
        storm=storm,
        memory=Memory(worker_bytes_per_session=grown, leader_bytes_per_node=known, total_mib=held / MIB),
        digest_mismatches=mismatches,
        faults=tuple(stage.faults),
    )


def _compare(stage: Stage) -> int:
    """Let the server compare every node's map with its own: how many differ, since it started."""
    stage.settle()
    stage.fleet.beat(BEAT_S)
    stage.fleet.wait(BEAT_S + 1.0)
    return int(stage.subject.metrics()["ghostwire_netmap_digest_mismatches_total"])
