"""Power cuts while a series is written, sealed and rolled up: what was acknowledged is there, each sample once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import apsw
import pytest

from ghostwire import zqlite
from ghostwire.errors import GhostwireError, NotFoundError
from ghostwire.testing.crash import Recorder, State, states
from ghostwire.zqlite import bootstrap, engine, series
from ghostwire.zqlite.lock import FileLock
from ghostwire.zqlite.series import Column, Schema, window
from ghostwire.zqlite.series.schema import END, FIRST

KEY = bytes(range(32))
STATES = 400
STEP = 300
SCHEMA = Schema(
    name="m",
    columns=tuple(Column(f"v{at}", "integer") for at in range(31)),
    keep_ns=600,
    bucket_ns=50,
    keep_rolled_ns=1_000_000,
)


async def load(path: Path, recorder: Recorder) -> None:
    """Samples at 0, 1, 2 ... of one key, a mark of how many once they are acknowledged; old ones are rolled up."""
    async with await zqlite.open(path, key=KEY, vfs=recorder.name) as db:
        kept = await series.create(db, SCHEMA)
        recorder.mark(0)
        for start in range(0, 10 * STEP, STEP):
            await kept.append([(7, at, *([at] * 31)) for at in range(start, start + STEP)])
            recorder.mark(start + STEP)
            await kept.maintain(start + STEP)
            if start % 900 == 0:
                await db.checkpoint()


def inspect(state: State, directory: Path) -> str:
    """What is wrong with a state: an empty string, "lost" or "corrupt"."""
    for old in directory.iterdir():
        old.unlink()
    state.write(directory)
    try:
        opened = bootstrap.open_store(
            FileLock.take(directory / "store.db"), lambda: engine.locate(directory / "store.db", KEY, None)
        )
    except GhostwireError:
        return "corrupt"
    connection, shelf = opened.applier.connection, opened.shelf
    try:
        names = ("m", "m_rolled")
        plain, rolled = (window.read(connection, shelf, shelf.find(connection, name), 7, FIRST, END) for name in names)
    except NotFoundError:
        return "lost" if state.told else ""
    except (GhostwireError, apsw.Error):
        return "corrupt"
    finally:
        connection.close()
        opened.lock.release()
    count = int(rolled.columns[0].sum()) + len(plain)
    if count < max(state.told, default=0):
        return "lost"
    times = plain.at.tolist()
    whole = times == list(range(count - len(times), count)) and all((c == plain.at).all() for c in plain.columns)
    return "" if whole and count % STEP == 0 else "corrupt"


@pytest.mark.integration
def test_no_cut_loses_or_doubles_a_sample(tmp_path: Path, quick_directory: Path) -> None:
    with Recorder() as recorder:
        asyncio.run(load(tmp_path / "store.db", recorder))
    found = [inspect(state, quick_directory) for state in states(recorder.steps, STATES, random.Random(5))]
    assert found == [""] * STATES


@pytest.mark.integration
def test_a_swallowed_sync_is_noticed(tmp_path: Path, quick_directory: Path) -> None:
    with Recorder(("-wal",)) as recorder:
        asyncio.run(load(tmp_path / "store.db", recorder))
    found = [inspect(state, quick_directory) for state in states(recorder.steps, 100, random.Random(5))]
    assert set(found) - {""}
