"""Power cuts while keys are rotated and dictionaries trained: every value opens, and no use of a key is forgotten."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ghostwire import zqlite
from ghostwire.testing.crash import Recorder, State, states
from ghostwire.zqlite import bootstrap, changelog, engine, sealing, upkeep
from ghostwire.zqlite.lock import FileLock

KEY = bytes(range(32))
STATES = int(os.environ.get("GHOSTWIRE_CRASH_STATES", "2000")) // 10
ROWS = 400
TABLE = "CREATE TABLE t(n INTEGER PRIMARY KEY, secret ENCRYPTED TEXT, both ENCRYPTED COMPRESSED)"


def told(n: int) -> str:
    """A value that packs well with a dictionary, and is never the same twice."""
    return json.dumps({"hostname": f"node-{n}", "endpoints": [f"192.0.2.{n % 256}:{n}"], "tags": ["tag:web", "tag:db"]})


async def load(path: Path, recorder: Recorder) -> None:
    """Rows, two rotations and a training, with writes beside them all the time."""
    db = await zqlite.open(path, key=KEY, vfs=recorder.name)
    await db.execute(TABLE)
    for first in range(0, ROWS, 50):
        rows = [(n, f"secret {n}", told(n)) for n in range(first, first + 50)]
        recorder.mark((await db.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)).seq)
    for upkeeping in (db.rotate_keys(), db.train(), db.rotate_keys()):
        task = asyncio.create_task(upkeeping)
        n = 0
        while not task.done():
            n += 1
            changed = await db.execute("UPDATE t SET both = ? WHERE n = ?", (told(n * 7 % ROWS), n * 7 % ROWS))
            recorder.mark(changed.seq)
        await task
    await db.close()


def inspect(state: State, directory: Path) -> str:
    """What is wrong with a state, or an empty string."""
    for old in directory.iterdir():
        old.unlink()
    state.write(directory)
    path = directory / "store.db"
    opened = bootstrap.open_store(FileLock.take(path), lambda: engine.locate(path, KEY, None))
    connection = opened.applier.connection
    try:
        head: Any = connection.execute("SELECT coalesce(max(seq), 0) FROM change").get
        if head < max(state.told, default=0):
            return "lost"
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 't'").fetchall():
            return ""
        rows: list[Any] = connection.execute("SELECT n, secret, both FROM t").fetchall()
        if any((secret, both) != (f"secret {n}", told(n)) for n, secret, both in rows):
            return "a value is another one"
        return forgotten(opened)
    finally:
        connection.close()
        opened.lock.release()


def forgotten(opened: bootstrap.Opened) -> str:
    """Whether a key was used more often than the file says: each use that came to be is in the log."""
    connection, ring = opened.applier.connection, opened.applier.sealer.ring
    (table,) = sealing.tables(connection)
    used: Counter[tuple[bytes, int]] = Counter()
    bodies: list[Any] = connection.execute("SELECT body FROM change").fetchall()
    for (body,) in bodies:
        for image in changelog.rows(body, opened.applier.catalogue):
            for column in table.sealed:
                sealed = image.values.get(column.name) if image.table == table.base else None
                if sealed is not None:
                    used[column.id, int.from_bytes(sealed[1:5])] += 1
    return "".join(f"{key} was used {count} times" for key, count in used.items() if count > ring.ledger.used(key))


@pytest.mark.integration
@pytest.mark.timeout(120 + STATES // 4)
def test_no_cut_closes_a_value_or_forgets_a_use(
    tmp_path: Path, quick_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 32)
    with Recorder() as recorder:
        asyncio.run(load(tmp_path / "store.db", recorder))
    wrong = Counter(inspect(state, quick_directory) for state in states(recorder.steps, STATES, random.Random(5)))
    assert wrong == {"": STATES}
