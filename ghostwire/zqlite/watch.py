"""What a store does, told to whoever watches: each query, commit, checkpoint and backup, and how long it took."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

What = Literal["query", "commit", "checkpoint", "backup"]

KEPT: Final = 128
"""How many slow queries are remembered."""
SLOW_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was done. `text` is a query's SQL, or an operation's kind: never the values.

    `started` is UTC nanoseconds, `took` nanoseconds; `count` are the rows of a query, the operations of a commit, the
    pages of a checkpoint, the bytes of a backup.
    """

    what: What
    started: int
    took: int
    text: str = ""
    count: int = 0


class Watch:
    """One store's. It is told of queries that took longer than `alert` nanoseconds: of all, where somebody listens.

    `on_seen` is called on the thread that did the thing and must return at once; `failures` counts what it raised.
    """

    def __init__(self, on_seen: Callable[[Seen], None] | None = None, slow: float = SLOW_SECONDS) -> None:
        self.failures = 0
        self.slow: deque[Seen] = deque(maxlen=KEPT)
        self._slow_ns = round(slow * 1e9)
        self.alert = self._slow_ns if on_seen is None else -1
        self._on_seen = on_seen

    def tell(self, what: What, took: int, text: str = "", count: int = 0) -> None:
        """Something has just ended."""
        slow = what == "query" and took > self._slow_ns
        if not slow and self._on_seen is None:
            return
        seen = Seen(what, time.time_ns() - took, took, text, count)
        if slow:
            self.slow.append(seen)
        if self._on_seen is not None:
            try:
                self._on_seen(seen)
            except Exception:
                self.failures += 1  # what was done is done: its outcome is not the listener's to change


SILENT: Final = Watch(slow=1e9)
"""For connections that belong to no store."""
