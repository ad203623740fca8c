"""The scenario in which some clients mean harm: what the others have of it."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import msgspec

from ghostwire.testing.load.hostile import Attack, Attacked
from ghostwire.testing.load.report import Hostile
from ghostwire.testing.load.scenarios import QUERIES_PER_S
from ghostwire.testing.load.stage import Stage

SOURCE: Final = "127.3.1.1"
CALM_S: Final = 3.0
ATTACK_S: Final = 6.0
WARM_UP_S: Final = 1.0


def attack(stage: Stage, connections: int) -> Hostile:
    """Ask while nothing happens, then while so many connections mean harm."""
    stage.scene("hostile")
    stage.settle()
    stage.count()
    rate = len(stage.askers) * QUERIES_PER_S
    calm = stage.questions.ask(rate, CALM_S)
    command = [sys.executable, "-m", "ghostwire.testing.load.hostile"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        order = Attack(door=stage.subject.door, source=SOURCE, connections=connections, key=stage.spare_key)
        assert process.stdin is not None  # noqa: S101 - it was started with a pipe
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()
        stage.fleet.wait(WARM_UP_S)
        under = stage.questions.ask(rate, ATTACK_S)
        raw = stage.questions.ask_bare(rate, CALM_S)
        said, _ = process.communicate()
    stage.keep("query while some mean harm", under)
    stage.settle()
    return Hostile(
        connections=connections,
        tries=msgspec.json.decode(said, type=Attacked).tries,
        query_p99_ms=under.percentile(99),
        calm_p99_ms=calm.percentile(99),
        raw_uvloop_p99_ms=raw.percentile(99),
        sessions_lost=stage.count().lost + stage.questions.missing(),
    )
