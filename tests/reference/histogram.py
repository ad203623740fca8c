"""Twin of `core_ext.histogram`: every duration kept, bucketed when asked."""

from collections import Counter


class Histogram:
    """Counts of durations from 1 us to 10 min, to three digits."""

    def __init__(self) -> None:
        self._micros: list[int] = []

    def add(self, seconds: float) -> None:
        self._micros.append(min(max(int(seconds * 1e6), 1), 600_000_000))

    def take(self) -> list[tuple[int, int]]:
        found = Counter(self._lowest(micros) for micros in self._micros)
        self._micros.clear()
        return sorted(found.items())

    def _lowest(self, micros: int) -> int:
        """The shortest duration that falls into the same bucket: its eleven leading bits."""
        width = max(micros.bit_length() - 11, 0)
        return micros >> width << width
