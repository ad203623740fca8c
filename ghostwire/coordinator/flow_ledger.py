"""What nodes exchanged with their peers, as they report it, until the next flush: a hint, for a node may lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ghostwire.coordinator.snapshot import NodeFlows
from ghostwire.model import flow
from ghostwire.model.flow import Flow


class FlowLedger:
    """Adds up reports by who told them."""

    def __init__(self) -> None:
        self._fresh: dict[int, dict[int, Flow]] = {}

    def report(self, node: int, flows: Mapping[int, Flow], is_peer: Callable[[int], bool]) -> None:
        """Add what a node counted. Who is none of its peers is left out: a node tells nothing of what it cannot see."""
        seen = {peer: told for peer, told in flows.items() if is_peer(peer)}
        if seen:
            flow.add(self._fresh.setdefault(node, {}), seen)

    def take_fresh(self) -> tuple[NodeFlows, ...]:
        """What was told since this was last asked."""
        fresh, self._fresh = self._fresh, {}
        return tuple(NodeFlows(node_id=node, flows=flows) for node, flows in sorted(fresh.items()))
