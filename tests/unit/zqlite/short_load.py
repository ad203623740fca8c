"""A store whose files, functions and sealed columns are Python's, read by three threads and written without a pause."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from ghostwire import zqlite
from ghostwire.testing.crash import FaultVFS

SECONDS = 3.0
WRITERS = 16
READERS = 3
WRITE = "INSERT INTO t(secret) VALUES (?)"
READ = "SELECT id, secret FROM t WHERE id > (SELECT max(id) FROM t) - 3 ORDER BY id"


async def main(path: Path) -> None:
    end = time.monotonic() + SECONDS
    counts = [0] * READERS
    with FaultVFS() as vfs:
        async with await zqlite.open(path, key=bytes(32), vfs=vfs.name, readers=(1, 8)) as db:
            await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, secret ENCRYPTED TEXT)")
            await db.execute(WRITE, ("0",))

            def read(at: int) -> None:
                while time.monotonic() < end:
                    with db.read() as reader:
                        newest = reader.value("SELECT max(id) FROM t")
                        rows = reader.query(READ)
                        assert rows[-1]["id"] == newest
                        assert all(row["secret"].isdigit() for row in rows)
                        counts[at] += 1

            async def write(number: int) -> None:
                while time.monotonic() < end:
                    await db.execute(WRITE, (str(number),))
                    await db.checkpoint()

            threads = [asyncio.to_thread(read, at) for at in range(READERS)]
            await asyncio.gather(*threads, *(write(number) for number in range(WRITERS)))
    assert min(counts) > 0
    print("held")


asyncio.run(main(Path(sys.argv[1])))
