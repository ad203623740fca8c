"""What one client process counts between two questions."""

from __future__ import annotations

from collections import Counter
from typing import Final

from ghostwire.testing.load.latencies import Latencies
from ghostwire.testing.load.orders import Tally

FAULTS: Final = 20
"""Texts of broken protocol that are kept; one is too many already."""


class Counting:
    """Plain counters. `joined` and `sessions` go on, everything else begins anew with each `take`."""

    def __init__(self) -> None:
        self.since = 0.0
        self.joined = 0
        self.sessions = 0
        self.delivered = 0
        self._begin()

    def _begin(self) -> None:
        self.lost = 0
        self.joins, self.changes = Latencies(), Latencies()
        self.told: Counter[int] = Counter()
        self.last_session = self.last_delivery = 0.0
        self.resumed: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults: list[str] = []

    def delivery(self, node: int, at: float, moments: tuple[float, ...]) -> None:
        """A change of its map reached a node; `moments` are when the changes in it were due, as far as they say."""
        self.delivered += 1
        self.told[node] += 1
        self.last_delivery = at
        for moment in moments:
            if moment >= self.since:  # what is told once more counts once
                self.changes.add(at - moment)

    def fault(self, text: str) -> None:
        """The server broke the protocol."""
        if len(self.faults) < FAULTS:
            self.faults.append(text)

    def take(self, now: float) -> Tally:
        """Everything since the last time."""
        tally = Tally(
            joined=self.joined,
            sessions=self.sessions,
            lost=self.lost,
            deliveries=self.told.total(),
            most=max(self.told.values(), default=0),
            told=tuple(self.told),
            last_session=self.last_session,
            last_delivery=self.last_delivery,
            joins=self.joins.encode(),
            changes=self.changes.encode(),
            resumed=dict(self.resumed),
            refusals=dict(self.refusals),
            faults=tuple(self.faults),
        )
        self.since = now
        self._begin()
        return tally
