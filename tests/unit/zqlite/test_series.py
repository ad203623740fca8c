"""Series: samples in, windows, summaries and SQL out, retention."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, DatabaseError, NotFoundError, ValidationError
from ghostwire.zqlite import series
from ghostwire.zqlite.series import Column, Schema
from ghostwire.zqlite.series.schema import END
from tests.unit.zqlite.conftest import KEY

SECOND = 1_000_000_000
SCHEMA = Schema(
    name="load", columns=(Column("cpu", "real"), Column("bytes", "integer"), Column("state", "text")), key="node"
)
SIZE, SMALL = SCHEMA.capacity, SCHEMA.small


def sample(key: int, at: int) -> tuple[int, int, float, int, str]:
    """A sample that says when it is from."""
    return key, at * SECOND, at / 4, at * 1000, f"s{at % 3}"


def samples(key: int, *times: int) -> list[tuple[int, int, float, int, str]]:
    return [sample(key, at) for at in times]


def rows(window: series.Window) -> list[tuple[Any, ...]]:
    columns = [values if isinstance(values, list) else values.tolist() for values in window.columns]
    return list(zip(window.at.tolist(), *columns, strict=True))


def expected(key: int, *times: int) -> list[tuple[Any, ...]]:
    return [row[1:] for row in samples(key, *times)]


async def made(db: zqlite.Store) -> series.Series:
    return await series.create(db, SCHEMA)


async def blocks_of(db: zqlite.Store) -> int:
    found = await db.query_one("SELECT count(*) FROM zq_block")
    return int(found[0]) if found else 0


async def test_open_samples_are_there_at_once(db: zqlite.Store) -> None:
    load = await made(db)
    await load.append([*samples(7, 3, 1, 2), *samples(8, 5)])
    assert rows(await load.window(7, 0, 10 * SECOND)) == expected(7, 1, 2, 3)
    assert rows(await load.window(7, 2 * SECOND, 3 * SECOND)) == expected(7, 2)
    assert rows(await load.window(9, 0, 10 * SECOND)) == []
    assert await blocks_of(db) == 0


async def test_full_blocks_are_sealed_and_read_with_what_is_open(db: zqlite.Store) -> None:
    load = await made(db)
    times = range(1, 2 * SIZE + 10)
    for start in range(0, len(times), SMALL // 2):
        await load.append(samples(7, *times[start : start + SMALL // 2]))
    assert await blocks_of(db) == 2
    everything = await load.window(7, 0, 10 * SIZE * SECOND)
    assert rows(everything) == expected(7, *times)
    middle = (SIZE - 3, SIZE + 3)
    assert rows(await load.window(7, middle[0] * SECOND, middle[1] * SECOND)) == expected(7, *range(*middle))


async def test_a_window_in_the_cache_takes_no_query(db: zqlite.Store) -> None:
    load = await made(db)
    await load.append(samples(7, *range(1, SIZE + 3)))
    wanted = 7, 10 * SECOND, 20 * SECOND
    assert load.peek(*wanted) is None
    first = await load.window(*wanted)
    again = load.peek(*wanted)
    assert again is not None
    assert rows(again) == rows(first) == expected(7, *range(10, 20))
    assert load.peek(7, 10 * SECOND, (SIZE + 2) * SECOND) is None, "its end is open"
    await load.append(samples(7, 5))
    assert load.peek(*wanted) is None, "a late sample may lie in it"
    assert rows(await load.window(7, 4 * SECOND, 7 * SECOND)) == expected(7, 4, 5, 5, 6)


async def test_a_second_sample_at_a_time_replaces_the_open_one(db: zqlite.Store) -> None:
    load = await made(db)
    await load.append([(7, SECOND, 1.0, 1, "a"), (7, SECOND, 2.0, 2, "b")])
    await load.append([(7, SECOND, 3.0, 3, "c")] * (SIZE + 1))
    assert rows(await load.window(7, 0, 9 * SECOND)) == [(SECOND, 3.0, 3, "c")]


async def test_many_samples_of_one_key_at_once(db: zqlite.Store) -> None:
    load = await made(db)
    times = np.arange(1, 3 * SIZE + 5)
    await load.load(7, times * SECOND, [times / 4, times * 1000, [f"s{at % 3}" for at in times.tolist()]])
    assert await blocks_of(db) == 3
    assert rows(await load.window(7, 0, 10 * SIZE * SECOND)) == expected(7, *times.tolist())


@pytest.mark.parametrize(
    ("at", "values"),
    [
        ([1, 2], [[1.0, 2.0], [1, 2]]),
        ([1, 2], [[1.0], [1, 2], ["a", "b"]]),
        ([2, 1], [[1.0, 2.0], [1, 2], ["a", "b"]]),
        ([1, 1], [[1.0, 2.0], [1, 2], ["a", "b"]]),
        ([1, 2], [["x", "y"], [1, 2], ["a", "b"]]),
        ([1, 2], [[1.0, 2.0], [1, 2], [b"a", b"b"]]),
        ([1, 1 << 70], [[1.0, 2.0], [1, 2], ["a", "b"]]),
        ([1, 2], [[1.0, 2.0], [1, 2], ["a", "b" * 1025]]),
        ([1, 2], [[1.0, 2.0], [1, 2], ["a", "\ud800"]]),
        ([[1, 2]], [[[1.0, 2.0]], [[1, 2]], ["a"]]),
        ([1, 2], [[[1.0], [2.0]], [1, 2], ["a", "b"]]),
    ],
)
async def test_a_load_that_does_not_fit_is_refused_whole(db: zqlite.Store, at: list[int], values: list[Any]) -> None:
    load = await made(db)
    with pytest.raises(ValidationError):
        await load.load(7, at, values)
    assert rows(await load.window(7, 0, 9)) == []


@pytest.mark.parametrize(
    "wrong",
    [(7, 1, 1.0, 1), (7, 1, "x", 1, "a"), (7, 1, 1.0, 1.5, "a"), (7, 1, 1.0, 1, 5), (7, 1 << 63, 1.0, 1, "a"),
     (7, 1, 1.0, 1, "a" * 1025), (7, 1, None, 1, "a")],
)  # fmt: skip
async def test_a_sample_that_does_not_fit_is_refused_with_all_beside_it(db: zqlite.Store, wrong: Any) -> None:
    load = await made(db)
    with pytest.raises(ValidationError, match="does not fit"):
        await load.append([sample(7, 1), wrong])
    assert rows(await load.window(7, 0, 9 * SECOND)) == []


async def test_it_outlives_its_store(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await (await made(db)).append(samples(7, *range(1, SIZE + 5)))
    async with await zqlite.open(path, key=KEY) as db:
        load = await series.open(db, "load")
        assert load.schema == SCHEMA
        await load.append(samples(7, *range(SIZE + 5, 2 * SIZE + 1)))
        assert await blocks_of(db) == 2
        assert rows(await load.window(7, 0, 10 * SIZE * SECOND)) == expected(7, *range(1, 2 * SIZE + 1))
        await db.verify()


async def test_names_and_schemas(db: zqlite.Store) -> None:
    await made(db)
    await made(db)
    with pytest.raises(ConflictError, match="other columns"):
        await series.create(db, Schema(name="load", columns=(Column("cpu", "real"),)))
    await db.execute("CREATE TABLE taken(a)")
    with pytest.raises(ConflictError, match="table taken"):
        await series.create(db, Schema(name="taken", columns=(Column("cpu", "real"),)))
    with pytest.raises(NotFoundError):
        await series.open(db, "unknown")
    for wrong in (
        Schema(name="x'y", columns=(Column("cpu", "real"),)),
        Schema(name="x", columns=()),
        Schema(name="x", columns=(Column("at", "real"),)),
        Schema(name="x", columns=(Column("a", "real"),) * 2),
        Schema(name="x", columns=tuple(Column(f"a{at}", "real") for at in range(32))),
        Schema(name="x", columns=(Column("a", "real"),), keep_rolled_ns=1),
        Schema(name="x", columns=(Column("a", "blob"),)),  # type: ignore[arg-type]
        Schema(name="sqlite_x", columns=(Column("a", "real"),)),
        Schema(name="zq_x", columns=(Column("a", "real"),)),
    ):
        with pytest.raises(ValidationError):
            await series.create(db, wrong)
    names = await db.query("SELECT name FROM zq_series ORDER BY id")
    assert names == [("load",), ("load_rolled",)], "what was refused has left something"


async def test_in_sql(db: zqlite.Store) -> None:
    load = await made(db)
    await load.append([*samples(7, *range(1, SIZE + 9)), *samples(8, 1, 2), *samples(-3, 1)])
    found = await db.query("SELECT node, at, cpu, bytes, state FROM load WHERE node = 8")
    assert [tuple(row) for row in found] == samples(8, 1, 2)
    row = await db.query_one(
        "SELECT count(*), min(at), max(at) FROM load WHERE node = ? AND at >= ? AND at < ?",
        (7, (SIZE - 1) * SECOND, (SIZE + 3) * SECOND),
    )
    assert row is not None
    assert tuple(row) == (4, (SIZE - 1) * SECOND, (SIZE + 2) * SECOND)
    row = await db.query_one("SELECT count(*) FROM load WHERE at > ? AND at <= ?", (SECOND, 2 * SECOND))
    assert row is not None
    assert row[0] == 2
    counts = await db.query("SELECT node, count(*) FROM load GROUP BY node ORDER BY node")
    assert [tuple(row) for row in counts] == [(-3, 1), (7, SIZE + 8), (8, 2)]
    for nothing in ("node = 7 AND node = 8", "node = NULL", "at = 1.5", "at > 'x'", f"at > {END}", "at < -9e99"):
        row = await db.query_one(f"SELECT count(*) FROM load WHERE {nothing}")
        assert row is not None
        assert row[0] == 0, nothing
    by_bucket = await db.query(
        "SELECT time_bucket('5 minutes', at / 1000000000) AS bucket, avg(cpu) FROM load WHERE node = 7 GROUP BY bucket"
    )
    assert len(by_bucket) == SIZE // 300 + 1
    with pytest.raises((ValidationError, DatabaseError)):
        await db.execute("DELETE FROM load")


async def test_inserted_by_sql(db: zqlite.Store) -> None:
    load = await made(db)
    await load.append(samples(7, 1))
    assert rows(await load.window(7, 0, 9 * SECOND)) == expected(7, 1)
    await db.execute("INSERT INTO load(at, node, bytes, cpu, state) VALUES (?, 7, 2000, 0.5, 's2')", (2 * SECOND,))
    assert rows(await load.window(7, 0, 9 * SECOND)) == expected(7, 1, 2)
    times = range(3, SMALL + 9)
    await db.executemany("INSERT INTO load VALUES (?, ?, ?, ?, ?)", samples(7, *times))
    assert await blocks_of(db) == 1
    assert rows(await load.window(7, 0, SIZE * SECOND)) == expected(7, 1, 2, *times)
    await db.execute("INSERT INTO load SELECT 8, at, cpu, bytes, state FROM load WHERE node = 7")
    assert rows(await load.window(8, 0, SIZE * SECOND)) == expected(8, 1, 2, *times)
    await db.verify()


async def test_an_insert_that_does_not_fit_is_taken_back_whole(db: zqlite.Store) -> None:
    load = await made(db)
    for wrong in ((7, 2, "x", 1, "a"), (7, 2, None, 1, "a"), (7, 2.5, 1.0, 1, "a"), (7, 2, 1.0, 1, "a" * 1025)):
        with pytest.raises(ValidationError, match="does not fit the series load"):
            await db.executemany("INSERT INTO load VALUES (?, ?, ?, ?, ?)", [*samples(7, *range(SMALL)), wrong])

    async def give_up() -> None:
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO load VALUES (7, 1, 1.0, 1, 'a')")
            seen = await tx.query("SELECT count(*) FROM load")
            assert seen[0][0] == 1
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        await give_up()
    assert rows(await load.window(7, 0, SIZE * SECOND)) == []
    await load.append(samples(7, *range(SMALL)))
    assert await blocks_of(db) == 1, "what was taken back is not counted"
    assert rows(await load.window(7, 0, SIZE * SECOND)) == expected(7, *range(SMALL))


async def test_a_block_that_is_taken_back_is_seen_by_nobody(db: zqlite.Store) -> None:
    """The next block has its number."""
    load = await made(db)

    async def give_up() -> None:
        async with db.transaction() as tx:
            await tx.executemany("INSERT INTO load VALUES (?, ?, ?, ?, ?)", samples(8, *range(SMALL)))
            assert len(await tx.query("SELECT * FROM load")) == SMALL
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        await give_up()
    await load.append(samples(7, *range(SMALL, 2 * SMALL)))
    assert await blocks_of(db) == 1
    assert rows(await load.window(7, 0, SIZE * SECOND)) == expected(7, *range(SMALL, 2 * SMALL))
    everything = SMALL * SECOND, 2 * SMALL * SECOND
    await load.window(7, *everything)
    assert load.peek(7, *everything) is not None, "where blocks stand is learnt again"


async def test_summaries_over_steps(db: zqlite.Store) -> None:
    load = await made(db)
    await load.append(samples(7, *range(100)))
    sums = await load.summary(7, 10 * SECOND, 50 * SECOND, 20 * SECOND)
    assert sums.at.tolist() == [10 * SECOND, 30 * SECOND]
    assert sums.samples.tolist() == [20, 20]
    assert sums.sums[0].tolist() == [sum(at / 4 for at in range(10, 30)), sum(at / 4 for at in range(30, 50))]
    assert (sums.least[1].tolist(), sums.most[1].tolist()) == ([10_000, 30_000], [29_000, 49_000])
    assert not len((await load.summary(9, 0, SECOND, SECOND)).at)
    with pytest.raises(ValidationError):
        await load.summary(7, 0, 10**18, 1)


async def test_totals_of_many_keys(db: zqlite.Store) -> None:
    load = await made(db)
    for key in (-3, 7, 8):
        await load.append(samples(key, *range(SIZE + 20)))
    found = await load.totals(range(100), 10 * SECOND, 50 * SECOND, 2)
    assert list(found) == [7, 8]
    assert (found[7].at.tolist(), found[7].samples.tolist()) == ([10 * SECOND], [40])
    assert found[8].sums[0].tolist() == [sum(at / 4 for at in range(10, 50))]
    assert (found[8].least[1].tolist(), found[8].most[1].tolist()) == ([10_000], [49_000])
    ever = await load.totals(range(-(1 << 63), 1 << 63), -(1 << 63), (1 << 63) - 1, 3)
    assert [(key, *sums.samples.tolist()) for key, sums in ever.items()] == [(at, SIZE + 20) for at in (-3, 7, 8)]
    assert await load.totals(range(9), 10**18, 2 * 10**18, 1) == {}
    with pytest.raises(ValidationError, match="more than 2 keys"):
        await load.totals(range(-9, 9), 0, SECOND, 2)
    for among, since in ((range(0, 9, 2), 0), (range(9, 9), 0), (range(1 << 64), 0), (range(9), SECOND)):
        with pytest.raises(ValidationError, match="totals are of some keys"):
            await load.totals(among, since, SECOND, 9)


async def test_what_is_old_becomes_a_roll_up_and_then_nothing(db: zqlite.Store) -> None:
    schema = Schema(
        name="short",
        columns=SCHEMA.columns,
        keep_ns=1000 * SECOND,
        bucket_ns=300 * SECOND,
        keep_rolled_ns=20_000 * SECOND,
    )
    short = await series.create(db, schema)
    count = 3 * SIZE + 50
    for key in (7, 8):
        await short.append(samples(key, *range(count)))
    before = await short.summary(7, 0, count * SECOND, 300 * SECOND)
    assert await short.maintain(500 * SECOND) == 0
    gone = 0
    for now in range(0, count + 2000, 700):
        gone += await short.maintain(now * SECOND)
        after = await short.summary(7, 0, count * SECOND, 300 * SECOND)
        assert [part.tolist() for part in after[:2]] == [part.tolist() for part in before[:2]], now
        for part in range(2, 5):
            assert [v.tolist() for v in after[part]] == [v.tolist() for v in before[part]], (now, part)
    assert gone == 2 * count
    assert rows(await short.window(7, 0, count * SECOND)) == []
    total = await db.query("SELECT key, sum(samples), max(bytes_most) FROM short_rolled GROUP BY key")
    assert [tuple(row) for row in total] == [(7, count, (count - 1) * 1000.0), (8, count, (count - 1) * 1000.0)]
    assert await short.maintain(40_000 * SECOND) == 0
    assert not len((await short.summary(7, 0, count * SECOND, 300 * SECOND)).at)


async def test_a_roll_up_of_the_widest_series_is_there_in_sql(db: zqlite.Store) -> None:
    columns = tuple(Column(f"c{at}", "integer") for at in range(31))
    wide = await series.create(db, Schema(name="wide", columns=columns, keep_ns=SECOND, bucket_ns=SECOND))
    await wide.append([(7, 0, *range(31))])
    assert await wide.maintain(10 * SECOND) == 1
    row = await db.query_one("SELECT samples, c30_sum, c30_most FROM wide_rolled")
    assert row is not None
    assert tuple(row) == (1, 30.0, 30.0)


async def test_a_damaged_open_sample_is_an_error(db: zqlite.Store) -> None:
    load = await made(db)
    await load.append(samples(7, 1))
    for wrong in (b"", b"\x90", b"\x93\xa1x\x01\xa1y", b"\xc1"):

        def damage(applier: Any, wrong: bytes = wrong) -> None:
            applier.own("UPDATE zq_tail SET sample = ?", (wrong,))

        await db.work(damage)
        with pytest.raises(DatabaseError, match="damaged"):
            await load.window(7, 0, 9 * SECOND)


async def test_a_key_is_forgotten(db: zqlite.Store) -> None:
    load = await made(db)
    for key in (7, 8):
        await load.append(samples(key, *range(1, SIZE + 5)))
    await load.window(7, 0, SECOND)
    await load.forget(7)
    assert rows(await load.window(7, 0, 10 * SIZE * SECOND)) == []
    assert len(await load.window(8, 0, 10 * SIZE * SECOND)) == SIZE + 4


async def test_a_moved_block_does_not_open(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        load = await made(db)
        for key in (7, 8):
            await load.append(samples(key, *range(1, SIZE + 1)))

        def swap(applier: Any) -> None:
            applier.own("UPDATE zq_block SET key = 15 - key")

        await db.work(swap)
    async with await zqlite.open(path, key=KEY) as db:
        load = await series.open(db, "load")
        with pytest.raises(DatabaseError, match="moved from another place"):
            await load.window(7, 0, SECOND * SIZE)


async def test_a_refused_write_leaves_nothing(db: zqlite.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    load = await made(db)
    await load.append(samples(7, *range(1, SMALL)))

    def full(*_: Any) -> bytes:
        raise apsw.FullError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("ghostwire.zqlite.series.tables.next_number", full)
        with pytest.raises(Exception, match="full"):
            await load.append(samples(7, SMALL, SMALL + 1))
    assert len(await load.window(7, 0, SIZE * SECOND)) == SMALL - 1
    await load.append(samples(7, SMALL))
    assert await blocks_of(db) == 1
    assert len(await load.window(7, 0, SIZE * SECOND)) == SMALL


async def test_small_blocks_become_a_full_one(db: zqlite.Store) -> None:
    load = await made(db)
    for start in range(0, 2 * SIZE, SMALL):
        await load.append(samples(7, *range(start, start + SMALL)))
        everything = await load.window(7, 0, 10 * SIZE * SECOND)
        assert rows(everything) == expected(7, *range(start + SMALL))
        sizes = [row[0] for row in await db.query("SELECT rows FROM zq_block ORDER BY first")]
        assert sizes == [SIZE] * ((start + SMALL) // SIZE) + [SMALL] * ((start + SMALL) % SIZE // SMALL)
    assert db.stats["blocks_blocks"] == 2, "what was joined leaves the cache"


async def test_readers_while_it_is_written(db: zqlite.Store) -> None:
    load = await made(db)
    done = asyncio.Event()

    async def write() -> None:
        for start in range(0, 4 * SIZE, 97):
            await load.append(samples(7, *range(start, start + 97)))
        done.set()

    async def read() -> None:
        least = 0
        while not done.is_set():
            found = (await load.window(7, 0, 10 * SIZE * SECOND)).at // SECOND
            assert found.tolist() == list(range(len(found)))
            assert len(found) >= least
            least = len(found)
            await asyncio.sleep(0)  # what the cache has comes without a wait

    await asyncio.gather(write(), read(), read())


async def test_the_blocks_count_in_the_stores_stats(db: zqlite.Store) -> None:
    load = await made(db)
    await load.append(samples(7, *range(1, SIZE + 1)))
    for _ in range(3):
        await load.window(7, 0, 9 * SECOND)
    stats = db.stats
    assert (stats["blocks_misses"], stats["blocks_hits"], stats["blocks_blocks"]) == (1, 2, 1)
    assert stats["blocks_bytes"] > 0
    assert stats["blocks_decode_ns"] > 0


async def test_keys_that_fill_their_blocks_together_are_sealed_a_few_at_a_time(
    db: zqlite.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.zqlite.series.tail.SEALS_AT_ONCE", 2)
    load = await made(db)
    keys = range(5)
    await load.append([row for key in keys for row in samples(key, *range(SIZE))])
    assert await blocks_of(db) == 2
    for at in range(SIZE, SIZE + 3):
        await load.append([sample(key, at) for key in keys])
    assert await blocks_of(db) == 5
    for key in keys:
        assert rows(await load.window(key, 0, 10 * SIZE * SECOND)) == expected(key, *range(SIZE + 3))


def test_a_store_without_series_does_not_carry_numpy() -> None:
    code = "import sys, ghostwire.zqlite.store; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "from ghostwire.zqlite import series; series.Series, series.create, series.open, series.Window, series.Sums"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError):
        series.nothing  # noqa: B018
