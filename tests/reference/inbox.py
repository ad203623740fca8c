"""Twin of `core_ext.inbox`: dictionaries, slices and one sum over everything."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ghostwire.errors import WireError


@dataclass
class Change:
    position: object
    parts: list[tuple[int, bytes]]
    gone: list[int]
    moments: list[float]


class HeldMap:
    """The parts of one node's map by number, as hashes."""

    def __init__(self) -> None:
        self.own = 0
        self.position: Any = None
        self.told = 0
        self._parts: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def digest(self) -> bytes:
        total = sum(int.from_bytes(value, "big") for value in self._parts.values())
        return (total % 2**128).to_bytes(16, "big")

    def items(self) -> list[tuple[int, bytes]]:
        return sorted(self._parts.items())

    def clear(self) -> None:
        self._parts = {}

    def apply(self, change: Change) -> None:
        for number in change.gone:
            self._parts.pop(number, None)
        self._parts.update((number, part) for number, part in change.parts if number != self.own)
        self.position = change.position


@dataclass
class Broadcasts:
    read: Callable[[bytes], Change | None]
    mark: bytes
    packed: int
    late: list[float] = field(default_factory=list)
    since: float = 0.0
    last_at: float = 0.0
    count: int = 0


class Frames:
    """Frames of a server, cut from the beginning each time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self._data += data
        found = []
        while (frame := self._next()) is not None:
            found.append(frame)
        return found

    def _next(self) -> tuple[int, bytes] | None:
        if len(self._data) < 2:
            return None
        if self._data[1] > 127:
            raise WireError("a masked frame")
        wide = {126: 2, 127: 8}.get(self._data[1], 0)
        start = 2 + wide
        if len(self._data) < start:
            return None
        size = int.from_bytes(self._data[2:start], "big") if wide else self._data[1]
        if size > self._limit:
            raise WireError(f"a frame of {size} bytes")
        if len(self._data) < start + size:
            return None
        first, payload, self._data = self._data[0], self._data[start : start + size], self._data[start + size :]
        return first, payload


class Inbox:
    """One connection's incoming bytes."""

    def __init__(self, broadcasts: Broadcasts, held: HeldMap, limit: int) -> None:
        self.live = False
        self._broadcasts, self._held, self._frames = broadcasts, held, Frames(limit)

    def feed(self, data: bytes, at: float) -> list[tuple[int, bytes]]:
        found = []
        for first, payload in self._frames.feed(data):
            change = self._broadcasts.read(payload) if first == 0x82 and self._may_be_change(payload) else None
            if change is None:
                found.append((first, payload))
            else:
                self._take(change, at)
        return found

    def _may_be_change(self, payload: bytes) -> bool:
        marked = payload[1:].startswith(self._broadcasts.mark) or payload[:1] == bytes([self._broadcasts.packed])
        return self.live and marked

    def _take(self, change: Change, at: float) -> None:
        self._held.apply(change)
        self._held.told += 1
        shared = self._broadcasts
        shared.count += 1
        shared.last_at = at
        shared.late += [at - moment for moment in change.moments if moment >= shared.since]
