"""How a store ends: writer, readers and lock, one after the other."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ghostwire.zqlite.lock import FileLock
    from ghostwire.zqlite.pool import Pool
    from ghostwire.zqlite.writer import Writer


def shut(writer: Writer, pool: Pool, lock: FileLock) -> None:
    """In this order: the last connection to close is the writer's, and the lock outlives them all."""
    writer.drain()
    pool.close()
    writer.stop()
    writer.join()
    lock.release()


def abandon(writer: Writer, pool: Pool, lock: FileLock) -> None:
    """The store was dropped without `close`: do the same, in the background."""
    threading.Thread(target=shut, args=(writer, pool, lock), name="zqlite-reaper", daemon=True).start()
