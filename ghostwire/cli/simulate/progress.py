"""What is shown on stderr while a simulation runs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

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
    """One line that is redrawn at a terminal; elsewhere one line a scenario."""

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
        if scene != self._scene:
            self._scene = scene
            if not self._console.is_terminal:
                self._console.print(f"{scene}: {WHAT.get(scene, '')}", soft_wrap=True)
        now = time.monotonic()
        if self._console.is_terminal and now - self._drawn >= REFRESH_S:
            self._drawn = now
            self._live.update(self._picture(progress, now), refresh=True)

    def _picture(self, progress: orders.Progress, now: float) -> Table:
        passed = now - self._measured
        if passed >= 1.0:
            self._rate = (progress.deliveries - self._deliveries) / passed
            self._measured, self._deliveries = now, progress.deliveries
        picture = Table.grid(padding=(0, 2))
        picture.add_row(
            f"[bold]{self._scene}[/bold]",
            WHAT.get(self._scene, ""),
            f"{progress.sessions:,} of {self._nodes:,} connected",
            f"{self._rate:,.0f} changes told a second",
            f"{now - self._began:.0f} s",
        )
        return picture
