"""Opening a store: one of 100,000 nodes in a fresh process, all of them read; and what an idle one takes of memory."""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import uvloop

from bench.benchmarks.zqlite import INSERT, SCHEMA, row
from ghostwire import zqlite

NODES = 100_000
ROUNDS = 3
COLD = """
import asyncio, sys, time
from ghostwire import zqlite

async def main():
    started = time.perf_counter()
    db = await zqlite.open(sys.argv[1] + "/store.db", key=bytes(32))
    with db.read() as reader:
        nodes = reader.query("SELECT * FROM node")
    print("cold_ms", (time.perf_counter() - started) * 1000)
    assert len(nodes) == 100_000
    await db.close()

asyncio.run(main())
"""
IDLE = """
import asyncio, sys

def resident():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024

before = resident()
from ghostwire import zqlite

async def main():
    imported = resident()
    db = await zqlite.open(sys.argv[1] + "/idle.db", key=bytes(32))
    await db.execute("CREATE TABLE IF NOT EXISTS t(a)")
    await db.query("SELECT * FROM t")
    print("libraries_mib", imported - before)
    print("idle_mib", resident() - imported)
    await db.close()

asyncio.run(main())
"""
SCRIPTS = {"cold": COLD, "idle": IDLE}
"""What the fresh processes run."""


class Open:
    """Medians of three fresh processes each."""

    timeout = 600

    def setup(self) -> None:
        self.found = measured()

    def track_cold_open_ms(self) -> float:
        """From `zqlite.open` to all nodes in memory, in milliseconds."""
        return self.found["cold_ms"]

    def track_idle_mib(self) -> float:
        """What an open, idle store adds to a process that has imported it."""
        return self.found["idle_mib"]

    def track_libraries_mib(self) -> float:
        """What importing it adds to Python with asyncio."""
        return self.found["libraries_mib"]


@cache
def measured() -> dict[str, float]:
    folder = Path(tempfile.mkdtemp())
    uvloop.run(fill(folder / "store.db"))
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for argument in SCRIPTS:
            command = (sys.executable, "-c", SCRIPTS[argument], os.fspath(folder))
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            for name, value in (line.split() for line in told.splitlines()):
                found.setdefault(name, []).append(float(value))
    shutil.rmtree(folder)
    return {name: sorted(values)[ROUNDS // 2] for name, values in found.items()}


async def fill(path: Path) -> None:
    async with await zqlite.open(path, key=bytes(32)) as db:
        await db.execute(SCHEMA)
        for first in range(0, NODES, 10_000):
            await db.executemany(INSERT, [row(n) for n in range(first, first + 10_000)])  # type: ignore[arg-type]
