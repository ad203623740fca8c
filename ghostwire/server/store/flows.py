"""What nodes exchange with their peers, as a series: a week as it was told, then 90 days in stretches of 5 min."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from ghostwire import zqlite
from ghostwire.coordinator.snapshot import NodeFlows
from ghostwire.model.flow import Flow
from ghostwire.server.store.recording import Recording
from ghostwire.zqlite import series
from ghostwire.zqlite.series import Column, Schema

SCHEMA: Final = Schema(
    name="flows", key="pair", columns=tuple(Column(name, "integer") for name in Flow.__struct_fields__)
)
MOST_PAIRS: Final = 10_000
"""How many pairs one answer sums up at most."""
_BITS: Final = 32
"""A pair's number is the id of the node that told it, and in so many bits below that of its peer."""
_MILLISECOND: Final = 1_000_000


class PairFlow(NamedTuple):
    """What `node` told of its traffic with `peer`."""

    node: int
    peer: int
    flow: Flow


class FlowsStore(Recording):
    """The series in `history.db`. A node's word stands as it was given: its peer tells its own side."""

    @classmethod
    async def open(cls, history: zqlite.Store) -> Self:
        """The series of this store, made if it is missing."""
        return cls(await series.create(history, SCHEMA))

    def record(self, told: Iterable[NodeFlows], utc: int) -> None:
        """Keep what was told since the flush before that at `utc` (nanoseconds), soon."""
        at = utc // _MILLISECOND * _MILLISECOND
        self.keep(
            [
                (each.node_id << _BITS | peer, at, flow.rx_packets, flow.rx_bytes, flow.tx_packets, flow.tx_bytes)
                for each in told
                for peer, flow in each.flows.items()
            ],
            utc,
        )

    async def totals(self, node: int | None, since: int, until: int) -> list[PairFlow]:
        """What `node`, or where that is None each node, exchanged from `since` until before `until`; most bytes first.

        Raises ValidationError where that are more than 10,000 pairs.
        """
        pairs = range(1 << 63) if node is None else range(node << _BITS, node + 1 << _BITS)
        found = []
        for pair, sums in (await self.series.totals(pairs, since, until, MOST_PAIRS)).items():
            told = Flow(*(int(values[0]) for values in sums.sums))
            found.append(PairFlow(pair >> _BITS, pair & (1 << _BITS) - 1, told))
        return sorted(found, key=lambda each: each.flow.bytes, reverse=True)
