"""What the server tells its observer: changes that lasted, nodes that come and go, how long things took.

Levels: info for changes of nodes, users, keys and policy and for nodes that come and go; warning for missed
heartbeats; debug for what runs by itself; trace for each command. No secret is in any of it.
"""

from __future__ import annotations

from typing import Final, Literal

from ghostwire.coordinator.effects import Persist
from ghostwire.errors import ConflictError, GhostwireError
from ghostwire.model.change import ChangeRecord, Delete, Put
from ghostwire.model.node import Node
from ghostwire.model.time import SECOND, Now
from ghostwire.model.user import User
from ghostwire.server.clock import Clock
from ghostwire.server.metrics import Timings
from ghostwire.server.observer import Level, Observer, Value

BY_ITSELF: Final = frozenset(
    (
        "address.wake",
        "clock.note",
        "credential.purge",
        "node.reregister",
        "policy.bind",
        "session.sweep",
        "session.token",
    )
)
"""Kinds of changes that nobody asked for in so many words."""
_PRESENCE: Final[dict[str, tuple[Level, str]]] = {
    "online": ("info", "node.online"),
    "grace": ("warning", "node.heartbeat_missed"),
    "offline": ("info", "node.offline"),
}


class Witness:
    """One server's. It is the coordinator's observer, too."""

    __slots__ = ("_clock", "_observer", "timings")

    def __init__(self, observer: Observer, timings: Timings, clock: Clock) -> None:
        self._observer, self.timings, self._clock = observer, timings, clock

    def handled(self, command: str, since: Now, cpu_s: float) -> None:
        """The coordinator has dealt with a command, which took its thread so long of a processor."""
        now = self._clock()
        built = self.timings.handled(command, now.mono - since.mono, cpu_s)
        self._observer.event("trace", "command", kind=command)
        if built:
            self._span("netmap.build", since, now, maps=built)

    def committed(self, effect: Persist, since: Now, row: ChangeRecord) -> None:
        """A change is on disk."""
        now = self._clock()
        self.timings.query.observe(now.mono - since.mono)
        level: Level = "debug" if effect.kind in BY_ITSELF else "info"
        self._observer.event(level, effect.kind, seq=row.seq, actor=effect.actor, **_subjects(effect))
        self._span("commit", since, now, kind=effect.kind, seq=row.seq)

    def failed(self, effect: Persist, since: Now, error: GhostwireError) -> None:
        """A change was not written. A row that had moved on is nothing unusual: the change is decided again."""
        self.timings.query.observe(self._clock().mono - since.mono)
        level: Level = "debug" if isinstance(error, ConflictError) else "error"
        self._observer.event(level, "commit.failed", kind=effect.kind, actor=effect.actor, error=error.message)

    def answered(self, method: str, path: str, status: int, since: Now) -> None:
        """A request over HTTP got its answer. Only the kind of resource is told, never which one."""
        resource = "/".join(path.split("/")[:3])
        self._observer.event("debug", "http", method=method, resource=resource, status=status)
        self._span("http", since, self._clock(), method=method, resource=resource, status=status)

    # What the coordinator tells.

    def netmap_built(self, peers: int, pages: int) -> None:
        """A whole map was built."""
        self.timings.netmap_built(peers, pages)

    def delta_encoded(self, viewers: int, size: int) -> None:
        """A delta was encoded once."""
        self.timings.delta_encoded(viewers, size)

    def presence(self, node: Node, state: Literal["online", "grace", "offline"]) -> None:
        """A node came, missed its heartbeats, or is gone."""
        level, name = _PRESENCE[state]
        self._observer.event(level, name, node=node.id, name=node.name)

    def _span(self, name: str, since: Now, now: Now, **fields: Value) -> None:
        # The length comes from the clock that nobody sets; only the start is by the other one.
        self._observer.span(name, since.utc, since.utc + round((now.mono - since.mono) * SECOND), **fields)


def _subjects(effect: Persist) -> dict[str, Value]:
    """Whom a change is about, as far as its rows say."""
    found: dict[str, Value] = {}
    for write in effect.writes:
        if isinstance(write, Put) and isinstance(write.record, Node):
            found |= {"node": write.record.id, "name": write.record.name}
        elif isinstance(write, Put) and isinstance(write.record, User):
            found |= {"user": write.record.id, "login": write.record.name}
        elif isinstance(write, Delete) and write.table in ("nodes", "users"):
            found[write.table.removesuffix("s")] = write.key
    return found
