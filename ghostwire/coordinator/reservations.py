"""What is decided and not yet durable: unique values taken, uses spent, and who must wait for whom.

A decision reserves at once, so two decisions in flight never collide; nobody waits for a reservation. The one thing
that waits is a second command on the same object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import msgspec

from ghostwire.coordinator.commands import Command


class Claim:
    """What one decision holds until the store has answered. `after` runs then, `undo` only when it failed."""

    __slots__ = ("_reservations", "after", "pending", "taken", "undo")

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations
        self.taken: list[Hashable] = []
        self.pending: list[tuple[str, Any]] = []
        self.undo: list[Callable[[], Any]] = []
        self.after: list[Callable[[], Any]] = []

    def take(self, kind: str, value: Hashable) -> None:
        """Hold a unique value. The caller has seen that it is free."""
        self._reservations.taken.add((kind, value))
        self.taken.append((kind, value))

    def foresee(self, table: str, key: Any, record: msgspec.Struct) -> None:
        """Let later decisions build on this image of a row, which they could not without waiting."""
        self._reservations.foresee(table, key, record)
        self.pending.append((table, key))

    def release(self, *, committed: bool) -> None:
        """Let go of everything: the rows stand for it now, or nothing does."""
        if self.taken:
            self._reservations.taken.difference_update(self.taken)
        for table, key in self.pending:
            self._reservations.forget(table, key, committed=committed)
        if not committed:
            for action in reversed(self.undo):
                action()
        for action in self.after:
            action()


class Reservations:
    """Everything that decisions in flight hold."""

    def __init__(self) -> None:
        self.taken: set[Hashable] = set()
        self._images: dict[tuple[str, Any], tuple[int, msgspec.Struct | None]] = {}
        self._locked: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[Command]] = {}

    def is_taken(self, kind: str, value: Hashable) -> bool:
        """Whether a decision in flight holds the value."""
        return (kind, value) in self.taken

    # Images of rows that are about to be.

    def latest(self, table: str, key: Any, committed: Any) -> Any:
        """The row as it will stand when everything in flight has committed."""
        found = self._images.get((table, key))
        return committed if found is None or found[1] is None else found[1]

    def foresee(self, table: str, key: Any, record: msgspec.Struct) -> None:
        """Remember the newest image of a row in flight."""
        count, _ = self._images.get((table, key), (0, None))
        self._images[table, key] = (count + 1, record)

    def forget(self, table: str, key: Any, *, committed: bool) -> None:
        """One change of the row is through. After a failure the committed row counts again."""
        count, record = self._images[table, key]
        if count == 1:
            del self._images[table, key]
        else:
            self._images[table, key] = (count - 1, record if committed else None)

    # One command at a time on one object.

    def lock(self, keys: Iterable[Hashable], command: Command) -> bool:
        """Whether `command` may be decided now. Otherwise it waits, and `unlock` gives it back in its turn."""
        for key in keys:
            if key in self._locked:
                self._waiting.setdefault(key, deque()).append(command)
                return False
        return True

    def hold(self, keys: Iterable[Hashable]) -> None:
        """Make other commands on these objects wait."""
        for key in keys:
            self._locked[key] = self._locked.get(key, 0) + 1

    def unlock(self, keys: Iterable[Hashable]) -> list[Command]:
        """Let go of these objects; the commands that may be tried again, oldest first."""
        woken: list[Command] = []
        for key in keys:
            left = self._locked.get(key, 0) - 1
            if left > 0:
                self._locked[key] = left
                continue
            self._locked.pop(key, None)
            woken.extend(self._waiting.pop(key, ()))
        return woken

    @property
    def waiting(self) -> int:
        """How many commands wait."""
        return sum(len(queue) for queue in self._waiting.values())
