"""The read pool's bounds and counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.errors import UnavailableError

KEY = bytes(range(32))


async def test_bounds_waits_and_timeouts(path: Path) -> None:
    async with await zqlite.open(path, key=KEY, readers=(1, 2), read_timeout=0.05) as db:
        assert db.stats["pool_open"] == 1
        with db.read(), db.read():
            assert (db.stats["pool_open"], db.stats["pool_busy"]) == (2, 2)
            with pytest.raises(UnavailableError, match="all 2 read connections"), db.read():
                pass
            with pytest.raises(UnavailableError, match="bigger pool"):
                await db.query("SELECT 1")
        assert db.stats["pool_busy"] == 0
        assert db.stats["pool_timeouts"] == 2
        assert await asyncio.gather(*(db.query("SELECT ?", (n,)) for n in range(20))) == [[(n,)] for n in range(20)]
        assert db.stats["pool_open"] == 2


async def test_a_reader_held_over_close_is_counted(path: Path) -> None:
    db = await zqlite.open(path, key=KEY, read_timeout=0.05)
    with db.read() as r:
        r.query("SELECT 1")
        await db.close()
        assert db.stats["pool_leaks"] == 1
    async with await zqlite.open(path, key=KEY) as again:
        await again.execute("CREATE TABLE t(a)")
