"""Reads on the event loop go before what the writer has not begun yet, and never keep it for long."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.zqlite import precedence
from ghostwire.zqlite.precedence import Precedence


def granting(given: Precedence) -> threading.Thread:
    """A writer's thread that lets reads go first."""
    thread = threading.Thread(target=given.grant, daemon=True)
    thread.start()
    return thread


def test_the_writer_waits_until_the_read_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "PATIENCE_S", 60.0)
    given = Precedence()
    given.grant()
    assert given.take()
    writer = granting(given)
    writer.join(0.05)
    assert writer.is_alive()
    given.give_back()
    writer.join()
    assert given.take(), "the writer has kept it"


def test_a_long_read_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Precedence()
    assert given.take()
    given.grant()
    monkeypatch.setattr(precedence, "PATIENCE_S", 60.0)
    given.grant()
    given.give_back()
    assert given.take()
    writer = granting(given)
    writer.join(0.05)
    assert writer.is_alive(), "the next read is another one"
    given.give_back()
    writer.join()


async def test_writes_within_reads_and_reads_within_each_other(tmp_path: Path) -> None:
    async with await zqlite.open(tmp_path / "store.db", key=bytes(32)) as db:
        await db.execute("CREATE TABLE t(a)")
        with db.read() as outer, db.read() as inner:
            for number in range(20):
                await db.execute("INSERT INTO t VALUES (?)", (number,))
            assert outer.value("SELECT count(*) FROM t") == 20
            await db.execute("DELETE FROM t")
            assert (outer.value("SELECT count(*) FROM t"), inner.value("SELECT count(*) FROM t")) == (20, 0)
        with pytest.raises(ZeroDivisionError), db.read():
            raise ZeroDivisionError
        with db.read() as after:
            assert after.value("SELECT count(*) FROM t") == 0
