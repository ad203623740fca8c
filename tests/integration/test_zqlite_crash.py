"""Power cuts: whatever part of the unsynced writes survives, nothing acknowledged is lost and nothing is corrupt."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import apsw
import pytest

from ghostwire import zqlite
from ghostwire.errors import GhostwireError
from ghostwire.model.change import ChangeRecord
from ghostwire.testing.crash import Recorder, State, states
from ghostwire.zqlite import archive, bootstrap, changelog, engine
from ghostwire.zqlite.lock import FileLock

KEY = bytes(range(32))
STATES = int(os.environ.get("GHOSTWIRE_CRASH_STATES", "2000"))
SEED = int(os.environ.get("GHOSTWIRE_CRASH_SEED", "11"))

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120 + STATES // 20)]


async def load(path: Path, recorder: Recorder, cipher: engine.Cipher, durability: engine.Durability) -> None:
    """Groups of writes of all sizes, moves of the log into the file and into blocks, and an end by closing."""
    db = await zqlite.open(path, key=KEY, vfs=recorder.name, cipher=cipher, durability=durability)

    async def put(n: int) -> None:
        result = await db.execute("INSERT INTO t VALUES (?, ?)", (n, n.to_bytes(4) * (1 + n * 37 % 1500)))
        recorder.mark(result.seq)

    made = await db.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, data)")
    recorder.mark(made.seq)
    n = 0
    for turn in range(24):
        size = 1 + turn * 5 % 12
        await asyncio.gather(*(put(n + more) for more in range(size)))
        n += size
        if turn % 4 == 3:
            await db.checkpoint()
        if turn % 6 == 5:
            recorder.mark((await db.execute("DELETE FROM t WHERE n % 3 = ?", (turn % 3,))).seq)
        if turn % 9 == 8:
            await db.snapshot()
            recorder.mark(db.head.seq)
            assert await db.archive(db.head.seq)
    await db.close()


def inspect(state: State, directory: Path) -> str:
    """What is wrong with a state: an empty string, "lost" or "corrupt"."""
    for old in directory.iterdir():
        old.unlink()
    state.write(directory)
    path = directory / "store.db"
    try:
        opened = bootstrap.open_store(FileLock.take(path), lambda: engine.locate(path, KEY, None, cipher=CIPHER[0]))
    except GhostwireError:
        return "corrupt"
    connection = opened.applier.connection
    try:
        if connection.execute("PRAGMA main.integrity_check").get != "ok":
            return "corrupt"
        try:
            rows = connection.execute(archive.ROWS, {"after": 0})
            records = list(changelog.verify(ChangeRecord(*row) for row in rows))
        except GhostwireError:
            return "corrupt"
        if len(records) < max(state.told, default=0):
            return "lost"
        expected: set[int] = set()
        for record in records:
            for image in changelog.rows(record.body, opened.applier.catalogue):
                (expected.add if image.op == "insert" else expected.discard)(image.key)
        if not records:
            return ""
        found = connection.execute("SELECT n, data FROM t").fetchall()
        if {n for n, _ in found} != expected:
            return "corrupt"
        return "" if all(data == n.to_bytes(4) * (1 + n * 37 % 1500) for n, data in found) else "corrupt"
    except apsw.Error:
        return "corrupt"
    finally:
        connection.close()
        opened.lock.release()


CIPHER: list[engine.Cipher] = ["aegis"]


def outcomes(
    tmp_path: Path,
    quick: Path,
    count: int,
    swallow: tuple[str, ...] = (),
    durability: engine.Durability = "full",
    cipher: engine.Cipher = "aegis",
) -> dict[str, int]:
    CIPHER[0] = cipher
    with Recorder(swallow) as recorder:
        asyncio.run(load(tmp_path / "store.db", recorder, cipher, durability))
    found: dict[str, int] = {"": 0, "lost": 0, "corrupt": 0}
    for state in states(recorder.steps, count, random.Random(SEED)):
        found[inspect(state, quick)] += 1
    return found


@pytest.mark.parametrize("cipher", ["aegis", "chacha20"])
def test_no_cut_loses_or_corrupts(tmp_path: Path, quick_directory: Path, cipher: engine.Cipher) -> None:
    count = STATES // 2
    assert outcomes(tmp_path, quick_directory, count, cipher=cipher) == {"": count, "lost": 0, "corrupt": 0}


def test_a_cut_while_a_store_is_made_leaves_a_store_or_none(tmp_path: Path, quick_directory: Path) -> None:
    CIPHER[0] = "aegis"
    with Recorder() as recorder:
        asyncio.run(load(tmp_path / "store.db", recorder, "aegis", "full"))
    first = next(at for at, step in enumerate(recorder.steps) if step.act == "mark")
    found = [
        inspect(state, quick_directory) for state in states(recorder.steps[:first], STATES // 5, random.Random(SEED))
    ]
    assert found == [""] * (STATES // 5)


@pytest.mark.parametrize("swallow", [("-wal",), ("main",)])
def test_a_swallowed_sync_is_noticed(tmp_path: Path, quick_directory: Path, swallow: tuple[str, ...]) -> None:
    found = outcomes(tmp_path, quick_directory, STATES // 10, swallow)
    assert found["corrupt"] + found["lost"] > 0


def test_lazy_durability_loses_but_never_corrupts(tmp_path: Path, quick_directory: Path) -> None:
    found = outcomes(tmp_path, quick_directory, STATES // 10, durability="lazy")
    assert found["corrupt"] == 0
    assert found["lost"] > 0
