"""A process that rebuilds a table while it writes to it and to its twin, and says when it is done."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time

from ghostwire import zqlite
from ghostwire.zqlite import rebuild

FORM = rebuild.Rebuild(
    "node",
    "CREATE TABLE node(id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INT, twice INT DEFAULT 0)",
    {"twice": "n * 2"},
)
ROWS = 5000


async def main(path: str) -> None:
    rebuild.MOST_ROWS = 64  # type: ignore[misc]  # so that there is much to interrupt
    db = await zqlite.open(path, key=bytes(range(32)))
    start = time.monotonic_ns()

    async def write(worker: int) -> None:
        for count in itertools.count(start % 1000):
            key = (count * 7919 + worker) % ROWS
            await db.execute(
                "; ".join(f"UPDATE {table} SET n = n + 1 WHERE id = :key" for table in ("node", "twin")), {"key": key}
            )
            await db.execute(
                "; ".join(f"DELETE FROM {table} WHERE id = :key" for table in ("node", "twin")), {"key": key + 1}
            )
            name = f"{start}/{worker}/{count}"
            insert = "; ".join(
                f"INSERT INTO {table}(id, name, n) VALUES (:key, :name, 0)" for table in ("node", "twin")
            )
            await db.execute(insert, {"key": start + 4 * count + worker, "name": name})

    tasks = [asyncio.create_task(write(worker)) for worker in range(4)]
    os.write(1, b"ready\n")
    await rebuild.run(db, FORM)
    os.write(1, b"done\n")
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
