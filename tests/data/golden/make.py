"""Writes VERSION.json beside this file: a log as this release writes it, and the tables that it makes.

Run it once a release (`python -m tests.data.golden.make`); files of earlier releases are never written again.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any, Final

from ghostwire import __version__, zqlite
from ghostwire.zqlite.backup import items
from ghostwire.zqlite.replay import content

STEPS: Final = (
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE, at TIMESTAMP, price DECIMAL(18,8))",
    "INSERT INTO t(v, at, price) VALUES ('a', '2026-01-02 03:04:05', 1.5), (x'00ff', NULL, '2.00000001')",
    "CREATE TABLE pair(a TEXT, b INTEGER, c, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO pair VALUES ('x', 1, 2.5)",
    "CREATE TABLE child(id INTEGER PRIMARY KEY AUTOINCREMENT, t REFERENCES t ON DELETE CASCADE, d AS (t * 2) STORED)",
    "INSERT INTO child(t) VALUES (1), (2), (2)",
    "CREATE TABLE seen(v); CREATE TRIGGER g AFTER DELETE ON child BEGIN INSERT INTO seen VALUES (old.id); END",
    "DELETE FROM t WHERE id = 2",
    "UPDATE pair SET b = b + 1, c = NULL",
    "ALTER TABLE t ADD COLUMN w DEFAULT 7; ALTER TABLE t RENAME COLUMN v TO z; CREATE INDEX i ON t(z DESC) WHERE w > 0",
    "CREATE VIEW x AS SELECT z FROM t",
    "CREATE VIRTUAL TABLE docs USING fts5(body); INSERT INTO docs VALUES ('mesh of nodes')",
    "CREATE TABLE wallet(id TEXT PRIMARY KEY, secret ENCRYPTED TEXT, notes COMPRESSED TEXT)",
    "INSERT INTO wallet VALUES ('a', 'sealed', 'packed')",
    "DROP TABLE seen; DROP TRIGGER g; ALTER TABLE pair RENAME TO pairs",
)


async def log() -> dict[str, Any]:
    """The log of these steps, and digests of the tables they end with."""
    with tempfile.TemporaryDirectory() as folder:
        async with await zqlite.open(Path(folder) / "golden.db", key=bytes(32)) as db:
            for sql in STEPS:
                await db.execute(sql, kind="step", actor="golden")
            async with db.transaction(actor="golden") as tx:
                await tx.execute("INSERT INTO t(z) VALUES ('last')")
                await tx.event("t-3", "made", {"by": "golden"})
            await db.snapshot()
            rows = await db.query("SELECT seq, epoch, ts, actor, kind, body, prev, hash FROM change ORDER BY seq")
            made = await db.run(lambda reader: items.digests(content(reader.connection)))
    return {
        "log": [[cell.hex() if isinstance(cell, bytes) else cell for cell in row] for row in rows],
        "tables": {name: digest.hex() for name, digest in made.items()},
    }


if __name__ == "__main__":
    file = Path(__file__).with_name(f"{__version__}.json")
    file.write_text(json.dumps(asyncio.run(log()), indent=1) + "\n", encoding="utf-8")
