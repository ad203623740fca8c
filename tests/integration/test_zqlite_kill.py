"""kill -9 at any moment: what was acknowledged is there, nothing else is, and the log proves it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from ghostwire import zqlite
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import changelog, replay
from tests.integration.zqlite_load import WORKERS, payload

KILLS = int(os.environ.get("GHOSTWIRE_KILLS", "15"))
SEED = int(os.environ.get("GHOSTWIRE_KILL_SEED", "7"))
KEY = bytes(range(32))


def killed(path: Path, run: int, seconds: float) -> dict[int, int]:
    """Let the load run and kill it; the last number that each worker was told is stored."""
    program = Path(__file__).with_name("zqlite_load.py")
    with subprocess.Popen([sys.executable, program, path, str(run)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().split(b"\n")[:-1]  # the last one may be cut
    assert process.returncode == -signal.SIGKILL
    acknowledged: dict[int, int] = {}
    for line in lines:
        worker, n = map(int, line.split())
        assert n == acknowledged.get(worker, -1) + 1
        acknowledged[worker] = n
    return acknowledged


async def check(db: zqlite.Store, run: int, acknowledged: dict[int, int]) -> None:
    found: dict[int, int] = {}
    rows = await db.query("SELECT worker, n, data FROM t WHERE run = ? ORDER BY worker, n", (run,))
    for worker, n, data in rows:
        assert n == found.get(worker, -1) + 1, "a row in the middle is gone"
        assert data == payload(run, worker, n)
        found[worker] = n
    for worker in range(WORKERS):
        told = acknowledged.get(worker, -1)
        assert told <= found.get(worker, -1) <= told + 1, f"worker {worker}: told {told}, found {found.get(worker)}"
    assert (await db.query_one("SELECT n FROM total WHERE run = ?", (run,))) == (len(rows),)


async def log(db: zqlite.Store) -> list[ChangeRecord]:
    return [ChangeRecord(*row) for row in await db.query("SELECT * FROM change ORDER BY seq")]


@pytest.mark.integration
@pytest.mark.timeout(60 + 10 * KILLS)
async def test_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    moments = random.Random(SEED)
    total = 0
    for run in range(KILLS):
        acknowledged = killed(path, run, moments.uniform(0.0, 0.6))
        async with await zqlite.open(path, key=KEY) as db:
            await check(db, run, acknowledged)
            assert await db.query("PRAGMA integrity_check") == [("ok",)]
            records = list(changelog.verify(await log(db)))
            events = sum(record.kind == "worked" for record in records)
            through = sum(record.kind == "work" for record in records)
            assert events + through == (await db.query_one("SELECT count(*) FROM t"))[0]
            total += sum(n + 1 for n in acknowledged.values())
            if run == KILLS - 1:
                rebuilt = replay.Replay(apsw.Connection(":memory:"))
                rebuilt.extend(records)
                rebuilt.finish()
                now = await db.run(lambda reader: replay.content(reader.connection))
                assert replay.differences(now, replay.content(rebuilt.connection)) == []
    assert total > 0
