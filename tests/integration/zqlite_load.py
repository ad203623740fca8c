"""A process that writes to a store as fast as it can and says what was acknowledged; it ends by being killed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys

from ghostwire import zqlite
from ghostwire.zqlite import Operation, Statement

WORKERS = 24


def payload(run: int, worker: int, n: int) -> bytes:
    """What the row of this number must hold."""
    return hashlib.sha256(f"{run}/{worker}/{n}".encode()).digest() * (1 + n % 40)


async def main(path: str, run: int) -> None:
    db = await zqlite.open(path, key=bytes(range(32)))
    await db.execute("CREATE TABLE IF NOT EXISTS t(run, worker, n, data, PRIMARY KEY (run, worker, n)) WITHOUT ROWID")
    await db.execute("CREATE TABLE IF NOT EXISTS total(run PRIMARY KEY, n)")
    await db.execute("INSERT INTO total VALUES (?, 0)", (run,))
    os.write(1, b"ready\n")

    async def work(worker: int) -> None:
        n = 0
        while True:
            row = (run, worker, n, payload(run, worker, n))
            if worker % 8 == 0:
                async with db.transaction() as tx:
                    await tx.execute("INSERT INTO t VALUES (?, ?, ?, ?)", row)
                    await tx.execute("UPDATE total SET n = n + 1 WHERE run = ?", (run,))
                    await tx.event(f"{worker}", "worked", n)
            else:
                await db.submit(
                    Operation(
                        "work",
                        f"{worker}",
                        (
                            Statement("INSERT INTO t VALUES (?, ?, ?, ?)", row, 1),
                            Statement("UPDATE total SET n = n + 1 WHERE run = ?", (run,), 1),
                        ),
                    )
                )
            os.write(1, f"{worker} {n}\n".encode())
            n += 1

    await asyncio.gather(*(work(worker) for worker in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
