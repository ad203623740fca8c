"""The history store: what may be lost, written in batches, and a log of it that does not grow without end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ghostwire import zqlite
from ghostwire.coordinator.effects import Flush
from ghostwire.errors import GhostwireError
from ghostwire.model.change import ChangeRecord
from ghostwire.server.store import facts
from ghostwire.zqlite.operation import Operation


class VolatileStore:
    """`history.db`. Nobody waits for a flush; what goes wrong is told to `failed`.

    Every `keep` flushes the log is folded into a snapshot and dropped: only the newest of each fact is ever asked for.
    """

    def __init__(self, store: zqlite.Store, keep: int = 500) -> None:
        self.store = store
        self.failed: Callable[[BaseException], None] = _ignore
        self.flushes = 0
        self._keep = keep
        self._compacting: asyncio.Task[None] | None = None

    async def load(self) -> facts.Facts:
        """What was flushed before. Raises `DatabaseError` for facts of another release."""
        return await self.store.run(lambda reader: facts.read(reader.stream(facts.SELECT)))

    def flush(self, effect: Flush) -> None:
        """Write facts, soon."""
        statements = tuple(facts.statements(effect.facts))
        if not statements:
            return
        self.flushes += 1
        self.store.submit(Operation("flush", "coordinator", statements)).add_done_callback(self._flushed)
        if self.flushes % self._keep == 0 and (self._compacting is None or self._compacting.done()):
            self._compacting = asyncio.get_running_loop().create_task(self._compact())

    async def close(self) -> None:
        """Finish what is queued and free the file."""
        if self._compacting is not None:
            await self._compacting
        await self.store.close()

    def _flushed(self, future: asyncio.Future[ChangeRecord]) -> None:
        error = future.exception()
        if error is not None:
            self.failed(error)

    async def _compact(self) -> None:
        try:
            await self.store.retain((await self.store.snapshot()).seq)
        except GhostwireError as error:
            self.failed(error)


def _ignore(error: BaseException) -> None:
    return
