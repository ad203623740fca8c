"""Signs of life, as those who serve sessions pass them on."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from ghostwire.model import flow
from ghostwire.model.flow import Flow
from ghostwire.model.node import NodeMetrics

MOST_KEPT: Final = 4096
"""Rules, and peers, of which a node's counts are kept until they are passed on."""


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """A sign of life that a live session gave; what its filter's rules did and peers exchanged since the last."""

    node: int
    session: int
    metrics: NodeMetrics | None = None
    hits: dict[int, int] = {}
    flows: dict[int, Flow] = {}

    def after(self, before: Beat) -> Beat:
        """The same with what an earlier one says that was not told yet.

        Counts are hints: where they would be of more rules or peers than are kept, those of the earlier one stay alone.
        """
        if not (before.metrics or before.hits or before.flows):
            return self
        flows = dict(before.flows)
        flow.add(flows, self.flows)
        hits = dict(Counter(before.hits) + Counter(self.hits))
        if max(len(hits), len(flows)) > MOST_KEPT:
            hits, flows = before.hits, before.flows
        return Beat(self.node, self.session, self.metrics or before.metrics, hits, flows)
