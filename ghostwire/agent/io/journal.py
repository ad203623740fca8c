"""The agent's log: to whatever handlers the process has, and the last lines in memory for `ghostwire logs`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

NAME: Final = "ghostwire.agent"
KEPT_LINES: Final = 1000
_BEHIND: Final = 1000


class Journal(logging.Handler):
    """Keeps the last lines; those who follow get each new one. A follower that falls far behind loses the oldest."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._followers: set[asyncio.Queue[dict[str, Any]]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        self._lines.append(line)
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(line)

    def lines(self, last: int | None = None) -> list[dict[str, Any]]:
        """The lines that are kept, oldest first."""
        kept = list(self._lines)
        return kept if last is None else kept[max(len(kept) - last, 0) :]

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """What is kept, then each line as it comes."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_BEHIND)
        self._followers.add(queue)
        try:
            for line in self.lines():
                yield line
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)


def logger() -> logging.Logger:
    """The agent's logger."""
    return logging.getLogger(NAME)
