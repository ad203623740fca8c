"""Longest-prefix match over a million prefixes, as many as the internet has, beside pytricia's.

Answers are compared first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

import numpy as np
import pytricia

from bench.cases import least_cpu
from ghostwire._native import prefixes as intervals

PREFIXES, QUESTIONS = 1_000_000, 200_000


class Prefixes:
    """Build in milliseconds, bytes a prefix, nanoseconds a look-up, and how many times that pytricia takes."""

    timeout = 300
    at_least: ClassVar = {"track_batch_against_pytricia": 70, "track_single_against_pytricia": 8}

    def setup(self) -> None:
        draw = np.random.default_rng(1)
        lengths = draw.choice(np.array([16, 18, 20, 21, 22, 23, 24, 24, 24, 24], np.uint8), PREFIXES)
        networks = draw.integers(1 << 24, 224 << 24, PREFIXES, dtype=np.uint32)
        self.given = networks, lengths, np.arange(PREFIXES, dtype=np.uint32)
        self.table = intervals.Prefixes4(*self.given)
        self.asked = draw.integers(0, 2**32, QUESTIONS, dtype=np.uint32)

    def track_build_ms(self) -> float:
        return least_cpu(lambda: intervals.Prefixes4(*self.given)) * 1e3

    def track_bytes(self) -> float:
        return self.table.nbytes / PREFIXES

    def track_batch_ns(self) -> float:
        return least_cpu(lambda: self.table.find_many(self.asked)) / QUESTIONS * 1e9

    def track_single_ns(self) -> float:
        asked, find = self.asked[:50_000].tolist(), self.table.find
        return least_cpu(lambda: [find(address) for address in asked]) / len(asked) * 1e9

    def track_batch_against_pytricia(self) -> float:
        return self._against_pytricia(self.track_batch_ns)

    def track_single_against_pytricia(self) -> float:
        return self._against_pytricia(self.track_single_ns)

    def _against_pytricia(self, ours: Callable[[], float]) -> float:
        asked, get = self.asked[:50_000].tolist(), self._theirs.get
        found = [get(address, intervals.NOTHING) for address in asked]
        assert found == self.table.find_many(self.asked[:50_000]).tolist()
        theirs, mine = [], []
        for _ in range(5):  # in turns, and at their best: what else runs takes more from the one that is quicker
            theirs.append(least_cpu(lambda: [get(address, intervals.NOTHING) for address in asked], 2))
            mine.append(ours())
        return min(theirs) / len(asked) * 1e9 / min(mine)

    @cached_property
    def _theirs(self) -> pytricia.PyTricia:
        table = pytricia.PyTricia(32)
        networks, lengths, values = self.given
        masks = ~((np.uint64(1) << (np.uint64(32) - lengths.astype(np.uint64))) - np.uint64(1))
        for row in zip((networks & masks.astype(np.uint32)).tolist(), lengths.tolist(), values.tolist(), strict=True):
            table.insert(*row)
        return table
