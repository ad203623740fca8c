"""Durations in an HDR histogram: 1 us to 10 min with three digits, merged across processes without loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hdrh.histogram import HdrHistogram

from ghostwire._native import histogram

LOWEST_US: Final = 1
HIGHEST_US: Final = 600_000_000
DIGITS: Final = 3


class Latencies:
    """Seconds in, milliseconds out."""

    __slots__ = ("_histogram", "fresh")

    def __init__(self) -> None:
        self._histogram = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
        self.fresh = histogram.Histogram()

    def add(self, seconds: float) -> None:
        """Count one. What lies outside the range counts as its end."""
        self.fresh.add(seconds)

    def merge(self, encoded: str) -> None:
        """Count what another one holds."""
        self._whole.decode_and_add(encoded)

    def encode(self) -> str:
        """Everything as text (HDR histogram log format, compressed)."""
        text: bytes = self._whole.encode()
        return text.decode("ascii")

    def take(self) -> str:
        """Everything as text; nothing is counted afterwards."""
        text = self.encode()
        self._histogram.reset()
        return text

    def __len__(self) -> int:
        count: int = self._whole.total_count
        return count

    def percentile(self, percent: float) -> float | None:
        """The duration in milliseconds below which so many percent lie; None where nothing was counted."""
        if not len(self):
            return None
        found: int = self._whole.get_value_at_percentile(percent)
        return found / 1000

    def curve(self, percents: Iterable[float]) -> list[tuple[float, float]]:
        """(percent, milliseconds) for a plot; empty where nothing was counted."""
        return [(percent, found) for percent in percents if (found := self.percentile(percent)) is not None]

    @property
    def _whole(self) -> HdrHistogram:
        for micros, count in self.fresh.take():
            self._histogram.record_value(micros, count)
        return self._histogram
