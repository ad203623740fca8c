"""What was exchanged with peers, on its way to the coordinator."""

from __future__ import annotations

from heapq import nlargest

from ghostwire.model import flow
from ghostwire.model.flow import Flow
from ghostwire.wire.messages import MAX_FLOWS


class Flows:
    """Counts that wait to be reported, by peer."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, Flow] = {}

    def add(self, flows: dict[int, Flow]) -> None:
        """Take what was counted since the last time."""
        flow.add(self._waiting, flows)

    def take(self) -> dict[int, Flow]:
        """What the next heartbeat reports: the peers with most bytes. The others wait for the one after it."""
        told = nlargest(MAX_FLOWS, self._waiting, key=lambda peer: self._waiting[peer].bytes)
        return {peer: self._waiting.pop(peer) for peer in told}
