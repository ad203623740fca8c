"""The slow twin of a series: every sample in a list, summed up when asked."""

from __future__ import annotations

from typing import NamedTuple


class Sample(NamedTuple):
    """One sample of a series with one column."""

    key: int
    at: int
    value: float


class Series:
    """What a series with one number answers. `rolled` are the samples that it keeps as sums only."""

    def __init__(self, keep: int, bucket: int, keep_rolled: int) -> None:
        self.keep, self.bucket, self.keep_rolled = keep, bucket, keep_rolled
        self.samples: list[Sample] = []
        self.rolled: list[Sample] = []

    def window(self, key: int, since: int, until: int) -> list[tuple[int, float]]:
        """Times and values."""
        return sorted((s.at, s.value) for s in self.samples if s.key == key and since <= s.at < until)

    def summary(self, key: int, since: int, until: int, step: int) -> list[tuple[int, int, float, float, float]]:
        """Start, count, sum, least and most of each step."""
        steps: dict[int, list[float]] = {}
        rolled = [Sample(s.key, s.at // self.bucket * self.bucket, s.value) for s in self.rolled]
        for sample in [*self.samples, *rolled]:
            if sample.key == key and since <= sample.at < until:
                steps.setdefault((sample.at - since) // step * step + since, []).append(sample.value)
        return [(at, len(vs), sum(vs), min(vs), max(vs)) for at, vs in sorted(steps.items())]

    def times(self) -> set[tuple[int, int]]:
        """Keys and times that are taken."""
        return {(s.key, s.at) for s in [*self.samples, *self.rolled]}
