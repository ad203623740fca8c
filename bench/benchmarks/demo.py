"""The demo on a machine that has built everything: how long until packets flow."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from time import perf_counter

ROUNDS = 3
FIRST_PING = "pings"
"""In the line that the demo prints once the first ping has come back."""


class Demo:
    """`ghostwire demo --once`: a coordinator and three agents start, join, and ping each other over WireGuard."""

    timeout = 300

    def setup(self) -> None:
        self.command = [sys.executable, "-m", "ghostwire.cli", "demo", "--once"]

    def track_first_ping(self) -> float:
        """The median from the command to the first answer."""
        return statistics.median(run(self.command)[0] for _ in range(ROUNDS))

    def track_cpu(self) -> float:
        """What all five processes use until the end, starts and interpreters included."""
        return statistics.median(run(self.command)[1] for _ in range(ROUNDS))

    track_first_ping.unit = "s"  # type: ignore[attr-defined]
    track_cpu.unit = "s of CPU"  # type: ignore[attr-defined]


def run(command: list[str]) -> tuple[float, float]:
    """Seconds to the first ping, and CPU seconds of the command and all that it waited for."""
    began = perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if FIRST_PING in line:
                break
        first = perf_counter() - began
        process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the demo ended with {process.returncode}: {said}")
    return first, used.ru_utime + used.ru_stime
