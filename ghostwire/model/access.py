"""Requests for access that ends by itself: who asked for what, who decided, and how it ended."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ghostwire.model.time import SECOND

AccessState = Literal["pending", "lapsed", "denied", "approved", "revoked", "ended"]
LAPSE_S: Final = 3600
"""How long a request waits for its approval, in seconds."""


class AccessRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request of user `user_id` to reach node `target` at `ports` for `duration_s` seconds.

    `source` is the one node of the user that it is for, None for all of them. `rule` names the rule of the policy
    under which it was asked for, and `digest` is what an approval must name. `approver` is the user who approved it;
    `asked_by` and `decided_by` are the actors in the log. Access stands from `decided_at` to `ends_at`; `outcome`
    says why it was denied, revoked or ended. Times are UTC nanoseconds, 0 for not yet.

    What time alone does to it is not written: `state_at` tells.
    """

    id: int
    user_id: int
    source: int | None
    target: int
    ports: tuple[str, ...]
    duration_s: int
    reason: str
    rule: str
    digest: bytes
    created_at: int
    asked_by: str
    state: AccessState = "pending"
    decided_at: int = 0
    decided_by: str = ""
    approver: int | None = None
    ends_at: int = 0
    outcome: str = ""
    version: int = 1

    @property
    def lapses_at(self) -> int:
        """When nobody can approve it any more."""
        return self.created_at + LAPSE_S * SECOND

    def state_at(self, utc: int) -> AccessState:
        """The state at this time."""
        if self.state == "pending" and utc >= self.lapses_at:
            return "lapsed"
        if self.state == "approved" and utc >= self.ends_at:
            return "ended"
        return self.state
