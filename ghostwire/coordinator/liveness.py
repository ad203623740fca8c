"""HeartbeatMonitor: who is there. online -> grace -> offline, by signs of life and the ends of sessions."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ghostwire.coordinator.agenda import Agenda, Due
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.snapshot import NodeSeen
from ghostwire.model.node import NodeHealth, NodeMetrics
from ghostwire.model.time import SECOND, Now

EARLY_S: Final = 1e-6
"""What a deadline's rounding to ticks may take from it: called so much early is called in time."""
Turn = Literal["grace", "offline"] | None


class Presence(msgspec.Struct, gc=False):
    """What may be lost of a node. Monotonic times in seconds, `last_seen` and `token_expires` in UTC nanoseconds."""

    online: bool = False
    grace_until: float | None = None
    last_heard: float | None = None
    last_seen: int = 0
    endpoints: tuple[str, ...] = ()
    metrics: NodeMetrics | None = None
    token_expires: int = 0


_ABSENT = Presence()


class HeartbeatMonitor:
    """Liveness of every node that was ever seen. `online` is what peers are shown: true throughout grace.

    A sign of life only notes the time. The node's one timer, set for the earliest moment at which anything could
    change, looks at that note when it comes and sets itself again.
    """

    def __init__(self, settings: Settings, agenda: Agenda) -> None:
        self._settings = settings
        self._agenda = agenda
        self._nodes: dict[int, Presence] = {}

    def restore(self, seen: NodeSeen, now: Now) -> None:
        """Take over what an earlier run knew; a node that was online is in grace, shown as before."""
        found = Presence(
            last_seen=seen.last_seen,
            endpoints=seen.endpoints,
            metrics=seen.metrics,
            token_expires=seen.token_expires,
        )
        self._nodes[seen.node_id] = found
        if seen.online:
            found.online = True
            self._enter_grace(seen.node_id, found, now.mono + self._settings.restart_grace_s)

    def get(self, node: int) -> Presence:
        """What is known of a node; read only."""
        return self._nodes.get(node, _ABSENT)

    def edit(self, node: int) -> Presence:
        """What is known of a node, to be changed."""
        found = self._nodes.get(node)
        if found is None:
            found = self._nodes[node] = Presence()
        return found

    def opened(self, node: int, now: Now) -> bool:
        """A session stands; whether peers see a change."""
        found = self.edit(node)
        came = not found.online
        found.online = True
        self._hear(found, now)
        self._agenda.set(Due.SILENCE, node, now.mono + self._settings.silence_s)
        return came

    def heard(self, node: int, now: Now, metrics: NodeMetrics | None) -> None:
        """A sign of life in a live session: an open node that was in grace is out of it."""
        found = self._nodes[node]
        self._hear(found, now)
        if metrics is not None:
            found.metrics = metrics

    def closed(self, node: int, now: Now, *, intent: bool) -> bool:
        """The session is over; whether peers see a change, which they do at once where the node meant it."""
        found = self.edit(node)
        if not found.online:
            return False
        if intent:
            self._leave(node, found)
            return True
        self._enter_grace(node, found, now.mono + self._settings.grace_s)
        return False

    def due(self, node: int, now: Now) -> Turn:
        """The node's timer came: what has become of it, None when nothing has."""
        found = self._nodes.get(node)
        if found is None or not found.online:
            return None
        if found.grace_until is not None:
            if now.mono < found.grace_until - EARLY_S:
                self._agenda.set(Due.SILENCE, node, found.grace_until)
                return None
            self._leave(node, found)
            return "offline"
        silent_at = (found.last_heard or 0.0) + self._settings.silence_s
        if now.mono < silent_at - EARLY_S:
            self._agenda.set(Due.SILENCE, node, silent_at)
            return None
        self._enter_grace(node, found, silent_at + self._settings.grace_s)
        return "grace"

    def forget(self, node: int) -> None:
        """The node is gone."""
        self._nodes.pop(node, None)

    def health(self, node: int, now: Now) -> NodeHealth:
        """A node's liveness at `now`."""
        found = self.get(node)
        since: float | None = None
        if found.last_heard is not None:
            since = max(now.mono - found.last_heard, 0.0)
        elif found.last_seen:
            since = max(now.utc - found.last_seen, 0) / SECOND
        return NodeHealth(
            node_id=node,
            is_online=found.online,
            last_seen=found.last_seen,
            time_since_last_heartbeat=since,
            consecutive_misses=0 if since is None else int(since // self._settings.heartbeat_s),
            in_grace_period=found.grace_until is not None,
        )

    def online(self) -> int:
        """How many nodes are shown as online. Looks at every node."""
        return sum(found.online for found in self._nodes.values())

    def _hear(self, found: Presence, now: Now) -> None:
        found.last_heard = now.mono
        found.last_seen = now.utc
        found.grace_until = None

    def _enter_grace(self, node: int, found: Presence, until: float) -> None:
        found.grace_until = until
        self._agenda.set(Due.SILENCE, node, until)

    def _leave(self, node: int, found: Presence) -> None:
        found.online = False
        found.grace_until = None
        self._agenda.cancel(Due.SILENCE, node)
