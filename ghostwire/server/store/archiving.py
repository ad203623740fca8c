"""The audit history of a coordinator: what of its log is older than a day goes into column blocks in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from ghostwire import zqlite
from ghostwire.errors import GhostwireError

LOOK_EVERY: Final = 720
"""Flushes: an hour."""
WORTHWHILE: Final = 50_000
"""Rows. A snapshot must cover what is archived, and that is taken for many at once."""
RECENT_NS: Final = 86_400_000_000_000

_OLD: Final = "SELECT seq FROM change WHERE ts <= ? ORDER BY seq DESC LIMIT 1"


class Archiving:
    """Nobody waits for it; what goes wrong is told to `failed` and tried again at the next look."""

    def __init__(self, durable: zqlite.Store, every: int = LOOK_EVERY, worthwhile: int = WORTHWHILE) -> None:
        self.failed: Callable[[BaseException], None] = _ignore
        self._durable = durable
        self._every = every
        self._worthwhile = worthwhile
        self._flushes = 0
        self._running: asyncio.Task[None] | None = None

    def flushed(self) -> None:
        """Count a flush, and look after some of them whether there is something to do."""
        self._flushes += 1
        if self._flushes % self._every == 0 and (self._running is None or self._running.done()):
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def archive(self, until: int) -> int:
        """Archive the log from before `until` (UTC nanoseconds) if it is worth it; how many rows went."""
        oldest = await self._durable.query_one("SELECT min(seq) FROM change")
        newest = await self._durable.query_one(_OLD, (until,))
        if oldest is None or newest is None or newest[0] - oldest[0] + 1 < self._worthwhile:
            return 0
        await self._durable.snapshot()
        return await self._durable.archive(newest[0])

    async def close(self) -> None:
        """Finish what is under way."""
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        try:
            await self.archive(time.time_ns() - RECENT_NS)
        except GhostwireError as error:
            self.failed(error)


def _ignore(error: BaseException) -> None:
    return
