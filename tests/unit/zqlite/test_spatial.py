"""Spatial indexes: what they find is what a look at every row finds."""

from __future__ import annotations

import random

import pytest

from ghostwire import zqlite
from ghostwire.errors import ValidationError

SERVERS = "CREATE TABLE vpn_servers (id INTEGER, location POINT, coverage POLYGON)"
NEAR = "SELECT s.id FROM st_near('by_place', ?1, ?2) n JOIN vpn_servers s ON s.rowid = n.id ORDER BY s.id"
SCAN = "SELECT id FROM vpn_servers WHERE ST_Distance(location, ?1) <= ?2 ORDER BY id"


async def test_near_is_what_a_scan_finds(db: zqlite.Store) -> None:
    draw = random.Random(4)
    places = [(n, f"POINT({draw.uniform(-180, 180):.6f} {draw.uniform(-90, 90):.6f})") for n in range(400)]
    edges = ("POINT(180 0)", "POINT(-180 0.5)", "POINT(0 90)", "POINT(90 89.9)", "POINT(0 -90)", "POINT(-179.9 60)")
    await db.execute(SERVERS)
    await db.executemany("INSERT INTO vpn_servers VALUES (?, ?, NULL)", places[:200])
    await db.execute("CREATE SPATIAL INDEX by_place ON vpn_servers(location)")
    await db.executemany("INSERT INTO vpn_servers VALUES (?, ?, NULL)", places[200:])
    await db.executemany("INSERT INTO vpn_servers VALUES (?, ?, NULL)", list(enumerate(edges, 1000)))
    await db.execute("INSERT INTO vpn_servers VALUES (2000, NULL, NULL)")
    await db.execute("DELETE FROM vpn_servers WHERE id % 7 = 0")
    await db.execute("UPDATE vpn_servers SET location = 'POINT(13.4 52.5)' WHERE id % 11 = 0")
    found = 0
    for here in (*edges, *(place for _, place in places[:30])):
        for metres in (1, 50_000, 1_000_000, 9_000_000, 30_000_000):
            expected = await db.query(SCAN, (here, metres))
            assert await db.query(NEAR, (here, metres)) == expected
            found += len(expected)
    assert found > 10_000
    distances = await db.query("SELECT metres FROM st_near('by_place', 'POINT(0 0)', 5e6) ORDER BY metres")
    assert distances == await db.query(
        "SELECT ST_Distance(location, 'POINT(0 0)') AS d FROM vpn_servers WHERE d <= 5e6 ORDER BY d"
    )
    await db.verify()
    with await db.as_of(db.head.ts) as past:
        assert len(past.query("SELECT * FROM by_place")) == len(await db.query("SELECT * FROM by_place"))


async def test_covering_areas(db: zqlite.Store) -> None:
    await db.execute(SERVERS)
    await db.execute("CREATE SPATIAL INDEX by_cover ON vpn_servers(coverage)")
    for n in range(20):
        area = f"POLYGON(({n} 0, {n + 5} 0, {n} 5, {n} 0))"
        await db.execute("INSERT INTO vpn_servers VALUES (?, NULL, ?)", (n, area))
    covering = "SELECT s.id FROM st_covering('by_cover', :at) c JOIN vpn_servers s ON s.rowid = c.id ORDER BY 1"
    scan = "SELECT id FROM vpn_servers WHERE ST_Contains(coverage, :at) ORDER BY 1"
    for at in ("POINT(7.5 1)", "POINT(0 0)", "POINT(12 4.9)", "POINT(100 1)"):
        assert await db.query(covering, {"at": at}) == await db.query(scan, {"at": at})


async def test_dropping_and_what_is_none(db: zqlite.Store) -> None:
    await db.execute(SERVERS)
    await db.execute("CREATE SPATIAL INDEX by_place ON vpn_servers(location); DROP INDEX by_place")
    await db.execute("INSERT INTO vpn_servers VALUES (1, 'POINT(0 0)', NULL)")
    with pytest.raises(ValidationError, match="no spatial index"):
        await db.query(NEAR, ("POINT(0 0)", 1))
    await db.execute("CREATE SPATIAL INDEX by_place ON vpn_servers(location)")
    with pytest.raises(ValidationError, match="no place"):
        await db.execute("INSERT INTO vpn_servers VALUES (2, 'somewhere', NULL)")
    await db.execute("DROP TABLE vpn_servers")
    assert await db.query("SELECT name FROM sqlite_schema WHERE name LIKE 'by_place%'") == []
    with pytest.raises(ValidationError, match="one column"):
        await db.execute("CREATE SPATIAL INDEX i ON vpn_servers(a, b)")
    await db.verify()
