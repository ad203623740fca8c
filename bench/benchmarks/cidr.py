"""Longest-prefix match over a million prefixes, and the R-tree over 100,000 address rules beside SQLite's.

SQLite's `rtree_i32` answers in three dimensions from memory; both are asked the same questions.
"""

from __future__ import annotations

from time import perf_counter

import apsw
import numpy as np

from ghostwire._native import cidr

PREFIXES, RULES, QUESTIONS = 1_000_000, 100_000, 200_000


def _rules() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)

    def spans(count: int) -> tuple[np.ndarray, np.ndarray]:
        host = np.uint64(32) - draw.choice(np.array([10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 32], np.uint64), count)
        mask = (np.uint64(1) << host) - np.uint64(1)
        first = (draw.integers(0, 2**24, count, dtype=np.uint64) | np.uint64(10 << 24)) & ~mask
        return first.astype(np.uint32), (first | mask).astype(np.uint32)

    (s0, s1), (t0, t1) = spans(5_000), spans(20_000)
    i, j = draw.integers(0, 5_000, RULES), draw.integers(0, 20_000, RULES)
    first = draw.integers(0, 60_000, RULES).astype(np.uint32)
    last = first + draw.integers(0, 5_000, RULES).astype(np.uint32)
    rows = np.stack([s0[i], s1[i], t0[j], t1[j], first, last], axis=1)
    return rows, draw.choice(np.array([6, 17, 65535], np.uint16), RULES)


class Prefixes:
    """Build in milliseconds, bytes a prefix, nanoseconds a look-up."""

    def setup(self) -> None:
        draw = np.random.default_rng(1)
        lengths = draw.choice(np.array([16, 18, 20, 21, 22, 23, 24, 24, 24, 24], np.uint8), PREFIXES)
        networks = draw.integers(1 << 24, 224 << 24, PREFIXES, dtype=np.uint32)
        self.given = networks, lengths, np.arange(PREFIXES, dtype=np.uint32)
        self.table = cidr.Prefixes4(*self.given)
        self.asked = draw.integers(0, 2**32, QUESTIONS, dtype=np.uint32)

    def track_build_ms(self) -> float:
        return min(self._timed(lambda: cidr.Prefixes4(*self.given)) for _ in range(5)) * 1e3

    def track_bytes(self) -> float:
        return self.table.nbytes / PREFIXES

    def track_batch_ns(self) -> float:
        return min(self._timed(lambda: self.table.find_many(self.asked)) for _ in range(5)) / QUESTIONS * 1e9

    @staticmethod
    def _timed(work) -> float:  # type: ignore[no-untyped-def]
        start = perf_counter()
        work()
        return perf_counter() - start


class Rules:
    """The packed R-tree, and how many times it SQLite's answer and build take."""

    timeout = 300

    def setup(self) -> None:
        self.rows, self.protocols = _rules()
        self.tree = cidr.Rules(self.rows, self.protocols)
        draw = np.random.default_rng(9).integers(0, RULES, QUESTIONS)
        self.asked = self.rows[draw, 0], self.rows[draw, 2], np.full(QUESTIONS, 6, np.uint16)
        self.asked = *self.asked, self.rows[draw, 4].astype(np.uint16)
        signed = self.rows.astype(np.int64)
        signed[:, :4] -= 2**31
        self.signed = [(i, *row) for i, row in enumerate(signed.tolist())]

    def track_build_ms(self) -> float:
        return min(Prefixes._timed(lambda: cidr.Rules(self.rows, self.protocols)) for _ in range(5)) * 1e3

    def track_bytes(self) -> float:
        return self.tree.nbytes / RULES

    def track_match_ns(self) -> float:
        return min(Prefixes._timed(lambda: self.tree.match_many(*self.asked)) for _ in range(5)) / QUESTIONS * 1e9

    def track_match_against_sqlite(self) -> float:
        base = self._sqlite()
        query = "SELECT id FROM r WHERE s0<=? AND s1>=? AND t0<=? AND t1>=? AND p0<=? AND p1>=?"
        asked = [
            [int(c[i]) - shift for c, shift in zip(self._axes(), (2**31, 2**31, 0), strict=True)] for i in range(3_000)
        ]
        start = perf_counter()
        for s, t, p in asked:
            min((row[0] for row in base.execute(query, (s, s, t, t, p, p))), default=-1)
        theirs = (perf_counter() - start) / len(asked) * 1e9
        return theirs / self.track_match_ns()

    def track_build_against_sqlite(self) -> float:
        return Prefixes._timed(self._sqlite) * 1e3 / self.track_build_ms()

    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.asked[0], self.asked[1], self.asked[3]

    def _sqlite(self) -> apsw.Connection:
        base = apsw.Connection(":memory:")
        base.execute("CREATE VIRTUAL TABLE r USING rtree_i32(id, s0, s1, t0, t1, p0, p1)")
        with base:
            base.executemany("INSERT INTO r VALUES (?,?,?,?,?,?,?)", self.signed)
        return base
