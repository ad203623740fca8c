"""What one client process counts between two questions."""

from __future__ import annotations

from collections import Counter
from typing import Final

from ghostwire._native import inbox
from ghostwire.testing.load.held import read_change
from ghostwire.testing.load.kinds import DELTA
from ghostwire.testing.load.latencies import Latencies
from ghostwire.testing.load.orders import Tally
from ghostwire.wire.packing import MARK

FAULTS: Final = 20
"""Texts of what went wrong, and of maps that differed, that are kept; one is too many already."""


class Counting:
    """Plain counters. `joined` and `sessions` go on, everything else begins anew with each `take`.

    Changes of maps are counted by `broadcasts`.
    """

    def __init__(self) -> None:
        self.joined = 0
        self.sessions = 0
        self.joins, self._changes = Latencies(), Latencies()
        self.broadcasts = inbox.Broadcasts(read_change, DELTA, MARK, self._changes.fresh)
        self._begin()

    def _begin(self) -> None:
        self.lost = 0
        self.last_session = 0.0
        self.resumed: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults: list[str] = []
        self.replaced: list[str] = []

    def fault(self, text: str) -> bool:
        """The server broke the protocol, or a client failed; whether the text is kept."""
        kept = len(self.faults) < FAULTS
        if kept:
            self.faults.append(text)
        return kept

    def replaced_map(self, text: str) -> None:
        """A node that stood was sent a whole map that differs from its own."""
        if len(self.replaced) < FAULTS:
            self.replaced.append(text)

    def take(self, now: float, told: dict[int, int]) -> Tally:
        """Everything since the last time; `told` are the changes that reached each node."""
        tally = Tally(
            joined=self.joined,
            sessions=self.sessions,
            lost=self.lost,
            deliveries=sum(told.values()),
            most=max(told.values(), default=0),
            told=tuple(told),
            last_session=self.last_session,
            last_delivery=self.broadcasts.last_at,
            joins=self.joins.take(),
            changes=self._changes.take(),
            resumed=dict(self.resumed),
            refusals=dict(self.refusals),
            faults=tuple(self.faults),
            replaced=tuple(self.replaced),
        )
        self.broadcasts.since, self.broadcasts.last_at = now, 0.0
        self._begin()
        return tally
