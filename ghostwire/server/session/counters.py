"""What node sessions count."""

from __future__ import annotations

from collections import Counter


class SessionCounters:
    """Plain counters; telemetry reads them."""

    __slots__ = ("closed", "opened", "queries", "refused", "resyncs")

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.queries = 0
        self.resyncs = 0
        self.refused: Counter[str] = Counter()
