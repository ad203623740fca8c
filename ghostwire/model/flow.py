"""What a node exchanged with one of its peers, as the node itself counted it."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

MOST_COUNT: Final = (1 << 53) - 1
"""Whole numbers are exact in JSON and as floats up to here: 9 PB."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNT)]


class Flow(msgspec.Struct, frozen=True, array_like=True):
    """Packets and bytes from the peer and to it, over some time, without what the tunnel adds to them."""

    rx_packets: Count = 0
    rx_bytes: Count = 0
    tx_packets: Count = 0
    tx_bytes: Count = 0

    @property
    def bytes(self) -> int:
        """Both ways."""
        return self.rx_bytes + self.tx_bytes

    def plus(self, other: Flow) -> Flow:
        """Both together. A count stays at the highest that there is."""
        return Flow(
            min(self.rx_packets + other.rx_packets, MOST_COUNT),
            min(self.rx_bytes + other.rx_bytes, MOST_COUNT),
            min(self.tx_packets + other.tx_packets, MOST_COUNT),
            min(self.tx_bytes + other.tx_bytes, MOST_COUNT),
        )


def add(flows: dict[int, Flow], more: dict[int, Flow]) -> None:
    """Add flows by peer to others."""
    for peer, flow in more.items():
        before = flows.get(peer)
        flows[peer] = flow if before is None else before.plus(flow)
