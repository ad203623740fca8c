"""Traffic over all runs, from counters that begin at nothing whenever a tunnel or a peer is new."""

from __future__ import annotations

import msgspec


class Traffic(msgspec.Struct, frozen=True):
    """Bytes from and to one peer, over all runs."""

    node: int
    name: str
    rx_bytes: int = 0
    tx_bytes: int = 0


class Ledger:
    """Adds up what counters say."""

    __slots__ = ("_seen", "totals")

    def __init__(self, totals: dict[int, Traffic]) -> None:
        self.totals = dict(totals)
        self._seen: dict[int, tuple[int, int]] = {}

    def count(self, node: int, name: str, rx_bytes: int, tx_bytes: int) -> Traffic | None:
        """Take a peer's counters; its new total, None where nothing moved."""
        before = self._seen.get(node, (0, 0))
        if rx_bytes < before[0] or tx_bytes < before[1]:
            before = (0, 0)
        self._seen[node] = (rx_bytes, tx_bytes)
        if (rx_bytes, tx_bytes) == before:
            return None
        old = self.totals.get(node, Traffic(node, name))
        fresh = Traffic(node, name, old.rx_bytes + rx_bytes - before[0], old.tx_bytes + tx_bytes - before[1])
        self.totals[node] = fresh
        return fresh
