"""What the filter's rules did, on its way to the coordinator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ghostwire.wire.messages import MAX_HITS, MOST_HITS


class RuleHits:
    """Counts that wait to be reported, by the ids of the policy's rules."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: Counter[int] = Counter()

    def add(self, hits: Mapping[int, int]) -> None:
        """Take what was counted since the last time."""
        self._waiting.update(hits)

    def take(self) -> dict[int, int]:
        """What the next heartbeat reports: the highest counts. The others wait for the one after it."""
        told = {rule: min(count, MOST_HITS) for rule, count in self._waiting.most_common(MAX_HITS)}
        self._waiting -= Counter(told)
        return told
