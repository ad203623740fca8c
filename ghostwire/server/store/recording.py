"""A series that flushes go into, in `history.db`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from ghostwire.errors import GhostwireError
from ghostwire.zqlite.series import Series

MAINTAIN_EVERY: Final = 120
"""Flushes: ten minutes of a busy network."""


class Recording:
    """Nobody waits for what is kept; what goes wrong is told to `failed`."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.failed: Callable[[BaseException], None] = _ignore
        self._flushes = 0
        self._running: set[asyncio.Task[Any]] = set()

    def keep(self, samples: Sequence[tuple[Any, ...]], now: int) -> bool:
        """Keep what a flush at `now` (UTC nanoseconds, 0 where it does not say) brought, soon.

        Now and then also drop what was kept for long enough; whether this was such a time.
        """
        if samples:
            self._start(self.series.append(samples))
        self._flushes += 1
        due = now > 0 and self._flushes % MAINTAIN_EVERY == 1
        if due:
            self._start(self.series.maintain(now))
        return due

    async def close(self) -> None:
        """Finish what is under way."""
        while self._running:
            await asyncio.wait(self._running)

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except GhostwireError as error:
            self.failed(error)


def _ignore(error: BaseException) -> None:
    return
