"""A series against its twin: samples in any order, windows, sums over steps, roll-ups, restarts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ghostwire import zqlite
from ghostwire.zqlite import series
from ghostwire.zqlite.series import Column, Schema
from tests.reference import series as twin

KEEP, BUCKET, KEEP_ROLLED = 40_000, 300, 100_000_000
SCHEMA = Schema(name="m", columns=(Column("v", "real"),), keep_ns=KEEP, bucket_ns=BUCKET, keep_rolled_ns=KEEP_ROLLED)
SIZE = SCHEMA.capacity
KEYS = st.integers(-1, 2)
TIMES = st.integers(0, 60_000)


class SeriesMachine(RuleBasedStateMachine):
    """Values are quarters, so that sums are exact in any order."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.twin = twin.Series(KEEP, BUCKET, KEEP_ROLLED)
        self.now = 0
        self.open()

    def open(self) -> None:
        self.db = self.run(zqlite.open(self.folder / "s.db", key=bytes(32), durability="lazy"))
        self.series = self.run(series.create(self.db, SCHEMA))

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.run(self.db.close())
            self.loop.close()
            shutil.rmtree(self.folder)

    @rule(key=KEYS, times=st.lists(TIMES, unique=True, max_size=40))
    def append(self, key: int, times: list[int]) -> None:
        taken = self.twin.times()
        samples = [twin.Sample(key, at, at % 97 / 4) for at in times if (key, at) not in taken]
        self.run(self.series.append(samples))
        self.twin.samples += samples

    @rule(key=KEYS, start=TIMES, count=st.integers(SIZE - 50, 2 * SIZE + 50))
    def load(self, key: int, start: int, count: int) -> None:
        taken = self.twin.times()
        times = [at for at in range(start, start + count) if (key, at) not in taken]
        samples = [twin.Sample(key, at, at % 97 / 4) for at in times]
        self.run(self.series.load(key, np.array(times, np.int64), [[sample.value for sample in samples]]))
        self.twin.samples += samples

    @rule(passed=st.integers(0, 30_000))
    def maintain(self, passed: int) -> None:
        """What goes, goes by whole blocks: the twin learns from the series which samples those were."""
        self.now += passed
        self.run(self.series.maintain(self.now))
        left = {(key, at) for key in range(-1, 3) for at, _ in self.window_of(key, 0, 1 << 40)}
        gone = [s for s in self.twin.samples if (s.key, s.at) not in left]
        assert all(s.at < self.now - KEEP for s in gone)
        self.twin.rolled += gone
        self.twin.samples = [s for s in self.twin.samples if (s.key, s.at) in left]

    @rule(key=KEYS, since=TIMES, length=st.integers(1, 20_000))
    def window(self, key: int, since: int, length: int) -> None:
        expected = self.twin.window(key, since, since + length)
        for _ in range(2):  # from the file, then from the cache
            assert self.window_of(key, since, since + length) == expected

    @rule(
        key=KEYS, since=TIMES.map(lambda at: at // BUCKET * BUCKET), steps=st.integers(1, 50), step=st.integers(1, 20)
    )
    def summary(self, key: int, since: int, steps: int, step: int) -> None:
        length = step * BUCKET
        sums = self.run(self.series.summary(key, since, since + steps * length, length))
        found = zip(sums.at.tolist(), sums.samples.tolist(), *(p[0].tolist() for p in sums[2:]), strict=True)
        assert list(found) == self.twin.summary(key, since, since + steps * length, length)

    @rule(key=KEYS)
    def sql(self, key: int) -> None:
        rows = self.run(self.db.query("SELECT at, v FROM m WHERE key = ? ORDER BY at", (key,)))
        assert [tuple(row) for row in rows] == self.twin.window(key, 0, 1 << 40)

    @rule()
    def restart(self) -> None:
        self.run(self.db.close())
        self.open()

    def window_of(self, key: int, since: int, until: int) -> list[tuple[int, float]]:
        found = self.run(self.series.window(key, since, until))
        return list(zip(found.at.tolist(), found.columns[0].tolist(), strict=True))


TestSeries = SeriesMachine.TestCase
TestSeries.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
