"""What is shown on stderr while a simulation runs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ghostwire.testing.load import orders

REFRESH_S: Final = 0.25
WHAT: Final = {
    "prepare": "putting the policy in force, making keys",
    "join": "every node joins",
    "steady": "heartbeats, a few changes, queries",
    "hostile": "some clients mean harm",
    "change": "the node that most see moves, again and again",
    "churn": "nodes change their endpoints all the time",
    "policy": "a policy edit that concerns one class in a hundred",
    "storm": "the coordinator is killed; everyone comes back",
    "memory": "everyone leaves and comes back to a server started afresh",
}


class Progress:
    """Two lines that are redrawn at a terminal, below the scenarios that are over; elsewhere a line for each scenario.

    `nodes` of the network have a session when all is well; those that ask queries are not among them.
    """

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._scene = ""
        self._began = self._drawn = self._measured = time.monotonic()
        self._deliveries = 0
        self._rate = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def tell(self, scene: str, progress: orders.Progress) -> None:
        """Show where the clients stand."""
        now = time.monotonic()
        if scene != self._scene:
            self._turn(scene, now)
        if self._console.is_terminal and now - self._drawn >= REFRESH_S:
            self._drawn = now
            self._live.update(self._picture(progress, now), refresh=True)

    def _turn(self, scene: str, now: float) -> None:
        """One scenario is over, another one begins."""
        if not self._console.is_terminal:
            self._console.print(f"{scene}: {WHAT.get(scene, '')}", soft_wrap=True)
        elif self._scene:
            self._live.console.print(f"[green]✓[/green] {self._scene}, {now - self._began:.0f} s")
        self._scene, self._began = scene, now

    def _picture(self, progress: orders.Progress, now: float) -> Group:
        passed = now - self._measured
        if passed >= 1.0:
            self._rate = (progress.deliveries - self._deliveries) / passed
            self._measured, self._deliveries = now, progress.deliveries
        counts = Table.grid(padding=(0, 2))
        counts.add_row(
            ProgressBar(self._nodes, progress.sessions, width=20),
            f"{progress.sessions:,} of {self._nodes:,} connected",
            f"{self._rate:,.0f} told a second",
            f"{now - self._began:.0f} s",
        )
        return Group(Text.assemble((self._scene, "bold"), ": ", WHAT.get(self._scene, "")), counts)
