"""kill -9 while a table is rebuilt and written: the next run goes on, and in the end nothing is lost or twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ghostwire import zqlite
from tests.integration.zqlite_rebuild_load import ROWS

KEY = bytes(range(32))
TURNS = int(os.environ.get("GHOSTWIRE_REBUILD_TURNS", "1"))


def killed(path: Path, seconds: float) -> bool:
    """Let it work and kill it; whether the rebuild was done by then."""
    program = Path(__file__).with_name("zqlite_rebuild_load.py")
    with subprocess.Popen([sys.executable, program, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    return said == b"done\n"


@pytest.mark.integration
@pytest.mark.timeout(120 + 60 * TURNS)
async def test_a_rebuild_outlives_kills(tmp_path: Path) -> None:
    draw = random.Random(3)
    resumed = 0
    for turn in range(TURNS):
        path = tmp_path / f"{turn}.db"
        async with await zqlite.open(path, key=KEY) as db:
            await db.execute(
                "CREATE TABLE node(id INTEGER PRIMARY KEY, name TEXT, n INT); CREATE INDEX by_n ON node(n)"
            )
            await db.execute("CREATE TABLE twin(id INTEGER PRIMARY KEY, name TEXT, n INT)")
            for table in ("node", "twin"):
                await db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", [(n, f"{n}", n) for n in range(ROWS)])
        for kill in range(50):
            done = killed(path, draw.uniform(0.0, 0.2 + 0.1 * kill))
            async with await zqlite.open(path, key=KEY) as db:
                found = await db.query("SELECT id, name, n FROM node ORDER BY id")
                assert found == await db.query("SELECT id, name, n FROM twin ORDER BY id")
                there = await db.query_one("SELECT count(*) FROM sqlite_schema WHERE name = 'node_rebuild'")
                resumed += not done and there == (1,)
                await db.verify()
                if done:
                    assert there == (0,)
                    assert await db.query("PRAGMA integrity_check") == [("ok",)]
                    break
        else:
            raise AssertionError("the rebuild never ended")
    assert resumed > 0
