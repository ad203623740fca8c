"""What time it is for things that end: never earlier than it has been, and the coordinator's time where known.

A right's end is written in the coordinator's time. So its clock counts from its last word on, carried by the monotonic
clock; without one, the local clock counts, but never below the highest time seen, which is kept: a clock that was set
back opens nothing again.
"""

from __future__ import annotations

from ghostwire.model.time import SECOND, Now


class Reckoning:
    """Turns the local clock into the time that decides."""

    __slots__ = ("_anchor", "highest")

    def __init__(self, highest: int) -> None:
        self.highest = highest
        self._anchor: tuple[int, float] | None = None

    def heard(self, utc: int, now: Now) -> None:
        """The coordinator said what time it is. It may correct a highest time that a wrong clock left behind."""
        self._anchor = (utc, now.mono)
        self.highest = utc

    def utc(self, now: Now) -> int:
        """The time that decides, in UTC nanoseconds."""
        if self._anchor is None:
            self.highest = max(self.highest, now.utc)
        else:
            utc, mono = self._anchor
            self.highest = max(self.highest, utc + int((now.mono - mono) * SECOND))
        return self.highest
