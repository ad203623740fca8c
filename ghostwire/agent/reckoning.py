"""What time it is for things that end: never earlier than it has been, and the coordinator's time where known.

A right's end is written in the coordinator's time. So its clock counts from its last word on, carried by the monotonic
clock. Without one, time goes on from the local clock or from the highest time seen, whichever is later; the highest
is kept, so a clock that was set back opens nothing again.
"""

from __future__ import annotations

from ghostwire.model.time import SECOND, Now


class Reckoning:
    """Turns the local clock into the time that decides. `highest` is the highest time seen, in UTC nanoseconds."""

    __slots__ = ("_heard", "_mono", "_utc", "highest")

    def __init__(self, highest: int, now: Now) -> None:
        self._utc = self.highest = max(highest, now.utc)
        self._mono = now.mono
        self._heard = False

    def heard(self, utc: int, now: Now) -> None:
        """The coordinator said what time it is. It may correct a highest time that a wrong clock left behind."""
        self._utc = self.highest = utc
        self._mono = now.mono
        self._heard = True

    def utc(self, now: Now) -> int:
        """The time that decides, in UTC nanoseconds."""
        carried = self._utc + int((now.mono - self._mono) * SECOND)
        self.highest = max(self.highest, carried) if self._heard else max(self.highest, carried, now.utc)
        return self.highest
