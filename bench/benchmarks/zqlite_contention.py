"""What writing flat out does to those who read on the event loop, and to the loop itself.

Threads hand the interpreter to each other as a server's do (`ghostwire.server.switching`).
"""

import asyncio
import shutil
import sys
import tempfile
from functools import cache
from itertools import count
from pathlib import Path
from time import perf_counter

import uvloop

from bench.benchmarks.zqlite import SCHEMA, registration
from ghostwire import zqlite
from ghostwire.server import switching

WRITERS = 64
SECONDS = 1.0
ROUNDS = 5
NAME = "SELECT name FROM node WHERE id = ?"


class WritingFlatOut:
    """64 writers without a pause; the figures are medians of five rounds, idle and busy in turns."""

    timeout = 600

    def setup(self) -> None:
        self.found = measured()

    def track_read_p99_over_idle(self) -> float:
        return self.found["reads"]

    def track_loop_lag_p99_ms(self) -> float:
        return self.found["lag"]

    def track_loop_lag_p99_idle_ms(self) -> float:
        return self.found["idle_lag"]


@cache
def measured() -> dict[str, float]:
    before = sys.getswitchinterval()
    switching.hurry()
    try:
        return uvloop.run(measure())
    finally:
        sys.setswitchinterval(before)


async def measure() -> dict[str, float]:
    folder = Path(tempfile.mkdtemp())
    db = await zqlite.open(folder / "store.db", key=bytes(32))
    await db.execute(SCHEMA)
    numbers = count(1)
    for _ in range(50):
        await db.submit(registration(next(numbers)))
    found: dict[str, list[float]] = {"reads": [], "lag": [], "idle_lag": []}
    for _ in range(ROUNDS):
        idle_reads, idle_lag = await probe(db)
        stop = asyncio.Event()
        writers = [asyncio.create_task(write(db, numbers, stop)) for _ in range(WRITERS)]
        reads, lag = await probe(db)
        stop.set()
        await asyncio.gather(*writers)
        found["reads"].append(p99(reads) / p99(idle_reads))
        found["lag"].append(p99(lag) * 1000)
        found["idle_lag"].append(p99(idle_lag) * 1000)
    await db.close()
    shutil.rmtree(folder)
    return {name: sorted(values)[ROUNDS // 2] for name, values in found.items()}


async def write(db: zqlite.Store, numbers: "count[int]", stop: asyncio.Event) -> None:
    while not stop.is_set():
        await db.submit(registration(next(numbers)))


async def probe(db: zqlite.Store) -> tuple[list[float], list[float]]:
    """How long reads take, and how late the loop wakes a sleeper."""
    reads, lag = [], []
    end = perf_counter() + SECONDS
    while (started := perf_counter()) < end:
        with db.read() as reader:
            reader.query_one(NAME, (5,))
        read = perf_counter()
        reads.append(read - started)
        await asyncio.sleep(0.001)
        lag.append(perf_counter() - read - 0.001)
    return reads, lag


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
