"""What nodes tell of themselves with heartbeats, as a series: a week as it came, then 90 days in stretches of 5 min."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Self

import msgspec
import numpy as np

from ghostwire import zqlite
from ghostwire.coordinator.snapshot import FlushMark, NodeSeen
from ghostwire.model.node import NodeMetrics
from ghostwire.server.store.recording import Recording
from ghostwire.zqlite import series
from ghostwire.zqlite.series import Column, Schema

GAUGES: Final = ("load_factor", "latency_ms", "bandwidth_mbps")
TOTALS: Final = ("uptime_seconds", "bytes_in", "bytes_out")
SCHEMA: Final = Schema(
    name="node_metrics",
    key="node",
    columns=(*(Column(name, "real") for name in GAUGES), *(Column(name, "integer") for name in TOTALS)),
)
_MILLISECOND: Final = 1_000_000
_MOST: Final = 1 << 53
"""Whole numbers are exact as floats up to here: 9 PB, 285 million years."""


class MetricsPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a node told within one step from `at` (UTC nanoseconds): gauges' means, totals as they stood at the end."""

    at: int
    samples: int
    load_factor: float
    latency_ms: float
    bandwidth_mbps: float
    uptime_seconds: int
    bytes_in: int
    bytes_out: int


class MetricsStore(Recording):
    """The series in `history.db`."""

    def __init__(self, kept: series.Series) -> None:
        super().__init__(kept)
        self._told: dict[int, NodeMetrics] = {}
        self._told_before: dict[int, NodeMetrics] = {}

    @classmethod
    async def open(cls, history: zqlite.Store) -> Self:
        """The series of this store, made if it is missing."""
        return cls(await series.create(history, SCHEMA))

    def record(self, facts: Iterable[msgspec.Struct]) -> None:
        """Keep the metrics that are new among these facts, soon. A fact that repeats what was told before is none."""
        samples, now = [], 0
        for fact in facts:
            if isinstance(fact, FlushMark):
                now = fact.utc
            elif isinstance(fact, NodeSeen) and self._is_new(fact):
                samples.append(_sample(fact))
        if self.keep(samples, now):
            self._told_before, self._told = self._told, {}

    async def points(self, node: int, since: int, until: int, step_ns: int) -> list[MetricsPoint]:
        """A node's metrics from `since` until before `until`, a point for each step that has any.

        Raises ValidationError for a step that makes more than 10,000 of them.
        """
        sums = await self.series.summary(node, since, until, step_ns)
        gauges = [(total / sums.samples).tolist() for total in sums.sums[: len(GAUGES)]]
        totals = [most.astype(np.int64).tolist() for most in sums.most[len(GAUGES) :]]
        rows = zip(sums.at.tolist(), sums.samples.tolist(), *gauges, *totals, strict=True)
        names = ("at", "samples", *GAUGES, *TOTALS)
        return [MetricsPoint(**dict(zip(names, row, strict=True))) for row in rows]

    def _is_new(self, fact: NodeSeen) -> bool:
        """Whether these metrics are worth keeping, and not the very object that the node's last fact had.

        Nodes that were silent for long are forgotten.
        """
        told, last = fact.metrics, self._told.get(fact.node_id) or self._told_before.get(fact.node_id)
        if told is None:
            return False
        self._told[fact.node_id] = told
        return told is not last and _is_sane(told)


def _sample(fact: NodeSeen) -> tuple[Any, ...]:
    """The time to the millisecond: what is finer is chance, and takes room."""
    values = (getattr(fact.metrics, name) for name in (*GAUGES, *TOTALS))
    return fact.node_id, fact.last_seen // _MILLISECOND * _MILLISECOND, *values


def _is_sane(told: NodeMetrics) -> bool:
    """Whether a machine could have measured this; a node may say anything, also what is no number."""
    return all(0 <= getattr(told, name) <= _MOST for name in (*GAUGES, *TOTALS))
