"""The series of nodes' traffic: what flushes leave in it, and what is asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.coordinator.snapshot import NodeFlows
from ghostwire.errors import ValidationError
from ghostwire.model.flow import Flow
from ghostwire.model.time import SECOND
from ghostwire.server.store import flows
from ghostwire.server.store.flows import FlowsStore, PairFlow
from ghostwire.server.store.recording import MAINTAIN_EVERY

START = 1_800_000_000 * SECOND
DAY = 86_400 * SECOND
ONE = Flow(rx_packets=1, rx_bytes=100, tx_packets=2, tx_bytes=50)


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[zqlite.Store]:
    async with await zqlite.open(tmp_path / "history.db", key=bytes(32), durability="lazy") as db:
        yield db


async def flush(store: FlowsStore, utc: int, *told: tuple[int, dict[int, Flow]]) -> None:
    store.record([NodeFlows(node_id=node, flows=each) for node, each in told], utc)
    await store.close()


async def test_pairs_are_summed_up_over_a_time(history: zqlite.Store) -> None:
    store = await FlowsStore.open(history)
    for minute in range(4):
        await flush(store, START + minute * 60 * SECOND, (7, {8: ONE, 9: ONE.plus(ONE)}), (8, {7: ONE}))
    both = ONE.plus(ONE)
    assert await store.totals(7, START, START + 120 * SECOND) == [
        PairFlow(7, 9, both.plus(both)),
        PairFlow(7, 8, both),
    ]
    everyone = await store.totals(None, START + 180 * SECOND, START + DAY)
    assert sorted(everyone) == [PairFlow(7, 8, ONE), PairFlow(7, 9, both), PairFlow(8, 7, ONE)]
    assert await store.totals(9, START, START + DAY) == []
    assert await store.totals(None, START - DAY, START) == []


async def test_a_week_and_then_stretches_of_five_minutes(history: zqlite.Store) -> None:
    store = await FlowsStore.open(history)
    for minute in range(10):
        await flush(store, START + minute * 60 * SECOND, (7, {8: ONE}))
    for _ in range(MAINTAIN_EVERY):
        store.record([], START + 8 * DAY)
    await store.close()
    pair = 7 << 32 | 8
    assert not len((await store.series.window(pair, 0, START + DAY)).at)
    ((_, _, told),) = await store.totals(7, START, START + 300 * SECOND)
    assert told == Flow(5, 500, 10, 250)
    for _ in range(MAINTAIN_EVERY):
        store.record([], START + 99 * DAY)
    await store.close()
    assert await store.totals(None, START, START + DAY) == []


async def test_too_many_pairs_are_refused(history: zqlite.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MOST_PAIRS", 2)
    store = await FlowsStore.open(history)
    await flush(store, START, (7, {8: ONE, 9: ONE}), (8, {7: ONE}))
    assert len(await store.totals(7, START, START + DAY)) == 2
    with pytest.raises(ValidationError, match="more than 2 keys"):
        await store.totals(None, START, START + DAY)
    assert await store.totals(None, START + DAY, START + 2 * DAY) == []


async def test_traffic_reads_as_sql(history: zqlite.Store) -> None:
    store = await FlowsStore.open(history)
    await flush(store, START, (7, {8: ONE}))
    rows = await history.query("SELECT pair >> 32, pair & 0xffffffff, at, rx_bytes, tx_bytes FROM flows")
    assert [tuple(row) for row in rows] == [(7, 8, START, 100, 50)]
