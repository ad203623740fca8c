"""Windows of the policy: the time as of which it holds, moved by logged changes only.

A schedule that opens or closes, a rule, a membership or access that ends: the timekeeper sees the moment come, and the
change it asks for writes the time down. What the policy means follows from what is written, never from a clock, so a
replay of the log means the same.
"""

from __future__ import annotations

from ghostwire.coordinator.access import AccessDesk
from ghostwire.coordinator.decision import Decision, answers_nothing
from ghostwire.coordinator.state import State
from ghostwire.coordinator.views import POLICY_TIME, Views


class Windows:
    """Decides that time has moved on for the policy."""

    def __init__(self, state: State, views: Views, access: AccessDesk) -> None:
        self._state = state
        self._views = views
        self._access = access

    def next_turn(self) -> int:
        """When the next window opens or closes, UTC nanoseconds; 0 for never."""
        return self._views.next_turn()

    def turn(self, utc: int) -> Decision | None:
        """Let everything turn that is due."""
        due = self.next_turn()
        if not 0 < due <= utc:
            return None
        time = self._state.setting(POLICY_TIME, utc.to_bytes(8, "big"))
        return Decision("policy.window", (time, *self._access.end_due(utc)), answers_nothing)
