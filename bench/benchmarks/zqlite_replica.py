"""Replicas: how far one that follows is behind, what waiting for it costs a write, how long taking over takes."""

import asyncio
import shutil
import tempfile
from functools import cache
from pathlib import Path
from time import perf_counter

import uvloop

from ghostwire import zqlite
from ghostwire.zqlite import Link
from ghostwire.zqlite.replica import Replica, link, open_replica, serve

ROWS = 4000
WRITERS = 16
KEY = bytes(32)


class Following:
    """Both ends on one machine and one event loop, so they share its processors: a floor for the primary."""

    timeout = 600

    def setup(self) -> None:
        self.found = measured()

    def track_lag_ms_median(self) -> float:
        return self.found["lag_median"]

    def track_lag_ms_p99(self) -> float:
        return self.found["lag_p99"]

    def track_confirmed_write_over_plain(self) -> float:
        return self.found["confirmed"] / self.found["plain"]

    def track_followed_write_over_plain(self) -> float:
        return self.found["followed"] / self.found["plain"]

    def track_promotion_ms(self) -> float:
        return self.found["promotion"]


@cache
def measured() -> dict[str, float]:
    folder = Path(tempfile.mkdtemp())
    try:
        return uvloop.run(measure(folder))
    finally:
        shutil.rmtree(folder)


async def measure(folder: Path) -> dict[str, float]:
    for name in ("primary", "replica"):
        link.write(folder / name, name)
    primary = Link(folder / "primary.key", (folder / "replica.pub",))
    other = Link(folder / "replica.key", (folder / "primary.pub",))
    found: dict[str, float] = {}
    async with await zqlite.open(folder / "a.db", key=KEY) as db:
        await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)")
        found["plain"] = await write(db, {})
        async with await serve(db, primary) as feed:
            url = f"tls://127.0.0.1:{feed.port}"
            async with await open_replica(folder / "b.db", primary=url, link=other, key=KEY) as replica:
                await replica.sync()
                replica.follow()
                answered: dict[int, float] = {}
                arrivals = asyncio.create_task(watch(replica, replica.head.seq + 1))
                found["followed"] = await write(db, answered)
                arrived = await arrivals
                lags = sorted(max(0.0, arrived[seq] - at) for seq, at in answered.items())
                found["lag_median"], found["lag_p99"] = (1e3 * lags[int(len(lags) * q)] for q in (0.5, 0.99))
        async with await serve(db, primary, semi_sync=True) as feed:
            url = f"tls://127.0.0.1:{feed.port}"
            async with await open_replica(folder / "b.db", primary=url, link=other, key=KEY) as replica:
                await replica.sync()
                replica.follow()
                found["confirmed"] = await write(db, {})
                started = perf_counter()
                await replica.promote()
                found["promotion"] = 1e3 * (perf_counter() - started)
    return found


async def write(db: zqlite.Store, answered: dict[int, float]) -> float:
    """Seconds that the writers need for `ROWS` rows, one a write; when each was answered goes into `answered`."""

    async def writer(count: int) -> None:
        for number in range(count):
            seq = (await db.execute("INSERT INTO t(a, b) VALUES (?, ?)", (number, "x" * 100))).seq
            answered[seq] = perf_counter()

    started = perf_counter()
    await asyncio.gather(*(writer(ROWS // WRITERS) for _ in range(WRITERS)))
    return perf_counter() - started


async def watch(replica: Replica, first: int) -> dict[int, float]:
    """When each row was on the replica's disk."""
    arrived: dict[int, float] = {}
    async for record in replica.changes(first):
        arrived[record.seq] = perf_counter()
        if record.seq == first + ROWS - 1:
            break
    return arrived
