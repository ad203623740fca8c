"""Rows of tables as column blocks, and snapshots made of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire import zqlite
from ghostwire.errors import DatabaseError
from ghostwire.zqlite import changelog, rowblocks, snapshot
from ghostwire.zqlite.changelog import INSERT

INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)
COLUMNS = st.sampled_from(
    [
        INTEGERS,
        st.integers(0, 3),
        st.floats(allow_nan=False),
        st.text(max_size=4),
        st.binary(max_size=4),
        st.none() | INTEGERS | st.floats(allow_nan=False) | st.text(max_size=4) | st.binary(max_size=4),
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> list[Any]:
    """Rows of one table, keyed by row id or by a tuple."""
    values = st.tuples(*draw(st.lists(COLUMNS, min_size=1, max_size=5)))
    keys = draw(st.sampled_from([INTEGERS, st.tuples(st.text(max_size=3), INTEGERS)]))
    rows = draw(st.lists(st.tuples(keys, values), min_size=rowblocks.LEAST_ROWS, max_size=80))
    return [(7, INSERT, key, value) for key, value in rows]


@settings(deadline=None, max_examples=60)
@given(tables())
def test_rows_come_back_as_the_log_would_have_them(entries: list[Any]) -> None:
    packed = rowblocks.pack(entries)
    assert packed is not None
    assert not packed.startswith(zstandard.FRAME_HEADER)
    assert changelog.row_body(0, rowblocks.unpack(packed)) == changelog.row_body(0, entries)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_other_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(DatabaseError):
        rowblocks.unpack(data)


def test_few_rows_and_huge_ones_are_left_alone() -> None:
    few = [(7, INSERT, 1, ("a",))] * (rowblocks.LEAST_ROWS - 1)
    huge = [(7, INSERT, at, (bytes([at]) * 600_000,)) for at in range(rowblocks.LEAST_ROWS)]
    assert rowblocks.pack(few) is None
    assert rowblocks.pack(huge) is None


async def fill(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE wide(id INTEGER PRIMARY KEY, a TEXT, b REAL, c)")
    await db.execute("CREATE TABLE keyed(x TEXT, y INTEGER, v BLOB, PRIMARY KEY (x, y)) WITHOUT ROWID")
    await db.execute("CREATE TABLE small(id INTEGER PRIMARY KEY)")
    await db.execute("CREATE TABLE huge(id INTEGER PRIMARY KEY, data BLOB)")
    wide = [(at, f"n{at % 9}", at / 4, (None, at, f"t{at}", b"\x00", 0.5)[at % 5]) for at in range(5000)]
    await db.executemany("INSERT INTO wide VALUES (?, ?, ?, ?)", wide)
    await db.executemany(
        "INSERT INTO keyed VALUES (?, ?, ?)", [(f"k{at % 7}", at, bytes([at % 256])) for at in range(3000)]
    )
    await db.execute("INSERT INTO small VALUES (1), (2)")
    await db.executemany("INSERT INTO huge VALUES (?, ?)", [(at, bytes(600_000)) for at in range(33)])


async def test_a_snapshot_in_blocks_stands_for_the_log(db: zqlite.Store) -> None:
    await fill(db)
    head = await db.snapshot()
    with db.read() as reader:
        taken = snapshot.find(reader.connection)
        rows = reader.query("SELECT * FROM wide")
    assert taken is not None
    assert sum(not part.startswith(zstandard.FRAME_HEADER) for part in taken.parts) > 5
    await db.retain(head.seq)
    await db.verify()
    with await db.as_of(head.ts) as past:
        assert past.query("SELECT * FROM wide") == rows
        assert len(past.query("SELECT * FROM keyed")) == 3000


async def test_a_snapshot_without_blocks_still_opens(db: zqlite.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY)")
    await db.executemany("INSERT INTO t VALUES (?)", [(at,) for at in range(100)])
    with monkeypatch.context() as patch:
        patch.setattr(rowblocks, "pack", lambda entries: None)
        head = await db.snapshot()
    await db.retain(head.seq)
    await db.verify()


def test_what_a_block_says_of_itself_is_checked() -> None:
    packed = rowblocks.pack([(7, INSERT, at, (None,)) for at in range(40)])
    assert packed is not None
    block = rowblocks.blocks.Block.unpack(packed)
    for head in ("x:im", "7", "7:imm", "7:it", "7:bm", "7:mi"):
        cells = [msgspec.msgpack.encode(None)] * 40
        keys = memoryview(block.values(1)).cast("q")
        wrong = rowblocks.blocks.Block.of("tib", [[head] * 40, keys, cells]).pack()
        with pytest.raises(DatabaseError):
            rowblocks.unpack(wrong)
