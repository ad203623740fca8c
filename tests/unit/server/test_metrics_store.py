"""The series of nodes' metrics: what flushes leave in it, and what is asked of it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire import zqlite
from ghostwire.coordinator.snapshot import FlushMark, NodeSeen
from ghostwire.errors import ValidationError
from ghostwire.model.node import NodeMetrics
from ghostwire.model.time import SECOND
from ghostwire.server.store.metrics import MetricsStore
from ghostwire.server.store.recording import MAINTAIN_EVERY

START = 1_800_000_000 * SECOND
DAY = 86_400 * SECOND


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[zqlite.Store]:
    async with await zqlite.open(tmp_path / "history.db", key=bytes(32), durability="lazy") as db:
        yield db


def seen(node: int, at: int, **metrics: Any) -> NodeSeen:
    return NodeSeen(node_id=node, last_seen=at, metrics=NodeMetrics(**metrics))


def mark(utc: int) -> FlushMark:
    return FlushMark(boot=bytes(16), vseq=1, seq=1, utc=utc)


async def flush(store: MetricsStore, *facts: Any) -> None:
    store.record(facts)
    await store.close()


async def test_points_sum_up_steps(history: zqlite.Store) -> None:
    store = await MetricsStore.open(history)
    for at in range(10):
        fact = seen(7, START + at * 30 * SECOND, load_factor=at / 10, latency_ms=5.0, bytes_in=at * 1000)
        await flush(store, fact, seen(8, START, load_factor=9.0))
    points = await store.points(7, START, START + 300 * SECOND, 150 * SECOND)
    assert [point.at for point in points] == [START, START + 150 * SECOND]
    assert [point.samples for point in points] == [5, 5]
    assert [point.load_factor for point in points] == pytest.approx([0.2, 0.7])
    assert [point.bytes_in for point in points] == [4000, 9000]
    assert points[0].latency_ms == 5.0
    assert await store.points(9, START, START + DAY, DAY) == []
    with pytest.raises(ValidationError):
        await store.points(7, 0, START, 1)


async def test_what_was_told_once_is_kept_once(history: zqlite.Store) -> None:
    store = await MetricsStore.open(history)
    told = seen(7, START, load_factor=0.5)
    await flush(store, told)
    again = NodeSeen(node_id=7, last_seen=START + SECOND, metrics=told.metrics, online=True)
    await flush(store, again, NodeSeen(node_id=8, last_seen=START))
    points = await store.points(7, START, START + DAY, DAY)
    assert [point.samples for point in points] == [1]
    assert await store.points(8, START, START + DAY, DAY) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"load_factor": math.nan},
        {"latency_ms": math.inf},
        {"bandwidth_mbps": -1.0},
        {"bytes_in": 1 << 63},
        {"uptime_seconds": -1},
    ],
)
async def test_what_no_machine_measures_is_not_kept(history: zqlite.Store, wrong: dict[str, Any]) -> None:
    store = await MetricsStore.open(history)
    await flush(store, seen(7, START, **wrong), seen(8, START))
    assert await store.points(7, START, START + DAY, DAY) == []
    assert len(await store.points(8, START, START + DAY, DAY)) == 1


async def test_a_week_and_then_stretches_of_five_minutes(history: zqlite.Store) -> None:
    store = await MetricsStore.open(history)
    await flush(store, *(seen(7, START + at * 30 * SECOND, load_factor=1.0, bytes_in=at) for at in range(20)))
    for _ in range(MAINTAIN_EVERY):
        store.record([mark(START + 8 * DAY)])
    await store.close()
    assert not len((await store.series.window(7, 0, START + DAY)).at)
    points = await store.points(7, START, START + 600 * SECOND, 300 * SECOND)
    assert [(point.samples, point.load_factor, point.bytes_in) for point in points] == [(10, 1.0, 9), (10, 1.0, 19)]
    for _ in range(MAINTAIN_EVERY):
        store.record([mark(START + 91 * DAY)])
    await store.close()
    assert await store.points(7, START, START + DAY, DAY) == []


async def test_a_failure_is_told(tmp_path: Path) -> None:
    history = await zqlite.open(tmp_path / "history.db", key=bytes(32))
    store = await MetricsStore.open(history)
    failures: list[BaseException] = []
    store.failed = failures.append
    await history.close()
    await flush(store, seen(7, START))
    assert len(failures) == 1
