from collections.abc import Callable
from typing import Any, final

from core_ext.histogram import Histogram

@final
class HeldMap:
    own: int
    position: Any
    told: int
    def __len__(self) -> int: ...
    @property
    def digest(self) -> bytes: ...
    def items(self) -> list[tuple[int, bytes]]: ...
    def clear(self) -> None: ...
    def apply(self, change: Change) -> None: ...

@final
class Change:
    def __new__(
        cls, position: object, parts: list[tuple[int, bytes]], gone: list[int], moments: list[float]
    ) -> Change: ...

@final
class Broadcasts:
    since: float
    last_at: float
    count: int
    def __new__(
        cls, read: Callable[[bytes], Change | None], mark: bytes, packed: int, latencies: Histogram
    ) -> Broadcasts: ...

@final
class Frames:
    def __new__(cls, limit: int) -> Frames: ...
    def feed(self, data: bytes) -> list[tuple[int, bytes]]: ...

@final
class Inbox:
    live: bool
    def __new__(cls, broadcasts: Broadcasts, held: HeldMap, limit: int) -> Inbox: ...
    def feed(self, data: bytes, at: float) -> list[tuple[int, bytes]]: ...
