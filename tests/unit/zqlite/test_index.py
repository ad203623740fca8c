"""Indexes of the store's own kinds: what is declared, asked and refused, and what each reader sees."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import time
from typing import Any

import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, NotFoundError, ValidationError
from ghostwire.zqlite.index import shared
from ghostwire.zqlite.index.bitmaps import Bitmaps, rowids
from ghostwire.zqlite.index.hashtable import HashTable
from ghostwire.zqlite.index.prefixes import Prefixes
from ghostwire.zqlite.index.structure import GONE

SCHEMA = """
CREATE TABLE route(id INTEGER PRIMARY KEY, prefix TEXT, os TEXT, wallet TEXT);
CREATE CIDR INDEX by_prefix ON route(prefix);
CREATE BITMAP INDEX by_os ON route(os);
CREATE HASH INDEX IF NOT EXISTS by_wallet ON route(wallet);
INSERT INTO route(prefix, os, wallet) VALUES
    ('10.0.0.0/8', 'linux', '0xa'), ('10.1.0.0/16', 'macos', '0xb'), ('fd00::/8', 'linux', '0xc'), (NULL, NULL, '0xa');
"""


@pytest.fixture
async def routes(db: zqlite.Store) -> zqlite.Store:
    await db.execute(SCHEMA)
    return db


async def ask(db: zqlite.Store, sql: str, *params: Any) -> list[Any]:
    return [tuple(row) if len(row) > 1 else row[0] for row in await db.query(sql, params)]


async def test_each_kind_answers(routes: zqlite.Store) -> None:
    assert await ask(routes, "SELECT prefix FROM route WHERE id = cidr_lookup('by_prefix', '10.1.2.3')") == [
        "10.1.0.0/16"
    ]
    joined = "SELECT prefix, length FROM cidr_rows('BY_prefix', ?) AS found JOIN route ON route.id = found.id"
    assert await ask(routes, joined, "10.1.2.3") == [("10.1.0.0/16", 16), ("10.0.0.0/8", 8)]
    assert await ask(routes, "SELECT cidr_lookup('by_prefix', ?)", None) == [None]
    assert await ask(routes, "SELECT hash_lookup('by_wallet', '0xa')") == [1]
    assert await ask(routes, "SELECT id FROM hash_rows('by_wallet', '0xa')") == [1, 4]
    assert await ask(
        routes, "SELECT id FROM bitmap_rows(bitmap_or(bitmap('by_os', 'macos'), bitmap('by_os', NULL)))"
    ) == [2, 4]
    some = "SELECT bitmap_count(bitmap_andnot(bitmap('by_os'), bitmap('by_os', 'linux', 'macos')))"
    assert await ask(routes, some) == [1]


async def test_the_planner_seeks_rows_by_what_an_index_found(routes: zqlite.Store) -> None:
    plan = await routes.query(
        "EXPLAIN QUERY PLAN SELECT r.os FROM route r JOIN bitmap_rows(bitmap('by_os', 'linux')) f ON f.id = r.id"
    )
    assert [row["detail"].split()[0] for row in plan] == ["SCAN", "SEARCH"]
    plan = await routes.query("EXPLAIN QUERY PLAN SELECT id FROM route WHERE wallet = '0xa'")
    assert "USING COVERING INDEX by_wallet" in plan[0]["detail"]


async def test_a_reader_keeps_its_moment(routes: zqlite.Store) -> None:
    count = "SELECT bitmap_count(bitmap('by_os', 'linux'))"
    with routes.read() as early, routes.read() as late:
        assert (early.value(count), late.value("SELECT 1 FROM route")) == (2, 1)
        await routes.execute(
            "INSERT INTO route(prefix, os) VALUES ('10.1.2.0/24', 'linux'); DELETE FROM route WHERE id = 2"
        )
        assert await ask(routes, count) == [3]
        for reader in (early, late):
            assert reader.value(count) == 2
            assert reader.value("SELECT cidr_lookup('by_prefix', '10.1.2.3')") == 2
            assert reader.value("SELECT hash_lookup('by_wallet', '0xb')") == 2
    assert await ask(routes, "SELECT cidr_lookup('by_prefix', '10.1.2.3'), hash_lookup('by_wallet', '0xb')") == [
        (5, None)
    ]


async def test_a_transaction_sees_its_own_rows_and_takes_them_back(routes: zqlite.Store) -> None:
    lookup = "SELECT hash_lookup('by_wallet', '0xz')"
    with contextlib.suppress(KeyError):
        async with routes.transaction() as tx:
            await tx.execute("INSERT INTO route(id, wallet) VALUES (9, '0xz')")
            assert await tx.query(lookup) == [(9,)]
            assert await ask(routes, lookup) == [None]
            raise KeyError
    assert await ask(routes, lookup) == [None]


async def test_behind_a_log_that_was_dropped_it_is_built_anew(routes: zqlite.Store) -> None:
    lookup = "SELECT hash_lookup('by_wallet', '0xz')"
    assert await ask(routes, lookup) == [None]
    await routes.execute("INSERT INTO route(id, wallet) VALUES (9, '0xz')")
    await routes.retain((await routes.snapshot()).seq)
    assert await ask(routes, lookup) == [9]


async def test_an_alteration_meanwhile_is_noticed(routes: zqlite.Store) -> None:
    count = "SELECT bitmap_count(bitmap('by_os', 'linux'))"
    assert await ask(routes, count) == [2]
    await routes.execute("ALTER TABLE route ADD COLUMN extra DEFAULT 'linux'")
    await routes.execute("INSERT INTO route(os) VALUES ('linux')")
    assert await ask(routes, count) == [3]
    await routes.execute("DROP INDEX by_os; CREATE BITMAP INDEX by_os ON route(extra)")
    assert await ask(routes, count) == [5]


async def test_far_behind_it_is_read_anew(routes: zqlite.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FOLLOWS", 2)
    count = "SELECT bitmap_count(bitmap('by_os', 'linux'))"
    for more in range(1, 8):
        assert await ask(routes, count) == [2 + (more - 1) * more // 2]
        for _ in range(more):
            await routes.execute("INSERT INTO route(os) VALUES ('linux')")


async def test_it_lives_through_renames_reopening_and_the_past(routes: zqlite.Store) -> None:
    await routes.execute('ALTER TABLE route RENAME TO way; ALTER TABLE way RENAME COLUMN prefix TO "net work"')
    lookup = "SELECT cidr_lookup('by_prefix', '10.1.2.3')"
    assert await ask(routes, lookup) == [2]
    before = routes.head.ts
    await routes.execute("DELETE FROM way WHERE id = 2")
    with await routes.as_of(before) as past:
        assert past.value(lookup) == 2
    assert await ask(routes, lookup) == [1]
    await routes.verify()


@pytest.mark.parametrize(
    ("sql", "error", "words"),
    [
        ("CREATE CIDR INDEX i ON route(os)", ValidationError, "'linux' is not an IP network"),
        ("INSERT INTO route(prefix) VALUES ('10.0.0.1/8')", ValidationError, "host bits"),
        ("CREATE BITMAP INDEX i ON route(os, wallet)", ValidationError, "one column"),
        ("CREATE UNIQUE BITMAP INDEX i ON route(os)", ValidationError, "cannot be UNIQUE"),
        ("CREATE HASH INDEX i ON nowhere(os)", ValidationError, "no such table"),
        ("CREATE TABLE w(a PRIMARY KEY) WITHOUT ROWID; CREATE HASH INDEX i ON w(a)", ValidationError, "WITHOUT ROWID"),
        ("CREATE TABLE w(a, b AS (a)); CREATE BITMAP INDEX i ON w(b)", ValidationError, "STORED"),
        ("CREATE UNIQUE HASH INDEX i ON route(wallet)", ConflictError, "UNIQUE"),
        ("SELECT hash_lookup('nothing', 1)", NotFoundError, "no HASH, BITMAP or CIDR index"),
        ("SELECT hash_lookup('by_os', 1)", ValidationError, "is a BITMAP index"),
        ("SELECT bitmap_count(7)", ValidationError, "a set of rows comes from"),
        ("SELECT bitmap_and()", ValidationError, "one set of rows or more"),
        ("SELECT cidr_lookup('by_prefix', '10.0.0.300')", ValidationError, "is not an IP network"),
        ("CREATE VIEW v AS SELECT hash_lookup('by_wallet', 1); SELECT * FROM v", ValidationError, "unsafe use"),
    ],
)
async def test_refusals(routes: zqlite.Store, sql: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        await routes.execute(sql)


async def test_readers_on_many_threads_beside_writers(routes: zqlite.Store) -> None:
    done = asyncio.Event()

    async def write(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(150):
            row = (
                draw.randrange(500),
                f"10.{draw.randrange(9)}.0.0/16",
                draw.choice(("linux", "macos")),
                str(draw.randrange(9)),
            )
            await routes.execute("INSERT OR REPLACE INTO route VALUES (?, ?, ?, ?)", row)
            await routes.execute("DELETE FROM route WHERE id = ?", (draw.randrange(500),))

    def compare(reader: zqlite.Reader) -> int:
        for index, table in (
            ("bitmap_count(bitmap('by_os', 'linux'))", "count(*) FROM route WHERE os = 'linux'"),
            ("hash_lookup('by_wallet', '3')", "min(id) FROM route NOT INDEXED WHERE wallet = '3'"),
            ("cidr_lookup('by_prefix', '10.5.6.7')", "min(id) FROM route WHERE prefix = '10.5.0.0/16'"),
        ):
            assert reader.value(f"SELECT {index}") == reader.value(f"SELECT {table}")
            time.sleep(0.001)  # for another thread to bring the index forward meanwhile
        return 1

    async def read() -> int:
        count = 0
        while not done.is_set():
            count += await routes.run(compare)
        return count

    await routes.execute("DELETE FROM route")
    readers = [asyncio.create_task(read()) for _ in range(4)]
    await asyncio.gather(write(1), write(2))
    done.set()
    assert sum(await asyncio.gather(*readers)) > 10


def test_what_was_changed_a_thousand_times_is_built_anew() -> None:
    for kind, value in ((HashTable, "a"), (Prefixes, "10.0.0.0/8")):
        structure: Any = kind.build([(1, value)])
        assert structure.changed(dict.fromkeys(range(1000), value)) is not None
        assert structure.changed(dict.fromkeys(range(2000), value)) is None


@pytest.mark.parametrize("seed", range(3))
def test_structures_follow_as_a_dict_does(seed: int) -> None:
    """Long histories of big changes, in structures that older ones are still read beside."""
    draw = random.Random(seed)
    networks = [str(ipaddress.ip_network((draw.getrandbits(32) >> n << n, 32 - n))) for n in range(0, 33, 4)]
    networks += [str(ipaddress.ip_network((draw.getrandbits(128) >> n << n, 128 - n))) for n in range(0, 129, 16)]
    asked = [text.split("/")[0] for text in networks]
    model: dict[int, Any] = {n: draw.choice(networks) for n in range(-50, 50)}
    made: list[Any] = [kind.build(model.items()) for kind in (HashTable, Bitmaps, Prefixes)]
    kept = [(dict(model), made)]
    for _ in range(25):
        changes = {draw.randrange(-80, 80): draw.choice([GONE, None, *networks]) for _ in range(draw.randrange(30))}
        model = {key: value for key, value in {**model, **changes}.items() if value is not GONE}
        made = [structure.changed(changes) for structure in made]
        kept.append((dict(model), made))
    for then, (table, sets, prefixes) in kept:
        for network in networks:
            expected = sorted(key for key, value in then.items() if value == network)
            assert list(table.rows(network)) == expected
            assert sorted(rowids(sets.rows(network))) == expected
        for address in asked:
            holding = [
                (key, int(value.split("/")[1]))
                for key, value in then.items()
                if value and ipaddress.ip_address(address) in ipaddress.ip_network(value)
            ]
            holding.sort(key=lambda found: (-found[1], found[0]))
            assert prefixes.holding(address) == holding
            assert prefixes.longest(address) == (holding[0][0] if holding else None)
