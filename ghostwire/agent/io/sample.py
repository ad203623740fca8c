"""Samples of the machine's load and of the tunnel's traffic, for heartbeats."""

from __future__ import annotations

import os

from ghostwire.model.node import NodeMetrics


class Sampler:
    """Turns running totals into a heartbeat's metrics."""

    __slots__ = ("_bytes", "_mono", "_started")

    def __init__(self, mono: float) -> None:
        self._started = mono
        self._mono = mono
        self._bytes = 0

    def sample(self, mono: float, rx_bytes: int, tx_bytes: int, latency_s: float | None) -> NodeMetrics:
        """`load_factor`: the run queue per processor; `bandwidth_mbps`: both ways since the last sample."""
        total = rx_bytes + tx_bytes
        elapsed = max(mono - self._mono, 0.001)
        # A tunnel that was made anew counts from nothing again.
        moved = total - self._bytes if total >= self._bytes else total
        self._mono, self._bytes = mono, total
        return NodeMetrics(
            load_factor=round(os.getloadavg()[0] / (os.cpu_count() or 1), 3),
            latency_ms=round((latency_s or 0.0) * 1000, 3),
            uptime_seconds=int(mono - self._started),
            bandwidth_mbps=round(moved * 8 / elapsed / 1e6, 3),
            bytes_in=rx_bytes,
            bytes_out=tx_bytes,
        )
