"""100,000 address rules in the packed R-tree, beside SQLite's R-tree and a list.

SQLite's `rtree_i32` answers from memory, through apsw, over all four axes (its fastest schema for this: ports or
protocols as auxiliary columns are slower, and so is taking the rows out instead of their `min`). It is asked one
question a statement, the tree whole arrays of questions. Answers are compared first.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import apsw
import numpy as np

from bench.cases import least_cpu
from ghostwire._native import cidr
from tests.reference.cidr import first_match

RULES, QUESTIONS = 100_000, 200_000
HAS_AVX512 = cidr.Rules(np.empty((0, 8), np.uint32)).vectors == 512


def _rules(count: int = RULES) -> np.ndarray:
    draw = np.random.default_rng(5)

    def spans(count: int) -> tuple[np.ndarray, np.ndarray]:
        host = np.uint64(32) - draw.choice(np.array([10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 32], np.uint64), count)
        mask = (np.uint64(1) << host) - np.uint64(1)
        first = (draw.integers(0, 2**24, count, dtype=np.uint64) | np.uint64(10 << 24)) & ~mask
        return first.astype(np.uint32), (first | mask).astype(np.uint32)

    (s0, s1), (t0, t1) = spans(5_000), spans(20_000)
    i, j = draw.integers(0, 5_000, count), draw.integers(0, 20_000, count)
    first = draw.integers(0, 60_000, count).astype(np.uint32)
    last = first + draw.integers(0, 5_000, count).astype(np.uint32)
    protocols = np.array([(6, 6), (17, 17), (0, 255)], np.uint32)[draw.integers(0, 3, count)]
    return np.column_stack([s0[i], s1[i], t0[j], t1[j], first, last, protocols])


class Match:
    """A hundred packets among 10,000 address rules."""

    gate_calls = 200

    def setup(self) -> None:
        rows = _rules(10_000)
        self.tree = cidr.Rules(rows)
        source, target, port = (rows[:100, column].copy() for column in (0, 2, 4))
        self.asked = source, target, np.full(100, 6, np.uint8), port.astype(np.uint16)

    def time_match_many(self) -> None:
        self.tree.match_many(*self.asked)


class Rules:
    """The packed R-tree, and how many times its answer and its build SQLite's and a list's take."""

    timeout = 300
    at_least: ClassVar = {
        "track_match_against_sqlite": 100,
        "track_match_against_list": 20_000 if HAS_AVX512 else 10_000,
        "track_build_against_sqlite": 15,
    }

    def setup(self) -> None:
        self.rows = _rules()
        self.tree = cidr.Rules(self.rows)
        draw = np.random.default_rng(9).integers(0, RULES, QUESTIONS)
        source, target, port = (self.rows[draw, column].copy() for column in (0, 2, 4))
        self.asked = source, target, np.full(QUESTIONS, 6, np.uint8), port.astype(np.uint16)

    def track_build_ms(self) -> float:
        return least_cpu(lambda: cidr.Rules(self.rows)) * 1e3

    def track_bytes(self) -> float:
        return self.tree.nbytes / RULES

    def track_match_ns(self) -> float:
        return least_cpu(lambda: self.tree.match_many(*self.asked)) / QUESTIONS * 1e9

    def track_match_one_ns(self) -> float:
        asked, match = self._questions(20_000), self.tree.match
        return least_cpu(lambda: [match(*question) for question in asked]) / len(asked) * 1e9

    def track_match_against_sqlite(self) -> float:
        base = self._sqlite()
        query = (
            "SELECT min(id) FROM r WHERE s0<=? AND s1>=? AND t0<=? AND t1>=? AND p0<=? AND p1>=? AND q0<=? AND q1>=?"
        )
        asked = self._questions(3_000)
        shifted = [(s - 2**31,) * 2 + (t - 2**31,) * 2 + (port,) * 2 + (kind,) * 2 for s, t, kind, port in asked]
        ask = base.cursor().execute
        found = [ask(query, question).fetchall()[0][0] for question in shifted]
        assert found == self._found(len(asked))
        ratios = []
        for _ in range(5):  # side by side, so that both meet the same noise
            theirs = least_cpu(lambda: [ask(query, question).fetchall() for question in shifted], 1) / len(asked) * 1e9
            ratios.append(theirs / (least_cpu(lambda: self.tree.match_many(*self.asked), 1) / QUESTIONS * 1e9))
        return sorted(ratios)[len(ratios) // 2]

    def track_match_against_list(self) -> float:
        rules, asked = [tuple(row) for row in self.rows.tolist()], self._questions(40)
        found = [first_match(rules, *question) for question in asked]
        assert [None if rule == cidr.NOTHING else rule for rule in found] == self._found(len(asked))
        ratios = []
        for _ in range(5):  # side by side, so that both meet the same noise
            theirs = least_cpu(lambda: [first_match(rules, *question) for question in asked], 1) / len(asked) * 1e9
            ratios.append(theirs / (least_cpu(lambda: self.tree.match_many(*self.asked), 2) / QUESTIONS * 1e9))
        return sorted(ratios)[len(ratios) // 2]

    def track_build_against_sqlite(self) -> float:
        return least_cpu(self._sqlite, 3) * 1e3 / self.track_build_ms()

    def _questions(self, count: int) -> list[tuple[int, int, int, int]]:
        return list(zip(*(column[:count].tolist() for column in self.asked), strict=True))

    def _found(self, count: int) -> list[int | None]:
        found = self.tree.match_many(*(column[:count] for column in self.asked)).tolist()
        return [None if rule == cidr.NOTHING else rule for rule in found]

    @cached_property
    def _signed(self) -> list[tuple[int, ...]]:
        signed = self.rows.astype(np.int64)
        signed[:, :4] -= 2**31
        return [(i, *row) for i, row in enumerate(signed.tolist())]

    def _sqlite(self) -> apsw.Connection:
        base = apsw.Connection(":memory:")
        base.execute("CREATE VIRTUAL TABLE r USING rtree_i32(id, s0, s1, t0, t1, p0, p1, q0, q1)")
        with base:
            base.executemany("INSERT INTO r VALUES (?,?,?,?,?,?,?,?,?)", self._signed)
        return base
